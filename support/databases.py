"""One database of a private server, and what the server shows of it."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server, Statement

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """`params` are the driver's, `django()` Django's; the rest is what the server shows of it."""

    server: Server
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """The arguments of the driver's `connect`."""
        return self.server.params | {self.server.DBNAME: self.name}

    @property
    def unix_params(self) -> dict[str, Any]:
        """The same by way of the Unix socket."""
        return self.server.unix_params | {self.server.DBNAME: self.name}

    def django(self, **more: object) -> dict[str, object]:
        """Return an entry of DATABASES, but for ENGINE; `more` is added."""
        return self.server.django(NAME=self.name) | more

    def query(self, sql: str, args: Any = None) -> list[Any]:
        """Run a statement as the administrator, unseen by every count."""
        return self.server.query(sql, args, dbname=self.name)

    def sessions(self, **where: object) -> list[Any]:
        """Return the clients' sessions, oldest first."""
        return self.server.sessions(dbname=self.name, **where)

    def wait_for_sessions(self, count: int, timeout: float = 10, **where: object) -> list[Any]:
        """Wait until there are that many sessions; AssertionError after `timeout` seconds."""
        return self.server.wait_for_sessions(count, timeout, dbname=self.name, **where)

    def kill_sessions(self, **where: object) -> int:
        """End the clients' sessions; return how many when they are gone."""
        return self.server.kill_sessions(dbname=self.name, **where)

    def mark(self) -> int:
        """Return the present end of the log, for `since`."""
        return self.server.mark()

    def statements(self, since: int = 0, **where: object) -> list[Statement]:
        """Return the statements that the server has seen in this database since a mark."""
        return self.server.statements(since, dbname=self.name, **where)

    def clock(self) -> int:
        """Return the server's present time, for `unlogged`."""
        return self.server.clock()

    def unlogged(self, since: int) -> list[str]:
        """Return the commands since a `clock` that no log shows, such as "Reset connection"."""
        return self.server.unlogged(since, dbname=self.name)

    def connections(self, since: int = 0, **where: object) -> int:
        """Count the logins to this database since a mark."""
        return self.server.connections(since, dbname=self.name, **where)


@contextmanager
def fresh_database(server: Server) -> Iterator[Database]:
    """Make an empty database, and drop it and all sessions in it afterwards."""
    database = Database(server, f"test_{next(_numbers)}")
    server.create_database(database.name)
    try:
        yield database
    finally:
        server.drop_database(database.name)
