"""Which file a database's name means, and whether it is still the one that was opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

Identity = tuple[int, int]  # device and inode


def path_of(name: Any) -> str | None:
    """Return the path in a database's name; None: it lives in memory, or until it is closed.

    https://www.sqlite.org/uri.html, https://www.sqlite.org/inmemorydb.html
    """
    name = os.fsdecode(name)
    if not name.startswith("file:"):
        return None if name in ("", ":memory:") else name
    uri = urlsplit(name)
    query = parse_qs(uri.query)
    path = unquote(uri.path)
    if path in ("", ":memory:") or "memory" in query.get("mode", ()):
        return None
    return None if "memdb" in query.get("vfs", ()) else path


def identity(path: str) -> Identity | None:
    """Return what tells the file from any other; None: there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - it is looked at for every request
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Opened:
    """What a connection has opened."""

    __slots__ = ("closed", "identity")

    def __init__(self, identity: Identity | None) -> None:
        self.identity = identity
        self.closed = False


def watch(path: str, opened: Opened) -> Callable[[int], bool]:
    """Return a function that tells whether another file, or none, is there by now.

    It looks up the path as it was given, so that a relative one, or a symbolic link, means what it
    means when a file is opened. A closed connection, too, has its file no more.
    """
    stat = os.stat

    def changed(_timeout: int) -> bool:
        try:
            found = stat(path)
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != opened.identity or opened.closed

    return changed
