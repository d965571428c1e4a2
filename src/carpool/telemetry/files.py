"""Small files that several processes read while one writes: each says whether it is whole.

    carpool board 1 4711 9b3c01d2
    {"pid": ...}

A line with what it is, the format's number, the length and the CRC-32 of what follows; then JSON.
Nothing is mapped into memory: a mapped file that somebody truncates, or for which the disk has no
room, would end the process that touches it with SIGBUS.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1  # of all these files; to be raised with every change that older versions misread
LIMIT = 64 * 1024 * 1024  # bytes, some ten thousand pools
ATTEMPTS = 5  # to read what is being written meanwhile
PAUSE = 0.002  # seconds between them
PATIENCE = 1.0  # seconds for others to let go of a lock that they need for milliseconds


class Unreadable(ValueError):
    """A file that is not what it should be; the text says why."""


def encode(kind: str, content: object) -> bytes:
    """Return what a file of this kind consists of."""
    data = json.dumps(content, separators=(",", ":")).encode()
    return b"carpool %s %d %d %08x\n%s" % (
        kind.encode(),
        FORMAT,
        len(data),
        zlib.crc32(data),
        data,
    )


def decode(kind: str, data: bytes) -> Any:
    """Return the content of a file. Raises `Unreadable`."""
    line, _, rest = data.partition(b"\n")
    words = line[:100].decode("ascii", "replace").split(" ")
    if words[:2] != ["carpool", kind] or len(words) != 5:  # noqa: PLR2004 - the line has five words
        raise Unreadable(f"it is no {kind} of carpool's")
    if words[2] != str(FORMAT):
        raise Unreadable(
            f"it has format {words[2]}, of another version of carpool; this one has {FORMAT}"
        )
    try:
        length, checksum = int(words[3]), int(words[4], 16)
    except ValueError:
        raise Unreadable(f"it is no {kind} of carpool's") from None
    content = rest[: max(0, length)]
    if len(content) != length:
        raise Unreadable("it is cut short")
    if zlib.crc32(content) != checksum:
        raise Unreadable("it is damaged: the checksum is wrong")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("it is damaged: no JSON") from None


def read(kind: str, descriptor: int) -> Any:
    """Return the content of an open file, which may be written to meanwhile.

    Raises `Unreadable` or OSError.
    """
    for attempt in range(ATTEMPTS):
        try:
            size = min(os.fstat(descriptor).st_size, LIMIT)
            return decode(kind, os.pread(descriptor, size, 0))
        except Unreadable:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE)
    raise AssertionError


def read_at(kind: str, path: Path) -> Any:
    """Return the content of a file; None if there is none. Raises `Unreadable` or OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return read(kind, descriptor)
    finally:
        os.close(descriptor)


def write(kind: str, descriptor: int, content: object) -> None:
    """Write an open file over. Raises OSError."""
    data = encode(kind, content)
    written = os.pwrite(descriptor, data, 0)
    while written < len(data):  # at the end of the disk's room: the next one says so
        written += os.pwrite(descriptor, data[written:], written)


def replace(kind: str, path: Path, content: object) -> None:
    """Write a file anew: others see the former or this one. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.touch(0o600)
        draft.write_bytes(encode(kind, content))
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def lock(descriptor: int) -> bool:
    """Lock a file for this open description; False if another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes and threads. Raises TimeoutError if others do not let go of it.

    Raises OSError if there can be no such file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + PATIENCE
        while not lock(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} has been locked for more than {PATIENCE:g} s")
            time.sleep(PAUSE)
        yield
    finally:
        os.close(descriptor)
