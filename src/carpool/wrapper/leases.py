"""Leases that last no longer than they are needed.

Between leases, `connection` is a `StandIn`. A lease begins with a cursor, and ends by `rest` once
nothing needs this very connection any more: no transaction, no result still to be read, no state
in the session (then it is pinned, until the request ends), no `carpool.session()`.
"""

from __future__ import annotations

import contextlib
import logging
from asyncio import _get_running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper, debug_transaction
from django.db.utils import InterfaceError

from carpool.errors import NoTransactions
from carpool.sessions import ANY
from carpool.shape import shape
from carpool.wrapper.cursor import PLAIN, become_loose
from carpool.wrapper.raw import StandIn
from carpool.wrapper.session import SessionMode, refuse_in_event_loop
from carpool.wrapper.settings import PARAMETERS
from carpool.wrapper.trail import Trail, reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.registry import AnyPool
    from carpool.wrapper.trail import Note

logger = logging.getLogger("carpool.pool")

MAKE_CURSOR: Final = BaseDatabaseWrapper.make_cursor  # Django's; others may patch theirs in later

# What a transaction is, to Django.
_TRANSACTION = (
    "autocommit",
    "in_atomic_block",
    "savepoint_ids",
    "atomic_blocks",
    "commit_on_exit",
    "needs_rollback",
    "rollback_exc",
    "closed_in_transaction",
    "run_on_commit",
    "run_commit_hooks_on_set_autocommit_on",
)


