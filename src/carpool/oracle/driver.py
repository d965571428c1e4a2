"""The driver for python-oracledb. Usable without Django, in a `carpool.Pool(OracleDriver(...))`."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import oracledb

from carpool import sockets
from carpool.driver import AS_IT_IS, Limits, NeedsNewSession
from carpool.keys import freeze
from carpool.looking import text_of
from carpool.oracle import limits, looking
from carpool.oracle.session import Connection, tracked_connection
from carpool.sessions import EVERY_MODE, SessionDriver, never_end
from carpool.telemetry.limits import visit

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

# A server that does not answer is known to be down after ten seconds; an idle connection that is
# cut off silently is noticed by TCP after two minutes.
PATIENCE = {"tcp_connect_timeout": 10.0, "expire_time": 2}

# The tables that keep rows for their session ("ON COMMIT PRESERVE ROWS"): what an INSERT leaves in
# one cannot be told from its text.
# https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/ALL_TABLES.html
TEMPORARY_TABLES = "SELECT table_name FROM all_tables WHERE duration = 'SYS$SESSION'"

# Limits of sessions (of the instance, its licence, the user's profile), of processes, and of what
# the listener can hand out. In thin mode the listener's refusals are in the text alone:
# "DPY-6000: Listener refused connection. (Similar to ORA-12516)".
# https://docs.oracle.com/en/error-help/db/ora-index.html
NO_ROOM = re.compile(r"ORA-0*(18|19|20|2391|12516|12518|12519|12520)\b")


class OracleDriver(SessionDriver[Connection]):
    """Opens and cleans connections of python-oracledb.

    `params` go to `oracledb.connect`; `autocommit` is the attribute of that name of every
    connection; `variant` tells sessions apart that are set up differently once they are open.
    """

    modes = EVERY_MODE

    def __init__(
        self, *, autocommit: bool = False, variant: Hashable = None, **params: Any
    ) -> None:
        self._autocommit = autocommit
        params["conn_class"] = tracked_connection(params.get("conn_class") or oracledb.Connection)
        self._params = {**PATIENCE, **params}
        self.key = (type(self), autocommit, variant, freeze(self._params))
        self.name = database_name(params)

    # ---------------------------------------------------------- open and close

    def connect(self, overrides: Mapping[str, Any]) -> Connection:
        """See `Driver`."""
        connection: Any = oracledb.connect(**{**self._params, **overrides})
        try:
            connection.autocommit = self._autocommit
            connection.begin_session()
            with connection.cursor() as cursor:
                cursor.execute(TEMPORARY_TABLES)
                connection.session.temporary = frozenset(name for (name,) in cursor.fetchall())
            connection.session.by_hand = False
        except BaseException:
            with contextlib.suppress(oracledb.Error):
                connection.close()
            raise
        return connection  # type: ignore[no-any-return] # of the class that was asked for

    def close(self, connection: Connection, patience: float) -> None:
        """See `Driver`. The driver takes its leave of the server and waits for the answer."""
        session = connection.session
        if session.running:
            with contextlib.suppress(oracledb.Error, OSError):
                connection.cancel()
            if not session.wait_until_quiet(patience):
                session.cut_off()
        with contextlib.suppress(Exception), _within(connection, patience):
            connection.close()

    def disown(self, connection: Connection) -> None:
        """See `Driver`."""
        session = connection.session
        session.lease += 1
        if session.socket is not None and session.socket.fileno() >= 0:
            sockets.abandon(session.socket.fileno())
        never_end(connection)  # its destructor would talk to the server

    def limits(self, overrides: Mapping[str, Any] = AS_IT_IS) -> Limits | None:
        """See `Driver`. None for users who may not see the server's figures."""
        with visit(self, overrides) as connection, connection.cursor() as cursor:
            try:
                return limits.ask(cursor)
            except oracledb.DatabaseError as error:
                if any(each in str(error) for each in limits.NO_SUCH_VIEW):
                    return None
                raise

    # ------------------------------------------------------------------- judge

    def look(self, connection: Connection) -> bool:
        """See `Driver`. The driver's own look takes in what an idle server has said."""
        return connection.is_healthy() and not connection.session.readable(0)

    def ping(self, connection: Connection, timeout: float) -> None:
        """See `Driver`."""
        with _within(connection, timeout):
            connection.ping()

    def settle(self, connection: Connection) -> bool:
        """See `Driver`."""
        session = connection.session
        session.settled()
        session.read_later = False
        if (
            session.effect is not None
            or session.closed
            or session.running
            or (session.failed and self.broken(connection))
            or connection.transaction_in_progress
        ):
            return False
        session.failed = False
        if session.touched:
            connection.put_back()
        return True

    def at_rest(self, connection: Connection) -> bool:
        """See `Driver`. Who was given a LOB, as Django's TextField, may read it until the end."""
        session = connection.session
        return not (
            session.closed
            or session.running
            or session.read_later
            or connection.transaction_in_progress
            or (session.touched and connection.is_altered())
        )

    def looks_back(self, text: Any) -> str | None:
        """See `Driver`."""
        return looking.looks_back(text if type(text) is str else text_of(text))

    def broken(self, connection: Connection) -> bool:
        """See `Driver`."""
        session = connection.session
        return (
            session.closed
            or session.interrupted
            or session.running > 0
            or not connection.is_healthy()
        )

    def busy(self, connection: Connection) -> bool:
        """See `Driver`."""
        return connection.session.running > 0

    def commit(self, connection: Connection) -> None:
        """See `Driver`."""
        connection.commit()

    def in_transaction(self, connection: Connection) -> bool:
        """See `Driver`: as the server has told with its last answer."""
        return not connection.session.closed and bool(connection.transaction_in_progress)

    def no_room(self, error: BaseException) -> bool:
        """See `Driver`."""
        return isinstance(error, oracledb.Error) and bool(NO_ROOM.search(str(error)))

    # ------------------------------------------------------------------- reset

    def begin_reset(self, connection: Connection, *, everything: bool) -> bool:
        """See `Driver`. No statement clears a session of Oracle's, so another takes its place.

        DBMS_SESSION.RESET_PACKAGE clears the variables of packages alone; ALTER SESSION cannot be
        undone as a whole, nor locks of DBMS_LOCK and rows of temporary tables be found. What the
        server itself can do at the end of a request (RESET_STATE) is up to its service, and to
        pools that announce their requests:
        https://docs.oracle.com/en/database/oracle/oracle-database/26/racad/ensuring-application-continuity/reset-database-session-state.html
        """
        if everything:
            raise NeedsNewSession
        connection.session.everything = False
        return False

    def finish_reset(self, connection: Connection, timeout: float) -> None:
        """See `Driver`."""
        with _within(connection, timeout):
            connection.rollback()
        connection.put_back()
        connection.session.failed = False
        connection.session.cleared()


