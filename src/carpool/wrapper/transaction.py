"""Transaction and statement mode: a connection is held only while it is used.

Between leases, `connection` is a `StandIn`. A lease begins with a cursor, and ends by `rest` once
nothing needs this very connection any more: no transaction, no result still to be read, no state
in the session (then it is pinned, until the request ends), no `carpool.session()`.

`atomic` and `set_autocommit` need no connection yet: what they ask for is noted, and done to the
connection that the next statement gets.
"""

from __future__ import annotations

import contextlib
import logging
from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any

from django.db.backends.utils import debug_transaction
from django.db.utils import InterfaceError

from carpool.errors import NoTransactions
from carpool.shape import shape
from carpool.wrapper.cursor import LooseCursor
from carpool.wrapper.raw import StandIn
from carpool.wrapper.session import SessionMode, refuse_in_event_loop
from carpool.wrapper.settings import PARAMETERS
from carpool.wrapper.trail import Trail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carpool.pool import Pool

logger = logging.getLogger("carpool.pool")

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


class Pooled(SessionMode):
    """What `SessionMode` is, and the other modes. All of it belongs to the wrapper's thread."""

    holds = 0  # reasons of ours, and of `session`, not to give the connection back
    lease: object = None  # this one; None: there is none
    era: object = None  # changes with `close`
    kind: type[Any] = object  # of the database module's connections
    _pinned: str | None = None  # what has been done to the session
    _sessions = 0  # blocks of `session`
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
        if self.connection is None and self._chosen_for != PARAMETERS(self.settings_dict):
            self._choose_again()
        return self._mode != "session"

    def is_resting(self) -> bool:
        """Tell whether it has begun, and holds no connection."""
        return type(self.connection) is StandIn

    @property
    def buffers(self) -> bool:
        """Whether rows are all with the client when a statement has been executed."""
        pool = self._pool
        return pool is not None and pool.driver.buffers

    # ------------------------------------------------------------ a lease begins

    def _begin(self) -> None:
        """Start as `connect` does, but without a connection."""
        if _get_running_loop() is not None:
            refuse_in_event_loop()
        if self.connection is None:
            self._start()
            self.connection = StandIn(self)

    def ensure_connection(self) -> None:
        """As Django's: raises if there is none to be had."""
        if not self._is_loose():
            super().ensure_connection()
        elif self._lessor is None:
            self.ready()
            self.rest()

    def ready(self) -> None:
        """Have a connection."""
        if self.connection is None:
            super().ensure_connection()
        elif self._lessor is None:
            try:
                self._take_again()
            except Exception:
                with self.wrap_database_errors:
                    raise

    def _take_again(self) -> None:
        if _get_running_loop() is not None:
            refuse_in_event_loop()
        if self.closed_in_transaction:
            raise InterfaceError("connection already closed")
        pool = self._pool
        if self._chosen_for != PARAMETERS(self.settings_dict):
            pool = self._choose_again()
        if pool is None or self._mode == "session":  # by a change of settings
            self.connection = None
            super().ensure_connection()
            return
        self.holds += 1
        try:
            self._take(pool)
            if self.autocommit != self.settings_dict["AUTOCOMMIT"]:
                self._switch()
        finally:
            self.holds -= 1
            if self.connection is None:  # it has failed; what was begun goes on
                self.connection = StandIn(self)

    def _preferred(self) -> Any:
        return self.trail.last

    def _take(self, pool: Pool[Any]) -> None:
        super()._take(pool)
        if self._mode != "session":
            self.lease = object()
            self.kind = type(self.connection)
            self.trail.enter(self.connection)

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
            self._leave(discard=True)
            raise

    def _set_up(self, pool: Pool[Any]) -> None:
        """As in session mode: before any transaction begins, however late that is."""
        if self._mode == "session":
            super()._set_up(pool)
            return
        before = {name: self.__dict__[name] for name in _TRANSACTION if name in self.__dict__}
        self.holds += 1
        try:
            self._start()
            self.lease = object()
            super()._set_up(pool)
        finally:
            self.holds -= 1
            self.__dict__.update(before)

    # -------------------------------------------------------------- a lease ends

    def rest(self) -> None:
        """Give the connection back, unless something needs this very one."""
        pool = self._lessor
        if (
            pool is None
            or self.holds
            or self.in_atomic_block
            or self._pinned
            or self.reading
            or self._mode == "session"
            or self._thread_sharing_count  # type: ignore[attr-defined] # not in the stubs
        ):
            return
        connection, driver = self.connection, pool.driver
        if not driver.at_rest(connection):
            self._restless(pool)
            return
        reason = driver.effect(connection)
        if reason is None and connection.session.by_hand:
            reason = "raw connection"
        if reason is None:
            self._leave()
        else:
            self._pin(reason)

    def _restless(self, pool: Pool[Any]) -> None:
        """See to a connection that is at something outside of `atomic`."""
        if self._mode == "statement" and pool.driver.in_transaction(self.connection):
            self._leave()  # and the pool rolls back
            raise self._no_transactions()
        if self.autocommit and pool.driver.broken(self.connection):
            self._leave()  # the next statement gets another

    def _leave(self, *, discard: bool = False) -> None:
        """Give the connection back, and go on without one."""
        connection, pool = self.connection, self._lessor
        assert pool is not None
        self.trail.leave(connection)
        self.connection = StandIn(self)
        self._lessor = self.lease = None
        self.reading.clear()
        if discard:
            pool.discard(connection)
        else:
            pool.release(connection)

    def _pin(self, reason: str, sql: object = None) -> None:
        """Keep the connection until the request ends."""
        pool = self._lessor
        assert pool is not None
        self._pinned = reason
        if pool.count_pin(reason):
            logger.info(
                "%s: %s pins the connection until the request ends%s",
                pool.name,
                reason,
                f": {shape(sql)}" if isinstance(sql, str) else "",
                extra={"pool": pool.name, "reason": reason},
            )

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

    def _forget_lease(self) -> None:
        self._pinned = self.lease = None
        self.era = object()
        self.trail = Trail()
        self.reading.clear()

    def forget_connection(self) -> None:
        """As in session mode."""
        self._forget_lease()
        super().forget_connection()

    def close_if_unusable_or_obsolete(self) -> None:
        """As in session mode."""
        if self._mode == "session":
            super().close_if_unusable_or_obsolete()
        else:
            self.close()

    # ------------------------------------------------------------------- cursors

    def _cursor(self, name: str | None = None) -> Any:
        if not self._is_loose():
            return super()._cursor(name)
        self.holds += 1
        try:
            cursor = LooseCursor(self, name)
        finally:
            self.holds -= 1
        return self._prepare_cursor(cursor)  # type: ignore[attr-defined] # not in the stubs

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

    def before(self, sql: object) -> None:
        """Look at a statement that is about to be executed.

        Raises NotTheSameSession if it asks for what the last one has left in another session.
        """
        pool = self._lessor
        assert pool is not None
        reason = pool.driver.looks_back(sql)
        if reason is not None:
            self.trail.check(reason)
            if not self._pinned:
                self._pin(reason, sql)

    def after(self, sql: object) -> None:
        """Pin the connection for what a statement has left behind, or give it back."""
        pool = self._lessor
        if pool is None:
            return
        self.trail.executed(sql)
        if not self._pinned:
            reason = pool.driver.effect(self.connection)
            if reason is not None:
                self._pin(reason, sql)
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

    # -------------------------------------------------------------- transactions

    def get_autocommit(self) -> bool:
        """As Django's."""
        if not self._is_loose():
            return super().get_autocommit()
        self._begin()
        return self.autocommit

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        """As Django's; without a connection it is noted for the next.

        Raises NoTransactions in statement mode.
        """
        force = force_begin_transaction_with_broken_autocommit
        if not self._is_loose():
            super().set_autocommit(autocommit, force)
            return
        self._begin()
        if not autocommit and self._mode == "statement":
            raise self._no_transactions()
        if not autocommit:
            self.rest()  # there may be a cursor that nobody has used yet
        self._by_atomic = force and not autocommit
        if self._lessor is not None:
            super().set_autocommit(autocommit, force)
            self.rest()
            return
        self.validate_no_atomic_block()
        self.autocommit = autocommit
        if autocommit and self.run_commit_hooks_on_set_autocommit_on:
            self.run_and_clear_commit_hooks()
            self.run_commit_hooks_on_set_autocommit_on = False

    def _no_transactions(self) -> NoTransactions:
        return NoTransactions(
            f"the pool of {self.alias!r} is in statement mode, which allows no transactions: no "
            "atomic(), set_autocommit(False) or BEGIN. Use 'mode': 'transaction' for them"
        )

    def run_and_clear_commit_hooks(self) -> None:
        """As Django's; hooks may take long, so they do not hold a connection."""
        self.rest()
        super().run_and_clear_commit_hooks()

    def commit(self) -> None:
        """As Django's."""
        super().commit()
        if not self._by_atomic:  # which goes on by itself
            self.rest()

    def rollback(self) -> None:
        """As Django's."""
        super().rollback()
        if not self._by_atomic:
            self.rest()

    def _commit(self) -> None:
        if self._mode == "session" or self._lessor is not None:
            super()._commit()  # type: ignore[misc] # the stubs leave it out

    def _rollback(self) -> None:
        if self._mode == "session" or self._lessor is not None:
            super()._rollback()  # type: ignore[misc] # the stubs leave it out

    # ------------------------------------------------------------------ on purpose

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Keep one connection from the first statement of a `with` block to its end."""
        self.holds += 1
        self._sessions += 1
        if self._is_loose() and self._pool is not None:
            self._pool.count_pin("carpool.session()")
        try:
            yield
        finally:
            self._sessions -= 1
            self.holds -= 1
            self.rest()