class ShortLeases(SessionMode):
    """What `SessionMode` is, and shorter leases. All of it belongs to the wrapper's thread."""

    holds = 0  # reasons of ours, and of `begin_session`, not to give the connection back
    lease: object = None  # this one; None: there is none
    look: Callable[[str], Note | None]  # of the pool's driver
    era: object = None  # changes with `close`
    _one_stand_in: StandIn | None = None
    _pinned: str | None = None  # what has been done to the session
    _sessions = 0  # begun by `begin_session`
    may_begin = True  # a transaction
    _made_with = True  # the autocommit of the pool's connections
    _is_checked = False  # by the option `check`, which may do anything to a connection
    _buffers = False  # rows are all with the client when a statement has been executed
    _by_atomic = False  # the transaction is an `atomic`'s

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reading: set[int] = set()  # cursors that the lease has to outlast, by `id`
        self.trail = Trail()

    @property
    def pinned(self) -> str | None:
        """Why the connection stays until the request ends, in a few words; None: it does not.

        In session mode it always does, and this is None.
        """
        return self._pinned or ("carpool.session()" if self._sessions else None)

    def _is_loose(self) -> bool:
        """Tell whether this is one of the modes that give back sooner."""
        if self.connection is None:
            if self._chosen_for != PARAMETERS(self.settings_dict):
                self._choose_again()
            kept = self.settings_dict["CONN_MAX_AGE"] != 0
            self._mode = "session" if kept else self._chosen_mode
        return self._mode != "session"

    def _keep_for(self, max_age: float | None) -> None:
        """As in session mode, which it then is."""
        self._mode = "session"
        super()._keep_for(max_age)

    def is_resting(self) -> bool:
        """Tell whether it has begun, and holds no connection."""
        return type(self.connection) is StandIn

    # ------------------------------------------------------------ a lease begins

    def _begin(self) -> None:
        """Start as `connect` does, but without a connection."""
        if _get_running_loop() is not None:
            refuse_in_event_loop()
        if self.connection is None:
            self._start()
            self.connection = self.stand_in()

    def stand_in(self) -> StandIn:
        """Return what stands for the connection between leases."""
        if self._one_stand_in is None:
            self._one_stand_in = StandIn(self)
        return self._one_stand_in

    def ready(self) -> None:
        """Have a connection. The caller holds, else it might be given back at once."""
        if self.connection is None:
            super().ensure_connection()
            return
        if self._lessor is not None:
            return
        try:
            if _get_running_loop() is not None:
                refuse_in_event_loop()
            if self.closed_in_transaction:
                raise InterfaceError("connection already closed")  # noqa: TRY301 - told as all here
            if self._chosen_for is None and not self._choose_on():
                return
            self._take(self._pool)  # type: ignore[arg-type] # there is one in these modes
            self._enter()
            if self.autocommit != self._made_with:
                self._switch()
        except BaseException:
            if self.connection is None:  # what was begun goes on
                self.connection = self.stand_in()
            with self.wrap_database_errors:
                raise

    def _choose_on(self) -> bool:
        """Choose the pool again in the middle of a request; False: Django's own way it is now."""
        if self._choose_again() is not None and self._mode != "session":
            return True
        self.connection = None
        super().ensure_connection()
        return False

    def _connected(self) -> None:
        """Begin the first lease of a request; what nobody holds goes back at once."""
        self._enter()
        self.rest()

    def _enter(self) -> None:
        connection = self.connection
        session = connection.session
        if self._is_checked:
            session.by_hand = False
            self.trail.lose()
        if session.by_hand or session.effect is not None:
            # Somebody who had got hold of it in an earlier lease has used it since.
            pool = self._lessor
            self._leave()  # to be reset
            self._take(pool)  # type: ignore[arg-type] # it has just been acquired
            self._enter()
            return
        self.lease = object()
        if not self._thread_sharing_count:  # type: ignore[attr-defined] # not in the stubs
            session.holder = self.thread_ident
        self.trail.enter(connection)

    def _chosen(self) -> None:
        pool = self._pool
        self._mode = self._chosen_mode = "session" if pool is None else pool.options.mode
        self.may_begin = self._mode != "statement"
        if pool is not None and self._mode != "session":
            self._buffers = pool.driver.buffers
            self._is_checked = pool.options.check is not None
            self._made_with = self.settings_dict["AUTOCOMMIT"]
            self.look = reader(pool)

    def _switch(self) -> None:
        """Begin the transaction that has been asked for, or leave the one of the settings."""
        try:
            if self._by_atomic and hasattr(self, "_start_transaction_under_autocommit"):
                self._start_transaction_under_autocommit()
            elif self.autocommit:
                self._set_autocommit(True)  # type: ignore[attr-defined] # not in the stubs
            else:
                with debug_transaction(self, "BEGIN"):
                    self._set_autocommit(False)  # type: ignore[attr-defined] # not in the stubs
        except BaseException:
            self._leave()
            raise

    def _set_up(self, pool: AnyPool) -> None:
        """As in session mode: before any transaction begins, however late that is."""
        if self._mode == "session":
            super()._set_up(pool)
            return
        before = {name: self.__dict__[name] for name in _TRANSACTION if name in self.__dict__}
        self.holds += 1
        try:
            self._start()
            self.lease = object()
            self._pinned = "set-up"  # what it leaves in the session is not of this request
            super()._set_up(pool)
        finally:
            self.holds -= 1
            self._pinned = None
            self.reading.clear()
            self.__dict__.update(before)

    # -------------------------------------------------------------- a lease ends

    def rest(self) -> None:
        """Give the connection back, unless something needs this very one. Not in session mode."""
        pool = self._lessor
        if (
            pool is None
            or self.holds
            or self.in_atomic_block
            or self._pinned
            or self.reading
            or self._thread_sharing_count  # type: ignore[attr-defined] # not in the stubs
            or self.thread_ident != get_ident()  # a cursor is closed or collected elsewhere
        ):
            return
        self.holds += 1  # a finalizer, or a signal's handler, may come here meanwhile
        connection = self.connection
        session = connection.session
        try:
            rests = (
                session.effect is None and not session.by_hand and pool.driver.at_rest(connection)
            )
        finally:
            self.holds -= 1
        if rests:
            self._leave()
        else:
            self._stay(pool)

    def _stay(self, pool: AnyPool) -> None:
        """See to a connection that cannot be given back as it is."""
        connection = self.connection
        if connection.session.effect is not None:
            self._pin(connection.session.effect)
        elif connection.session.by_hand:
            self._pin("raw connection")
        elif self.autocommit and pool.driver.broken(connection):
            self._leave()  # the next statement gets another

    def _leave(self) -> None:
        """Give the connection back, whatever its state, and go on without one."""
        stand_in = self._one_stand_in or self.stand_in()
        # Without a call in between: what is called could come here, too.
        connection, pool = self.connection, self._lessor
        self.connection, self._lessor = stand_in, None
        if pool is None:
            return
        self.lease = None
        self._preferred = self.trail.leave(connection)
        if self.reading:
            self.reading.clear()
        pool.release(connection)

    def _pin(self, reason: str, sql: object = None) -> None:
        """Keep the connection until the request ends."""
        pool = self._lessor
        assert pool is not None
        self._pinned = reason
        if pool.count_pin(reason, self.connection):
            logger.info(
                "%s: %s pins the connection until the request ends%s",
                pool.name,
                reason,
                f": {shape(sql)}" if isinstance(sql, str) else "",
                extra={"pool": pool.name, "reason": reason},
            )

    def known(self) -> Any:
        """Return the connection at hand, or the one used last, to be looked at; None: none."""
        if self._lessor is not None:
            return self.connection
        return None if self._preferred is None else self._preferred()

    def raw(self) -> Any:
        """Return the database module's connection, pinned: somebody uses it past Django."""
        self.holds += 1
        try:
            self.ready()
        finally:
            self.holds -= 1
        if self._mode != "session" and not self._pinned:
            self._pin("raw connection")
        return self.connection

    def _close(self) -> None:
        if self._mode == "session" or self.connection is None:
            super()._close()
            return
        self._forget_lease()
        if self._lessor is not None:
            super()._close()
        elif not self.in_atomic_block:
            self.connection = None

    def _forget_lease(self) -> None:
        self._pinned = self.lease = None
        self.era = object()
        self.trail = Trail()
        self._preferred = None
        self.reading.clear()

    def forget_connection(self) -> None:
        """As in session mode."""
        self._forget_lease()
        super().forget_connection()

    # ------------------------------------------------------------------- cursors

    def _cursor(self, name: str | None = None) -> Any:
        if self._mode == "session" and self.connection is not None:
            return super()._cursor(name)
        self.holds += 1
        try:
            if self.connection is None:
                self.ensure_connection()
            if self._mode == "session":
                return super()._cursor(name)
            if self.thread_ident != get_ident():
                self.validate_thread_sharing()
            if self._lessor is None:
                self.ready()
            return self._loose_cursor(name)
        finally:
            self.holds -= 1

    def _loose_cursor(self, name: str | None) -> Any:
        """Do what `_prepare_cursor` does; in most cases that comes to little."""
        cursor = self.database_cursor(name)
        plain = getattr(self.make_cursor, "__func__", None) is MAKE_CURSOR
        if plain and not self.queries_logged:
            cursor = PLAIN[self._buffers](cursor, self)
        else:
            cursor = self._prepare_cursor(cursor)  # type: ignore[attr-defined] # not in the stubs
            if not isinstance(cursor, CursorWrapper):
                self._pin("unknown kind of cursor")  # nobody knows when it is done
                return cursor
            cursor = become_loose(cursor, buffers=self._buffers)
        if name is not None:
            cursor.name = name
        return cursor

    def database_cursor(self, name: str | None) -> Any:
        """Return a cursor of the connection's own."""
        session = self.connection.session
        by_hand = session.by_hand
        try:
            return self.create_cursor(name)
        except Exception:
            with self.wrap_database_errors:
                raise
        finally:
            session.by_hand = by_hand

    def before(self, note: Note, sql: object) -> None:
        """Look at a statement that is about to be executed. Raises NotTheSameSession."""
        if note.looks_back is not None:
            if note.surely:
                self.trail.check(note.looks_back)
            if not self._pinned:
                self._pin(note.looks_back, sql)

    def after(self, note: Note | None, sql: object) -> None:
        """Take note of an executed statement, which may have left something behind.

        Raises NoTransactions in statement mode, with the transaction rolled back.
        """
        pool = self._lessor
        if pool is None:
            return
        if self._mode == "statement" and pool.driver.in_transaction(self.connection):
            with contextlib.closing(self.database_cursor(None)) as cursor:
                cursor.execute("ROLLBACK")
            self.rest()
            raise no_transactions(self.alias)
        effect = self.connection.session.effect
        if effect is not None or (note is not None and note.makes_keys):
            self.trail.made_keys()
        if effect is not None and not self._pinned:
            self._pin(effect, sql)
        self.rest()

    def inc_thread_sharing(self) -> None:
        """As Django's; then any thread may use the connection at hand."""
        super().inc_thread_sharing()
        if self.lease is not None:
            self.connection.session.holder = ANY

    def dec_thread_sharing(self) -> None:
        """As Django's."""
        super().dec_thread_sharing()
        if self.lease is not None and not self._thread_sharing_count:  # type: ignore[attr-defined] # not in the stubs
            self.connection.session.holder = self.thread_ident
            self.rest()

    def is_usable(self) -> bool:
        """As the engine's, of the connection held or the next one."""
        if not self._is_loose() or self.connection is None:
            return super().is_usable()
        self.holds += 1
        try:
            self.ready()
            session = self.connection.session
            by_hand = session.by_hand
            usable = super().is_usable()
            session.by_hand = by_hand
        except Exception:  # noqa: BLE001 - that is the question
            usable = False
        finally:
            self.holds -= 1
        self.rest()
        return usable

    # ------------------------------------------------------------------ on purpose

    def begin_session(self) -> None:
        """Keep the connection, from the next statement on, until `end_session`; may be nested."""
        if self._is_loose() and self._pool is not None:
            self._pool.count_pin("carpool.session()")
        self.holds += 1
        self._sessions += 1

    def end_session(self) -> None:
        """Do no longer so."""
        self._sessions -= 1
        self.holds -= 1
        if self._mode != "session":
            self.rest()


def no_transactions(alias: str) -> NoTransactions:
    """Return the error of who opens a transaction in statement mode."""
    return NoTransactions(
        f"the pool of {alias!r} is in statement mode, which allows no transactions: no "
        "atomic(), set_autocommit(False) or BEGIN. Use 'mode': 'transaction' for them"
    )
