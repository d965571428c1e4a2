"""Where the messages begin in one direction of a PostgreSQL conversation.

https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS: a byte
tells the kind of a message, four tell how long the rest is, these four included.
"""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = 5  # bytes
HEAD: Final = 6  # of which a message is shown; so ReadyForQuery is there as a whole
_read_header = struct.Struct(">cI").unpack_from


class Messages:
    """Finds the messages in a stream, however it is cut. Keeps no more of it than a head."""

    def __init__(self) -> None:
        self._head = b""  # that is not complete
        self._to_come = 0  # bytes of a message whose head has been passed on

    @property
    def complete(self) -> bool:
        """Whether all has been passed on, and ended with the end of a message."""
        return not self._head and not self._to_come

    def take(self, data: bytes) -> tuple[bytes, list[tuple[bytes, int]]]:
        """Take in data; return what can be passed on, and what messages begin where in it.

        Of each that is told of, the first six bytes are there, or all. Raises ValueError.
        """
        data = self._head + data
        at, end, found = self._to_come, len(data), []
        while at + HEADER <= end:
            kind, length = _read_header(data, at)
            if not 4 <= length <= 1 << 30:  # noqa: PLR2004 - itself; no server takes or sends more
                raise ValueError(f"not a message of PostgreSQL: {length} bytes long")
            if at + min(HEAD, 1 + length) > end:
                break
            found.append((kind, at))
            at += 1 + length
        self._head = data[at:]
        self._to_come = max(0, at - end)
        return (data[:at] if self._head else data), found


def whole(data: bytes) -> list[bytes]:
    """Cut messages apart; the last one may not be complete."""
    _, found = Messages().take(data)
    starts = [at for _, at in found]
    return [data[at:end] for at, end in zip(starts, [*starts[1:], len(data)], strict=True)]
