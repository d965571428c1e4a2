"""What packets look like on a connection: that was agreed on at its login, and is told nowhere.

mysqlclient does not tell which of MariaDB's extended capabilities are in force. The answer to a
statement does.

https://mariadb.com/kb/en/result-set-packets/
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html
"""

from __future__ import annotations

import os
import struct
from time import monotonic
from typing import Final

from carpool import sockets
from carpool.mysql.greeter import (
    BULK,
    CACHE_METADATA,
    EXTENDED_METADATA,
    LONG_PASSWORD,
    PROGRESS,
    length_of,
)
from carpool.mysql.wire import HEADER, WireError

_QUERY: Final = b"\x03SELECT ''"
_TEXTS: Final = 6  # of a column: catalog, schema, table (twice), name (twice)
_FIXED: Final = 13  # bytes at its end: their own length, 12, and themselves
_FEWEST: Final = 4  # packets: count of columns, column, row, end; another end before the row, maybe


def probe(descriptor: int, deadline: float) -> tuple[int, int]:
    """Return MariaDB's extended capabilities in force, of those that show, and the charset.

    The connection must be as for `wire.exchange`, which raises the same.
    """
    packet = len(_QUERY).to_bytes(3, "little") + b"\0" + _QUERY
    if os.write(descriptor, packet) != len(packet):
        raise WireError("a command could not be sent at once")
    return read_column(*_read_answer(descriptor, deadline)[:2])


def _read_answer(descriptor: int, deadline: float) -> list[bytes]:
    data = b""
    while not _is_whole(packets := split(data)):
        if not sockets.wait_readable(descriptor, deadline - monotonic()):
            raise WireError("the server did not answer in time")
        more = os.read(descriptor, 65536)
        if not more:
            raise WireError("the server has hung up")
        data += more
    if packets[0][:1] == b"\xff":
        raise WireError(f"the server answered: {packets[0][9:].decode(errors='replace')}")
    return packets


def _is_whole(packets: list[bytes]) -> bool:
    if packets and packets[0][:1] == b"\xff":
        return True
    return len(packets) >= _FEWEST and packets[-1][:1] == b"\xfe"


def split(data: bytes) -> list[bytes]:
    """Return the bodies of the packets that are whole."""
    packets, at = [], 0
    while len(data) >= at + HEADER:
        end = at + HEADER + int.from_bytes(data[at : at + 3], "little")
        if len(data) < end:
            break
        packets.append(data[at + HEADER : end])
        at = end
    return packets


def read_column(count: bytes, column: bytes) -> tuple[int, int]:
    """Tell the capabilities and the charset by the first two packets of a result of one column.

    >>> plain = bytes([3]) + b"def" + bytes(5) + bytes([12, 45, 0]) + bytes(10)
    >>> read_column(bytes([1]), plain)
    (0, 45)
    """
    at = 0
    for _ in range(_TEXTS):
        length, at = length_of(column, at)
        at += length
    has_more, is_cached = len(column) - at > _FIXED, len(count) > 1
    (charset,) = struct.unpack_from("<H", column, len(column) - _FIXED + 1)
    return EXTENDED_METADATA * has_more | CACHE_METADATA * is_cached, charset


def completed(extended: int, capabilities: int) -> int:
    """Add those that a MariaDB with extended capabilities has always had, and that do not show."""
    return extended if capabilities & LONG_PASSWORD else extended | PROGRESS | BULK