@contextlib.contextmanager
def _within(connection: Connection, timeout: float) -> Iterator[None]:
    """Give each round trip in a block `timeout` seconds; its milliseconds may not be 0."""
    before = connection.call_timeout
    connection.call_timeout = max(1, int(timeout * 1000))
    yield
    connection.call_timeout = before


def database_name(params: Mapping[str, Any]) -> str:
    """Name a database and who connects to it; nothing secret.

    >>> database_name({"user": "shop", "password": "x", "dsn": "db:1521/shop"})
    'oracle://shop@db:1521/shop'
    """
    user = str(params.get("user") or "").partition("/")[0]
    return f"oracle://{f'{user}@' if user else ''}{_place(params)}"


def _place(params: Mapping[str, Any]) -> str:
    """Tell host, port and service, from a connect string of any form or from parameters."""
    dsn = str(params.get("dsn") or "")
    if "(" in dsn:
        parts = dict(re.findall(r"\(\s*(\w+)\s*=\s*([^()]+?)\s*\)", dsn.lower()))
        return _address(
            parts.get("host"), parts.get("port"), parts.get("service_name") or parts.get("sid")
        )
    if dsn:
        return dsn.rpartition("@")[2].partition("?")[0]  # "user/password@host/service?options"
    service = params.get("service_name") or params.get("sid")
    return _address(params.get("host"), params.get("port"), service)


def _address(host: Any, port: Any, service: Any) -> str:
    return f"{host or 'local'}{f':{port}' if port else ''}/{service or ''}"
