"""What a shell and the broker say to each other: frames of a fixed size, on the shell's channel.

A channel carries one request at a time. Who gives up on one closes the channel, so that no answer
can come too late.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# From the shell: what, and a number.
LEASE = b"L"  # a connection, please, within so many milliseconds
IDLE = b"N"  # somebody waits, and the connection in this slot is idle now
BACK = b"B"  # the connection in this slot is given back for good
BROKEN = b"D"  # ... and is to be closed
TERMINATE = b"X"  # libpq's own goodbye; what follows is of no interest
QUIT = b"\x01"  # and MySQL's

_REQUEST: Final = struct.Struct("!cI")
_KINDS: Final = frozenset({LEASE, IDLE, BACK, BROKEN})
_GOODBYES: Final = frozenset({TERMINATE, QUIT})

# From the broker: what, a slot or a length, the server's number, the number of the lease.
GRANT = b"G"  # with descriptors: the server connection's, its lock's and its tether's
DESCRIPTORS: Final = 3
ERROR = b"E"  # so many bytes of JSON follow
_ANSWER: Final = struct.Struct("!cIQQ")
ANSWER_SIZE: Final = _ANSWER.size
MOST: Final = 8192  # bytes of an error
LONGEST: Final = 2**32 - 1  # milliseconds


def request(kind: bytes, number: int) -> bytes:
    """Return a shell's frame."""
    return _REQUEST.pack(kind, min(number, LONGEST))


class Requests:
    """Takes a shell's frames out of what has been received."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Return the frames that are complete. Raises ValueError for anything else.

        After a goodbye nothing more is looked at.
        """
        self._data += data
        while self._data:
            kind = self._data[:1]
            if kind in _GOODBYES:
                self._data = b""
                yield kind, 0
                return
            if kind not in _KINDS:
                raise ValueError(f"no frame begins with {kind!r}")
            if len(self._data) < _REQUEST.size:
                return
            frame, self._data = self._data[: _REQUEST.size], self._data[_REQUEST.size :]
            yield _REQUEST.unpack(frame)


def grant(slot: int, server_id: int, lease: int) -> bytes:
    """Return the broker's frame that lends a connection."""
    return _ANSWER.pack(GRANT, slot, server_id, lease)


def error(name: str, args: tuple[object, ...]) -> bytes:
    """Return the broker's frame that tells an error, by its class' name and arguments."""
    text = json.dumps({"class": name, "args": plain(args)}).encode()
    if len(text) > MOST:  # a character may take twelve bytes
        text = json.dumps({"class": name, "args": [str(plain(args))[: MOST // 16]]}).encode()
    return _ANSWER.pack(ERROR, len(text), 0, 0) + text


def plain(args: tuple[object, ...]) -> list[int | float | str]:
    """Return an error's arguments as JSON can have them."""
    return [each if isinstance(each, int | float | str) else str(each) for each in args]


def answer(frame: bytes) -> tuple[bytes, int, int, int]:
    """Take the broker's frame apart: kind, slot or length, server's number, lease.

    Raises ValueError.
    """
    kind, number, server_id, lease = _ANSWER.unpack(frame)
    if kind not in (GRANT, ERROR) or (kind == ERROR and number > MOST):
        raise ValueError(f"this is no answer of a broker's: {frame!r}")
    return kind, number, server_id, lease
