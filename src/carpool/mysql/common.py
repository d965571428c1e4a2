"""What the drivers for mysqlclient and PyMySQL have in common."""

from __future__ import annotations

import contextlib
import math
import os
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from carpool import sockets
from carpool.driver import AS_IT_IS, Limits, NeedsNewSession
from carpool.keys import freeze
from carpool.looking import text_of
from carpool.mysql import limits, looking, wire
from carpool.mysql.params import CONNECT_TIMEOUT, SetUp, canonical, database_name
from carpool.mysql.session import tracked
from carpool.sessions import EVERY_MODE, SessionDriver, never_end
from carpool.telemetry.limits import visit

if TYPE_CHECKING:
    from collections.abc import Mapping

# Too many connections: on the server, of a user by the variable, of a user by a resource limit.
TOO_MANY, TOO_MANY_OF_USER, LIMIT_EXCEEDED = 1040, 1203, 1226
PAUSE = 0.01  # seconds between two looks at what cannot be waited for
NOTICING = 0.05  # seconds within which a server that is not at work hangs up if we have
PATIENCE_OF_A_LOOK = 1.0  # seconds for the ping that tells what it is that TLS hides
C = TypeVar("C", bound=Any)


class MySQLDriver(SessionDriver[C]):
    """Opens and cleans the connections of `connection_class`.

    `params` go to the module's `connect`; `settings` are session variables that the session starts
    with and falls back to when it is reset (`{"time_zone": "+00:00"}`); `isolation_level` is
    "read committed" and the like, None: the server's default.
    """

    connection_class: ClassVar[Any]
    module_error: ClassVar[type[Exception]]
    cursorclass: ClassVar[type[Any]]
    modes = EVERY_MODE
    buffers = True  # with others than the modules' own cursors there is a result still to be read

    def __init__(self, *, settings: Mapping[str, object] | None = None, **params: Any) -> None:
        params = canonical(params)
        self.key = (type(self), freeze(settings or {}), freeze(params))
        self.name = database_name(params)
        self.given = {**params, "settings": dict(settings or {})}
        self._set_up = SetUp.taken_from(params, settings or {})
        params["cursorclass"] = tracked(params.get("cursorclass") or self.cursorclass)
        params.setdefault("connect_timeout", CONNECT_TIMEOUT)
        self._params = params

    # What a module does in its own way

    def _descriptor(self, connection: C) -> int:
        """Return the number of the connection's socket, which is open."""
        raise NotImplementedError

    def _is_wrapped(self, connection: C) -> bool:
        """Tell whether what goes over the socket is encrypted or compressed."""
        raise NotImplementedError

    def _run(self, connection: C, statement: str, deadline: float) -> None:
        """Have the driver run a statement and forget its results, in time."""
        raise NotImplementedError

    def _clear(self, connection: C, deadline: float) -> None:
        """Have the server forget the session's state, and go back to its database."""
        raise NotImplementedError

    def _unread(self, connection: C) -> bool:
        """Tell without a round trip whether results are still to be read."""
        raise NotImplementedError

    def _in_parts(self, connection: C) -> bool:
        """Tell whether a result may be unread. Without harm to it, and for the user to go on."""
        return self._unread(connection)

    def ping(self, connection: C, timeout: float) -> None:
        """See `Driver`."""
        raise NotImplementedError

    # ---------------------------------------------------------- open and close

    def connect(self, overrides: Mapping[str, Any]) -> C:
        """See `Driver`."""
        params = {**self._params, **canonical(overrides)}
        connection: C = self.connection_class(**params, autocommit=None)
        try:
            self._begin_session(connection, params)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_session(self, connection: C, params: dict[str, Any]) -> None:
        self._note_login(connection, params)
        session = connection.session
        session.port = wire.keep_alive(session.descriptor)
        session.wrapped = self._is_wrapped(connection)
        deadline = monotonic() + params["connect_timeout"]
        for statement in session.set_up:
            self._run(connection, statement, deadline)
        self._note_begun(connection)

    def _note_login(self, connection: C, params: dict[str, Any]) -> None:
        """Take note of a login with these parameters, of which nothing has been set up yet."""
        session = connection.session
        session.login = {name: params.get(name) for name in ("user", "password", "database")}
        session.descriptor = descriptor = self._descriptor(connection)
        session.inode = os.fstat(descriptor).st_ino
        session.readable = sockets.watch(descriptor)
        session.thread_id = connection.thread_id()
        session.impatient = bool(params.get("read_timeout") or params.get("write_timeout"))
        session.charset = connection.character_set_name()
        session.set_up = self._set_up.statements(session.charset, connection.get_server_info())

    def _note_begun(self, connection: C) -> None:
        """Take note that a session is as the first lease shall find it."""
        session = connection.session
        session.autocommit = connection.get_autocommit()
        session.cursorclass = connection.cursorclass
        connection.keep_attributes()
        session.cleared()

    def close(self, connection: C, patience: float) -> None:
        """See `Driver`."""
        session, deadline = connection.session, monotonic() + patience
        with contextlib.suppress(Exception):
            at_work = session.underway or session.running
            if at_work or (not session.lost and self._unread(connection)):
                self._break_off(connection, deadline)
        if session.underway:  # in another thread, whose call ends with an error now
            return
        with contextlib.suppress(Exception):
            connection.close()
        if session.farewell:
            session.farewell.wait(max(0.0, deadline - monotonic()))

    def _break_off(self, connection: C, deadline: float) -> None:
        """End a session that may be at work: it may not notice that we have left."""
        descriptor, underway = connection.live_descriptor(), connection.session.underway
        if descriptor >= 0 and not underway:
            farewell = sockets.Farewell(descriptor)
            wire.say_no_more(descriptor)
            if farewell.wait(min(NOTICING, max(0.0, deadline - monotonic()))):
                return
        try:
            self._stop(connection, deadline)
        finally:
            if descriptor >= 0 and underway:
                wire.hang_up(descriptor)

    def _stop(self, connection: C, deadline: float) -> None:
        """End a session from another one, which MySQL has no other way for than one more login.

        Behind a proxy or a load balancer the number of the session may belong to somebody else;
        so it has to have our port as well.
        """
        session = connection.session
        with contextlib.closing(self._another(session.login, deadline)) as other:
            if self._is_there(other, session.thread_id, session.port):
                ask(other, f"KILL {session.thread_id:d}")
            while self._is_there(other, session.thread_id, session.port):
                if monotonic() > deadline:
                    return
                sleep(PAUSE)

    def _another(self, login: Mapping[str, Any], deadline: float) -> Any:
        """Log in once more, in time."""
        limit = max(1, math.ceil(deadline - monotonic()))
        timeouts = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), limit)
        plain = {**self._params, **login, **timeouts, "cursorclass": self.cursorclass}
        return self.connection_class(
            **{name: value for name, value in plain.items() if value is not None}
        )

    @staticmethod
    def _is_there(other: Any, thread_id: int, port: int) -> bool:
        """Look for a session among those of the same user."""
        hosts = {row[0]: str(row[2]) for row in ask(other, "SHOW PROCESSLIST")}
        host = hosts.get(thread_id)
        return host is not None and (not port or host.endswith(f":{port}"))

    def disown(self, connection: C) -> None:
        """See `Driver`."""
        session, descriptor = connection.session, connection.live_descriptor()
        if descriptor >= 0:
            sockets.abandon(descriptor)
        session.farewell = None
        session.lost = True
        if session.underway:  # another thread of the parent was in the middle of something
            never_end(connection)

    def limits(self, overrides: Mapping[str, Any] = AS_IT_IS) -> Limits:
        """See `Driver`."""
        with (
            visit(self, overrides) as connection,
            contextlib.closing(connection.cursor(self.cursorclass)) as cursor,
        ):
            answer = limits.ask(cursor, connection.thread_id())
            return answer._replace(tls=connection.session.wrapped)

    # ------------------------------------------------------------------- judge

    def settle(self, connection: C) -> bool:
        """See `Driver`."""
        session = connection.session
        session.settled()
        session.unbuffered = False
        clean: bool = (
            session.effect is None
            and not session.begun
            and not session.lost
            and connection.get_autocommit() == session.autocommit
            and (session.autocommit or not session.sent)
        )
        if clean and connection.attributes() != session.baseline:
            connection.restore_attributes()
        return clean

    def at_rest(self, connection: C) -> bool:
        """See `Driver`. What leaves results unread is an effect: the usual path does not look."""
        session = connection.session
        return not (
            session.begun
            or session.underway
            or session.lost
            or (session.sent and not connection.get_autocommit())
            or connection.is_altered()
            or (session.effect is not None and self._in_parts(connection))
        )

    def looks_back(self, text: Any) -> str | None:
        """See `Driver`."""
        return looking.looks_back(text if type(text) is str else text_of(text))

    def look(self, connection: C) -> bool:
        """See `Driver`. Whatever an idle server says is its farewell, if it is not TLS's own."""
        session = connection.session
        if not session.readable(0):
            return True
        if not session.wrapped:
            return False
        try:
            self.ping(connection, PATIENCE_OF_A_LOOK)
        except Exception:  # noqa: BLE001 - whatever it is, the connection is of no use any more
            return False
        return not session.readable(0)

    def broken(self, connection: C) -> bool:
        """See `Driver`."""
        session = connection.session
        return bool(
            session.lost
            or session.underway
            or connection.live_descriptor() < 0
            or self._unread(connection)
        )

    def busy(self, connection: C) -> bool:
        """See `Driver`."""
        return bool(connection.session.underway)

    def in_transaction(self, connection: C) -> bool:
        """See `Driver`. To be left without autocommit is as bad as to be left in a transaction."""
        session = connection.session
        if session.begun or session.switched:
            return True
        return bool(session.sent and not connection.get_autocommit())

    def commit(self, connection: C) -> None:
        """See `Driver`."""
        connection.commit()

    def no_room(self, error: BaseException) -> bool:
        """See `Driver`."""
        if not isinstance(error, self.module_error) or not error.args:
            return False
        if error.args[0] == LIMIT_EXCEEDED:  # of connections, not of questions in an hour
            return "max_user_connections" in str(error)
        return error.args[0] in {TOO_MANY, TOO_MANY_OF_USER}

    # ------------------------------------------------------------------- reset

    def begin_reset(self, connection: C, *, everything: bool) -> bool:
        """See `Driver`. Nothing is sent yet: the pool's worker does it all."""
        if everything and connection.session.indelible:
            raise NeedsNewSession
        connection.session.everything = everything
        return False

    def finish_reset(self, connection: C, timeout: float) -> None:
        """See `Driver`."""
        session, deadline = connection.session, monotonic() + timeout
        if session.everything:
            self._clear(connection, deadline)
            for statement in session.set_up:
                self._run(connection, statement, deadline)
        else:
            self._run(connection, "ROLLBACK", deadline)
            if connection.get_autocommit() != session.autocommit:
                self._run(connection, f"SET autocommit={session.autocommit:d}", deadline)
            connection.cursorclass = session.cursorclass
        if session.everything or session.effect is None:  # else they go with the session's state
            connection.restore_attributes()
        session.cleared()


def ask(other: Any, statement: str) -> Any:
    """Return the rows that answer a statement."""
    with contextlib.closing(other.cursor()) as cursor:
        cursor.execute(statement)
        return cursor.fetchall()
