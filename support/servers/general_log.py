"""What a MariaDB's general log shows: who logged in, and the commands of each session.

An entry is a line of time (left out within the same second), session, command and argument; the
argument may go on over further lines. Databases and users are not repeated in every entry: they
follow from the session's `Connect` and from what changed them later.
"""

from __future__ import annotations

import bisect
import re
import threading
from typing import TYPE_CHECKING, NamedTuple

from support.servers.base import Statement, read_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENTRY = re.compile(
    r"^(?:\d{6} [ \d]\d:\d\d:\d\d|\t)\t *(?P<pid>\d+) (?P<command>[A-Z][A-Za-z ]*)\t"
    r"(?P<argument>.*(?:\n(?!(?:\d{6} [ \d]\d:\d\d:\d\d|\t)\t *\d+ [A-Z][A-Za-z ]*\t).*)*)",
    re.MULTILINE,
)
_WHO = re.compile(r"(?P<user>.*)@\S* (?:as .* )?on (?P<dbname>.*?) ?(?:using \S+)?$")
_USE = re.compile(r"\s*use\s+`?(?P<dbname>[^`;]+?)`?\s*;?\s*$", re.IGNORECASE)


class Who(NamedTuple):
    """A session's user and database."""

    user: str
    dbname: str


class GeneralLog:
    """Reads the log once, however often it is asked; any thread may ask."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read = 0  # the offset in the file up to which entries are known
        self._offsets: list[int] = []
        self._entries: list[Statement] = []
        self._sessions: dict[int, Who] = {}

    def since(self, mark: int) -> list[Statement]:
        """Return the entries from an offset on: Connect and Quit are among them."""
        with self._lock:
            self._read_on()
            return self._entries[bisect.bisect_left(self._offsets, mark) :]

    def _read_on(self) -> None:
        # The last entry may not have been whole when it was read: it is read once more.
        if self._offsets:
            self._read = self._offsets.pop()
            self._entries.pop()
        for offset, entry in self._parse(read_from(self._path, self._read)):
            self._offsets.append(offset)
            self._entries.append(entry)

    def _parse(self, text: str) -> Iterator[tuple[int, Statement]]:
        offset, position = self._read, 0
        for entry in _ENTRY.finditer(text):
            offset += len(text[position : entry.start()].encode())
            position = entry.start()
            pid, command = int(entry["pid"]), entry["command"]
            argument = entry["argument"].removesuffix("\n")
            who = self._follow(pid, command, argument)
            said = argument if command in {"Query", "Execute"} else f"{command} {argument}".strip()
            yield offset, Statement(pid, who.dbname, "", said, who.user)

    def _follow(self, pid: int, command: str, argument: str) -> Who:
        who = self._sessions.get(pid, Who("", ""))
        if command in {"Connect", "Change user"} and (match := _WHO.match(argument)):
            who = Who(**match.groupdict())
        elif command == "Init DB":
            who = who._replace(dbname=argument)
        elif command == "Query" and (match := _USE.match(argument)):
            who = who._replace(dbname=match["dbname"])
        self._sessions[pid] = who
        return who
