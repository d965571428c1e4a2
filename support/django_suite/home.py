"""Where the tests of one database run, with both engines, and what a run of them left there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from support.django_suite.names import REAL_DATABASES
from support.django_suite.outcomes import Outcome, Outcomes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.servers import Server

_GRACE = 5.0  # seconds in which a server notices that a process is gone


class Home(Protocol):
    """A server, or a folder of files; it has the databases of `REAL_DATABASES`, empty."""

    @property
    def version(self) -> str:
        """What of the database decides the outcomes of tests."""

    def django(self, name: str) -> dict[str, object]:
        """Return an entry of DATABASES for a database, but for ENGINE."""

    def sessions(self) -> list[str]:
        """Describe the sessions that are there, but for those that are about to end."""

    def real_tables(self) -> Iterable[str]:
        """Return what the databases hold that no test may touch."""

    def test_databases(self) -> list[str]:
        """Return the names of all databases that are not real ones."""

    def clean(self) -> None:
        """Drop all test databases, and end all sessions."""


def left_behind(home: Home, keeps_databases: bool) -> Outcomes:
    """Return, as outcomes of checks, whether a finished run left the place as it should."""
    checks = {
        "sessions left on the server": home.sessions(),
        "tables in the real databases": list(home.real_tables()),
        "test databases left": [] if keeps_databases else home.test_databases(),
    }
    return {
        f"the_run.{name}": Outcome("failed", "\n".join(found)) if found else Outcome("passed")
        for name, found in checks.items()
    }


class ServerHome:
    """A `Home` on a server; each database says how to ask it."""

    VERSION: ClassVar = "SELECT version() AS text"
    TABLES: ClassVar[str]  # of the database it is asked in, as `name`
    DATABASES: ClassVar[str]  # all there are, as `name`
    OWN: ClassVar[frozenset[str]]  # those that every server has

    def __init__(self, server: Server) -> None:
        self.server = server
        for name in REAL_DATABASES.values():
            server.create_database(name)

    @property
    def version(self) -> str:
        """See `Home`, as for all here."""
        return str(self.server.query(self.VERSION)[0].text)

    def django(self, name: str) -> dict[str, object]:
        """Return the server's address with the database's name."""
        return self.server.django(NAME=name)

    def sessions(self) -> list[str]:
        """Wait a moment for the sessions to end; describe those that do not."""
        deadline = time.monotonic() + _GRACE
        while (found := self.server.sessions()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [_described(session) for session in found]

    def real_tables(self) -> Iterator[str]:
        """Yield the names of tables, with that of their database."""
        for database in REAL_DATABASES.values():
            for row in self.server.query(self.TABLES, dbname=database):
                yield f"{database}: {row.name}"

    def test_databases(self) -> list[str]:
        """Return the names of databases that neither the server nor we have made."""
        names = {str(row.name) for row in self.server.query(self.DATABASES)}
        return sorted(names - self.OWN - set(REAL_DATABASES.values()))

    def clean(self) -> None:
        """Drop the test databases with the sessions in them, and end all other sessions."""
        self.server.kill_sessions()
        for name in self.test_databases():
            self.server.drop_database(name)


def _described(session: Any) -> str:
    return f"session {session.pid} in {session.dbname}, {session.state}, last: {session.query}"
