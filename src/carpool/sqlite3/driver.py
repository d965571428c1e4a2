"""The driver for SQLite files. Usable without Django: `carpool.Pool(SQLiteDriver("shop.db"))`."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from carpool.driver import NeedsNewSession
from carpool.keys import freeze
from carpool.looking import text_of
from carpool.sessions import EVERY_MODE, SessionDriver, never_end
from carpool.sqlite3 import files, looking
from carpool.sqlite3.session import Noticing, noticing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

CANTOPEN = 14  # SQLITE_CANTOPEN, which Python 3.11 names for its errors alone
PAUSE = 0.001  # seconds between two looks at whether a thread has heard the interruption


class SQLiteDriver(SessionDriver[Noticing]):
    """Opens and cleans connections to one file.

    `params` go to `open_by`, which is `sqlite3.connect` or does more to a new connection; then
    `key` tells what it does. `database` is a path or a `file:` URI (with `uri=True`). Raises
    ValueError for a database in memory: it belongs to one connection.
    """

    def __init__(
        self,
        database: Any,
        *,
        open_by: Callable[..., sqlite3.Connection] = sqlite3.connect,
        key: Hashable = None,
        **params: Any,
    ) -> None:
        path = files.path_of(database)
        if path is None:
            raise ValueError(f"{database!r} is not a file: nothing to pool")
        self._path = path
        self._open_by = open_by
        self._class = noticing(params.pop("factory", sqlite3.Connection))
        self._params = {"check_same_thread": False, **params, "database": database}
        self.key = (type(self), os.fsdecode(database), key, freeze(params), self._class)
        self.name = f"sqlite:{path}"

    modes = EVERY_MODE

    # ---------------------------------------------------------- open and close

    def connect(self, overrides: Mapping[str, Any]) -> Noticing:
        """See `Driver`."""
        made: list[Noticing] = []

        def factory(*args: Any, **kwargs: Any) -> Noticing:
            made.append(self._class(*args, **kwargs))
            return made[-1]

        # Looked at before: if another file takes its place meanwhile, that will be noticed.
        opened = files.identity(self._path)
        try:
            self._open_by(**{**self._params, **overrides, "factory": factory})
        except BaseException:
            for each in made:
                each.close()
            raise
        connection = made[-1]
        connection.begin_session(files.Opened(opened or files.identity(self._path)))
        connection.session.readable = files.watch(self._path, connection.session.opened)
        return connection

    def close(self, connection: Noticing, patience: float) -> None:
        """See `Driver`."""
        with contextlib.suppress(sqlite3.Error):
            # With a statement left, SQLite would keep the file open until that is collected, too.
            if connection.close_cursors() or self._interrupt(connection, patience):
                connection.close()

    @staticmethod
    def _interrupt(connection: Noticing, patience: float) -> bool:
        """Stop what another thread is computing; False: it goes on.

        Then the module does not bear to be closed: the connection ends with that thread's use.
        """
        deadline = monotonic() + patience
        while not connection.close_cursors():
            if monotonic() >= deadline:
                return False
            connection.interrupt()
            sleep(PAUSE)
        # Until the next statement the interruption lasts: closing would make no checkpoint.
        connection.ask("SELECT 1").close()
        return True

    def may_fork(self, connection: Noticing) -> bool:  # noqa: ARG002 - none may
        """See `Driver`.

        SQLite keeps its own account of a process's locks on a file. A forked child inherits the
        account, but not the locks: the kernel gives those to one process. So what the child then
        opens itself is not locked, as long as the account says that it is: in WAL mode, for any
        connection that was open at the fork. What the child writes can be lost as the parent
        closes; nobody is told.
        https://www.sqlite.org/howtocorrupt.html, "Carrying an open database connection across a
        fork()".
        """
        return False

    def disown(self, connection: Noticing) -> None:
        """See `Driver`. Neither used nor closed, see `may_fork`."""
        connection.session.opened.closed = True
        never_end(connection)

    # ------------------------------------------------------------------- judge

    def look(self, connection: Noticing) -> bool:
        """See `Driver`: the file at the path has to be the one that was opened."""
        return not connection.session.readable(0)

    def ping(self, connection: Noticing, timeout: float) -> None:  # noqa: ARG002 - it does not wait
        """See `Driver`. It asks SQLite, not the file, which somebody may have locked."""
        connection.ask("SELECT 1").fetchall()

    def settle(self, connection: Noticing) -> bool:
        """See `Driver`."""
        session = connection.session
        session.settled()
        if session.made and not connection.close_cursors():
            session.effect = "cursor in use"
        if session.effect is not None or connection.in_transaction:
            return False
        if session.touched:
            connection.restore_attributes()
        return True

    def at_rest(self, connection: Noticing) -> bool:
        """See `Driver`. What was made in this lease counts until it has no more to give."""
        session = connection.session
        return not (
            session.opened.closed
            or connection.in_transaction
            or session.untracked
            or connection.has_rows()
            or (session.touched and connection.is_altered())
        )

    def looks_back(self, text: Any) -> str | None:
        """See `Driver`."""
        return looking.looks_back(text if type(text) is str else text_of(text))

    def broken(self, connection: Noticing) -> bool:
        """See `Driver`."""
        return connection.session.opened.closed

    def busy(self, connection: Noticing) -> bool:
        """See `Driver`: also if another thread has a cursor, with which it may go on."""
        return connection.held_elsewhere()

    def in_transaction(self, connection: Noticing) -> bool:
        """See `Driver`."""
        return not connection.session.opened.closed and connection.in_transaction

    def commit(self, connection: Noticing) -> None:
        """See `Driver`."""
        connection.commit()

    def no_room(self, error: BaseException) -> bool:
        """See `Driver`: this process has no file descriptor left."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code == CANTOPEN and _no_descriptors()

    # ------------------------------------------------------------------- reset

    def begin_reset(self, connection: Noticing, *, everything: bool) -> bool:
        """See `Driver`. A transaction ends here and now: it locks the file for everybody."""
        session = connection.session
        session.everything = everything
        if connection.in_transaction and not connection.under_way():  # else it would wait for that
            connection.roll_back()
        if everything:
            raise NeedsNewSession
        connection.restore_attributes()
        return True

    def finish_reset(self, connection: Noticing, timeout: float) -> None:  # noqa: ARG002 - done
        """See `Driver`."""
        connection.session.cleared()


def _no_descriptors() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False
