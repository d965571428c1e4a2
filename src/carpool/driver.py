"""All that a database must answer to be pooled."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

C = TypeVar("C")
AS_IT_IS: Final[Mapping[str, Any]] = MappingProxyType({})  # no parameter in place of the driver's


class Limits(NamedTuple):
    """What a server says of its sessions, to one of them; that one is left out of the counts."""

    sessions: int  # of our user in our database
    max_connections: int  # of the server
    reserved: int = 0  # of these, those that an ordinary user does not get
    role_limit: int | None = None  # most sessions of our user; None: no such limit
    database_limit: int | None = None  # most sessions in our database
    in_use: int | None = None  # all clients' sessions; None: it does not tell
    pooler: str = ""  # what stands between the server and us, as far as it shows
    tls: bool = False  # the connection's socket cannot be handed to another process, but relayed

    @property
    def room(self) -> int:
        """How many sessions an ordinary user of this name can have, if nobody else has any."""
        tighter = [each for each in (self.role_limit, self.database_limit) if each is not None]
        return max(0, min([self.max_connections - self.reserved, *tighter]))


class NeedsNewSession(Exception):
    """No reset leads to a clean session here: this one has to be closed and another opened."""


class Driver(Protocol[C]):
    """Opens, judges, cleans and closes the connections (of type `C`) of one database.

    A pool calls it from many threads at once, but never two methods at once for one connection.
    `look`, `settle` and `begin_reset` are on the request's path: they must neither wait for the
    server nor block. Connections must be weakly referenceable.

    `effect`, `at_rest` and `looks_back` are asked by the thread that has the connection, in the
    modes "transaction" and "statement" around every statement: they must neither wait for the
    server nor block, and cost microseconds.

    There a connection tells one thing more: `connection.session.by_hand` is true once somebody has
    asked the connection object itself for a cursor or the like in this lease, and may hold that.
    """

    @property
    def buffers(self) -> bool:
        """Whether all rows are with the client once a statement has been executed.

        Then they can be fetched when the connection is somebody else's.
        """

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that it can serve, "session" first.

        The others need answers of `effect`, `at_rest` and `looks_back` that can be trusted.
        """

    @property
    def name(self) -> str:
        """For logs and errors: the database and who connects to it, never a secret."""

    @property
    def key(self) -> Hashable:
        """The connection parameters: drivers with equal keys may share a pool."""

    def connect(self, overrides: Mapping[str, Any]) -> C:
        """Open a connection, with `overrides` (fresh credentials) in place of its parameters.

        May take long. Raises the database module's errors.
        """

    def close(self, connection: C, patience: float) -> None:
        """End the session, cancelling what still runs in it, and return when it is gone.

        Waits for the server no longer than about `patience` seconds. Raises nothing.
        """

    def watch(self, connection: C) -> Callable[[int], object]:
        """Return a function that, called with 0, is falsy while there is nothing to `look` at.

        It is the pool's look at the socket, at every acquire: see `sockets.watch`.
        """

    def look(self, connection: C) -> bool:
        """Tell without a round trip whether an idle connection still seems usable.

        Called when there is something to look at: the server has closed it, or has said something.
        """

    def ping(self, connection: C, timeout: float) -> None:
        """Ask the server for an answer; raises if none comes within `timeout` seconds."""

    def settle(self, connection: C) -> bool:
        """Note that a lease has ended; tell without a round trip whether it left no trace.

        From here on cursors of that lease are refused. False sends the connection to
        `broken` and, if that is false too, through a reset.
        """

    def effect(self, connection: C) -> str | None:
        """Return what has, first in this lease, maybe left state in the session; None: nothing.

        A short and stable reason ("SET", "temporary table") without values. No round trip.
        """

    def at_rest(self, connection: C) -> bool:
        """Tell without a round trip whether nothing is under way that needs this very connection.

        That is: a transaction, whoever has begun it; a statement; a result still to be read from
        the server; what the user has set on the connection object. What `effect` tells of and,
        with a server, the cursors that the wrapper reads in pieces are not asked for here.
        """

    def looks_back(self, text: Any) -> str | None:
        """Tell what a statement asks for that an earlier one of its session has left by itself.

        Such as "LAST_INSERT_ID"; None: nothing. `text` is whatever the module takes for a
        statement. A text that merely contains the words may have an answer, too. Takes linear time
        for any text, a look-up for one seen before. Raises nothing. Thread-safe.
        """

    def broken(self, connection: C) -> bool:
        """Tell without a round trip whether the connection is beyond a reset."""

    def busy(self, connection: C) -> bool:
        """Tell without a round trip whether a statement is under way."""

    def commit(self, connection: C) -> None:
        """Commit the open transaction."""

    def in_transaction(self, connection: C) -> bool:
        """Tell without a round trip whether a transaction is open."""

    def adopt(self, connection: C) -> bool:
        """Take what has been done to the session so far as its set-up, no longer as a trace.

        Tells whether there was any: such a set-up has to be done again after a reset.
        """

    def set_up_by(self, connection: C) -> object:
        """Return what was given to `set_up_done`; None: not yet, or a reset has wiped it."""

    def set_up_left_traces(self, connection: C) -> bool:
        """Tell whether the set-up put something into the session that a reset wipes."""

    def set_up_done(self, connection: C, by: object) -> None:
        """Take what has been done to the session as its set-up, done by `by`."""

    def begin_reset(self, connection: C, *, everything: bool) -> bool:
        """Start to end the transaction and, with `everything`, to clear the session's state.

        Tells whether the server now has all it needs, so that only an answer is to be read.
        Raises `NeedsNewSession`.
        """

    def finish_reset(self, connection: C, timeout: float) -> None:
        """Complete a reset within `timeout` seconds; raises if that fails."""

    def may_fork(self, connection: C) -> bool:
        """Tell whether an idle connection may be open while the process forks, or is closed."""

    def disown(self, connection: C) -> None:
        """In a forked child: drop the parent's connection without a word to the server.

        A thread of the parent may have been using it at the fork.
        """

    def no_room(self, error: BaseException) -> bool:
        """Tell whether a failed connect means: server up, no free connection slot."""

    def limits(self, overrides: Mapping[str, Any] = AS_IT_IS) -> Limits | None:
        """Ask the server how many sessions there are and may be; None: there is no such thing.

        By a session of its own, opened as `connect` does and closed again, so it may take long.
        Raises the database module's errors.
        """
