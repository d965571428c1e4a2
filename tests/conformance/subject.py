"""What the suite has to know of a database. A new one fills in a `Subject` and registers it.

A subject is one empty database for one test. All that it tells comes from the database itself
(its sessions, its log), never from carpool.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from support.databases import fresh_database
from tests.conformance.asking import value
from tests.probing import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carpool.driver import Driver

TABLE = "CREATE TABLE note (n integer)"


@dataclass(frozen=True)
class Leak:
    """What one user leaves behind, and the query by whose first value the next would notice."""

    plant: str
    probe: str


class Subject:
    """One database, as the suite sees it."""

    engine: ClassVar[str | None]  # of Django's; None: its tests run in a process of their own
    leaks: ClassVar[dict[str, Leak]]
    refuses_stale_cursors: ClassVar[bool] = True
    attribute: ClassVar[tuple[str, Any]]  # of the module's connections, and a value to set it to
    runs_hooks: ClassVar[bool] = True  # such as `configure`, where the connections are opened
    pool_options: Mapping[str, Any] = {}  # that all its pools have; fit for JSON

    @classmethod
    @contextmanager
    def fresh(cls, request: Any) -> Iterator[Any]:
        """Yield a subject with an empty database, in which `TABLE` has been made."""
        raise NotImplementedError

    # How to get there

    def recipe(self) -> tuple[str, dict[str, Any]]:
        """Return "module:callable" and the arguments, fit for JSON, that make its `Driver`.

        It opens connections in autocommit mode.
        """
        raise NotImplementedError

    def driver(self, **more: Any) -> Driver[Any]:
        """Return a driver for the database."""
        path, arguments = self.recipe()
        module, _, name = path.partition(":")
        return getattr(importlib.import_module(module), name)(**arguments | more)

    def django(self) -> dict[str, Any]:
        """Return its entry of DATABASES, but for ENGINE and the pool's options."""
        raise NotImplementedError

    # What the database itself shows

    def sessions(self) -> list[Any]:
        """Return the sessions that clients have open in this database now, in any order."""
        raise NotImplementedError

    def session_of(self, connection: Any) -> Any:
        """Return which of them a connection is (of the driver's, or Django's wrapper)."""
        raise NotImplementedError

    def kill(self) -> None:
        """End all sessions from outside; return when they are gone."""
        raise NotImplementedError

    def ask(self, sql: str) -> Any:
        """Run a statement from outside, unseen by `sessions`; return its first value, if any."""
        raise NotImplementedError

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Yield a list that at the end holds the statements that clients have sent meanwhile."""
        raise NotImplementedError

    # What follows from that

    def wait_for_sessions(self, count: int) -> None:
        """Wait until there are so many sessions: a closed one takes a server a moment."""
        eventually(lambda: len(self.sessions()) == count)


class ServerSubject(Subject):
    """A database on a server of `support.servers`, as a `support.databases.Database`."""

    fixture: ClassVar[str]  # the name of the server's fixture
    own_fixture: ClassVar[str]  # of one that the test may restart
    own_session: ClassVar[str]  # the query for the number of one's own session

    def __init__(self, database: Any) -> None:
        self.database = database

    @classmethod
    @contextmanager
    def fresh(cls, request: Any, *, own: bool = False) -> Iterator[Any]:
        """See `Subject`; `own`: on a server that the test may restart, kill and pause."""
        server = request.getfixturevalue(cls.own_fixture if own else cls.fixture)
        with fresh_database(server) as database:
            database.query(TABLE)
            yield cls(database)

    def django(self) -> dict[str, Any]:
        """See `Subject`."""
        return self.database.django()

    def sessions(self) -> list[Any]:
        """See `Subject`."""
        return self.database.sessions()

    def session_of(self, connection: Any) -> Any:
        """See `Subject`."""
        return value(connection, self.own_session)

    def kill(self) -> None:
        """See `Subject`."""
        self.database.kill_sessions()

    def ask(self, sql: str) -> Any:
        """See `Subject`."""
        rows = self.database.query(sql)
        return rows[0][0] if rows else None

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """See `Subject`."""
        mark, found = self.database.mark(), []
        yield found
        found += [each.text for each in self.database.statements(mark)]
