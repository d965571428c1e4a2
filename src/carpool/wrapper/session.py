"""Session mode: a connection is held from the first query to `close`, at the end of a request."""

from __future__ import annotations

import time
from asyncio import _get_running_loop  # an exception for each "no loop" would cost
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar

from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils.asyncio import async_unsafe

from carpool import registry
from carpool.driver import NeedsNewSession
from carpool.errors import PoolClosed, PoolTimeout
from carpool.host.handoff import NotShareable
from carpool.telemetry import publisher
from carpool.wrapper import threads
from carpool.wrapper.settings import (
    PARAMETERS,
    copied,
    is_refused,
    read_options,
    refuse_mode,
    refuse_share,
)
from carpool.wrapper.validation import with_checks

if TYPE_CHECKING:
    import weakref

    from carpool.driver import Driver
    from carpool.options import Options
    from carpool.registry import AnyPool


class SessionMode(BaseDatabaseWrapper):
    """A mixin that lets a DatabaseWrapper take its connections from a pool.

    An engine answers `pool_driver`. As with Django's own wrappers, an instance belongs to one
    thread unless it is shared. A connection goes back to the pool also when its thread ends, or
    its wrapper is collected, without `close`.
    """

    thread_ident: int  # of the thread it belongs to
    _pool: AnyPool | None = None
    _chosen_for: tuple[Any, ...] | None = None  # the parameters that `_pool` was chosen for
    _chosen_zone: Any = None  # and the time zone; Django tells when that changes
    _mode = "session"  # of `_pool`; with none, too
    _chosen_mode = "session"  # the same, also while a CONN_MAX_AGE makes it session mode
    _preferred: weakref.ref[Any] | None = None  # what to acquire if it can be had
    _lessor: AnyPool | None = None  # the pool that `connection` came from
    _minded = False
    _refused = False  # its options were wrong from the first; the first use that needs them raises
    # What an engine's `close` may be for `close_if_unusable_or_obsolete` to do without it: one
    # that does no more for a pooled connection than Django's own.
    plain_closes: ClassVar[tuple[Any, ...]] = (BaseDatabaseWrapper.close,)
    _close_is_plain: ClassVar[bool]  # no subclass has to hear of the end of a lease

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._close_is_plain = cls.close in cls.plain_closes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # as given: PostGIS looks for `alias` by name
        self.validation = with_checks(self.validation_class)(self)  # type: ignore[arg-type] # mypy takes no class for hashable
        if self.alias != NO_DB_ALIAS:
            self._refused = is_refused(self.alias, self.settings_dict)
        self.thread_ident = self._thread_ident  # type: ignore[attr-defined] # not in the stubs
        self._original = id(self)  # `copy.copy` copies it, and the connection, which stays ours
        threads.remember(self)

    def pool_driver(self) -> Driver[Any] | None:
        """Return the driver for the present settings; its key must tell all that matters.

        None: a database that is not to be pooled, such as one in memory.
        """
        raise NotImplementedError

    def get_connection_params(self) -> dict[str, Any]:
        """Return the engine's parameters; the option `pool` is ours and no module's business."""
        original = self.settings_dict
        options = {key: each for key, each in original["OPTIONS"].items() if key != "pool"}
        self.settings_dict = {**original, "OPTIONS": options}
        try:
            params: dict[str, Any] = super().get_connection_params()
        finally:
            self.settings_dict = original
        return params

    # ------------------------------------------------------------------ the pool

    @property
    def pool(self) -> AnyPool | None:
        """The pool for the present settings, None where `OPTIONS["pool"]` is False.

        Raises ImproperlyConfigured.
        """
        if self.alias == NO_DB_ALIAS:
            return None
        return self._choose_pool(read_options(self.alias, self.settings_dict))

    def _choose_again(self) -> AnyPool | None:
        """Choose the pool for settings that have changed.

        More patient than `pool`: a CONN_MAX_AGE that is set while the process runs is heeded as
        Django would; the connection stays leased for so long. Raises as `pool`.
        """
        if self.alias == NO_DB_ALIAS:
            return self._choose_pool(None)
        if self._refused:
            read_options(self.alias, self.settings_dict)
            self._refused = False  # they have been put right
        patient = {**self.settings_dict, "CONN_MAX_AGE": 0}
        return self._choose_pool(read_options(self.alias, patient))

    def _choose_pool(self, options: Options | None) -> AnyPool | None:
        if self._chosen_for != PARAMETERS(self.settings_dict):
            self.check_settings()
            self.__dict__.pop("timezone", None)  # what Django has worked out from TIME_ZONE
            self.__dict__.pop("timezone_name", None)
            driver = None if options is None else self.pool_driver()
            if driver is not None and options is not None and options.mode not in driver.modes:
                raise refuse_mode(self.alias, options.mode, driver)
            chosen_for = tuple(map(copied, PARAMETERS(self.settings_dict)))
            try:
                self._pool = registry.choose(self, driver, options)
            except NotShareable as reason:
                raise refuse_share(self.alias, reason) from reason
            self._chosen_for, self._chosen_zone = chosen_for, self.timezone
            if self._pool is not None:
                publisher.watch(self._pool, self)
            self._chosen()
        return self._pool

    def _chosen(self) -> None:
        """Heed what a newly chosen pool is like. For subclasses."""

    def wants(self, pool: AnyPool) -> bool:
        """Tell whether a pool is still the one for the settings, as far as is known."""
        return self._pool is pool and self._chosen_for == PARAMETERS(self.settings_dict)

    def ensure_timezone(self) -> bool:
        """Choose the pool again: Django calls this when the time zone has changed."""
        self._chosen_for = self._chosen_zone = None
        return super().ensure_timezone()

    def close_pool(self) -> None:
        """Close the pool of the present settings, if there is one, for all who use it."""
        self._pool = self._chosen_for = None
        registry.close_pool(self.alias)

    # ----------------------------------------------------------------- the lease

    def connect(self) -> None:
        """Acquire a connection; set it up if that has not been done.

        Raises what `Pool.acquire` raises: carpool's errors are OperationalErrors.
        """
        if _get_running_loop() is not None:
            refuse_in_event_loop()
        pool = self._pool
        if self._chosen_for != PARAMETERS(self.settings_dict):
            pool = self._choose_again()
        if pool is None:
            self._lessor = None
            super().connect()
            return
        self._mode = self._chosen_mode
        self._start()
        self._take(pool)
        if self._mode != "session":
            self._connected()

    def _connected(self) -> None:
        """Do what a mode does with a request's first connection."""

    def _start(self) -> None:
        """Start from the state that Django's `connect` starts from."""
        self.in_atomic_block = self.needs_rollback = False
        self.closed_in_transaction = self.errors_occurred = False
        self.run_commit_hooks_on_set_autocommit_on = self.health_check_enabled = False
        self.savepoint_ids = []
        self.atomic_blocks = []
        self.run_on_commit = []
        self.autocommit = self.settings_dict["AUTOCOMMIT"]  # the pool's connections are made so
        if self.settings_dict["CONN_MAX_AGE"] != 0:
            self._keep_for(self.settings_dict["CONN_MAX_AGE"])

    def _take(self, pool: AnyPool) -> None:
        """Acquire a connection; set it up if that has not been done."""
        try:
            self.connection = connection = pool.acquire(None, self._preferred and self._preferred())
        except PoolTimeout as error:
            raise self._explained(error, pool) from None
        except PoolClosed:  # by a change of settings in another thread, or its `close_pool`
            self._chosen_for = None
            chosen = self._choose_again()
            assert chosen is not None
            pool = chosen
            self.connection = connection = pool.acquire()
        self._lessor = pool
        if not self._minded:
            threads.guard(self)
            self._minded = True
        receivers: Any = connection_created.receivers
        if receivers:
            receivers = (self.set_up_for(), receivers)
        while pool.driver.set_up_by(connection) != receivers:
            try:
                self._set_up(pool)
                break
            except NeedsNewSession:  # this one is closed by now; the next may be a fresh one
                self.connection = connection = pool.acquire()
                self._lessor = pool

    def _explained(self, error: PoolTimeout, pool: AnyPool) -> PoolTimeout:
        """Name the cause if this thread itself holds what it has waited for."""
        held = [
            f"{each.alias!r}{' (in atomic)' if each.in_atomic_block else ''}"
            for each in threads.others_of_thread(self)
            if each.uses(pool)
        ]
        if not held:
            return error
        return PoolTimeout(
            f"{error}. This thread holds {len(held)} of them itself, by the alias "
            f"{', '.join(sorted(held))}, and waited for one more by the alias {self.alias!r}: "
            "threads that need two at once can wait for one another. Raise 'max_size' above the "
            "number of threads, or give the first back before the second is used"
        )

    def uses(self, pool: AnyPool) -> bool:
        """Tell whether it holds one of that pool's connections now."""
        return self._lessor is pool

    def set_up_for(self) -> object:
        """Tell what the work of `connection_created`'s receivers may depend on.

        A set-up for one value is not left to the users of another. Besides the alias, here is a
        schema: django-tenants and its like have the one of the present tenant in `schema_name`,
        and the first cursor, be it a receiver's, puts it into the session.
        """
        return self.alias, getattr(self, "schema_name", None)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open a connection, or return the leased one.

        It is called once for a server connection, so that mixins count those. What they make of
        the parameters or of the result has no effect: the pool's driver has opened it.
        """
        if self._lessor is None:
            return super().get_new_connection(conn_params)
        return self.connection

    def _keep_for(self, max_age: float | None) -> None:
        """Follow Django where CONN_MAX_AGE was set after all, while the process runs."""
        self.close_at = None if max_age is None else time.monotonic() + max_age
        self.health_check_enabled = self.settings_dict["CONN_HEALTH_CHECKS"]
        self.health_check_done = True

    def _set_up(self, pool: AnyPool) -> None:
        """Do once for a server connection what Django does for every one, and tell receivers.

        `connection_created` is meant for "any post connection commands": it is sent once for a
        server connection, and again only where a reset has wiped what its receivers had done, or
        where the receivers are others than those that have seen it.
        """
        receivers: Any = list(connection_created.receivers)
        if receivers:
            receivers = (self.set_up_for(), receivers)
        try:
            if pool.driver.set_up_left_traces(self.connection):
                pool.reset(self.connection)  # of another alias, or of other receivers
            elif pool.driver.set_up_by(self.connection) is None:
                self.get_new_connection(self.get_connection_params())
            self.init_connection_state()
            connection_created.send(sender=self.__class__, connection=self)
            self.run_on_commit = []
        except BaseException:
            self._discard()
            raise
        pool.driver.set_up_done(self.connection, by=receivers)

    def _close(self) -> None:
        """Give the connection back."""
        connection, pool = self.connection, self._lessor
        if pool is None:
            super()._close()  # type: ignore[misc] # the stubs leave it out
        elif self.in_atomic_block:
            # Django keeps the object until the block ends, so it must be a closed one.
            with self.wrap_database_errors:
                connection.close()
            self._lessor = None
            pool.discard(connection)
        else:
            self.connection = None
            self._lessor = None
            pool.release(connection)

    def _discard(self) -> None:
        """Take the connection out of service."""
        connection, pool = self.connection, self._lessor
        self.connection = self._lessor = None
        assert pool is not None
        pool.discard(connection)
        self.close()  # which subclasses want to hear of

    def close_if_unusable_or_obsolete(self) -> None:
        """Give the connection back at the end of a request. The pool sees what state it is in."""
        if self._mode != "session":
            self.close()
        elif self._lessor is None or self.settings_dict["CONN_MAX_AGE"] != 0:
            super().close_if_unusable_or_obsolete()
        elif self.in_atomic_block or self.connection is None or not self._close_is_plain:
            self.close()
        else:  # what `close` comes to here
            if self.thread_ident != get_ident():
                self.validate_thread_sharing()
            self.run_on_commit = []
            connection, pool = self.connection, self._lessor
            self.connection = self._lessor = None
            pool.release(connection)

    def validate_thread_sharing(self) -> None:
        """As Django's; asks for its lock only where another thread is at work."""
        if self.thread_ident != get_ident():
            super().validate_thread_sharing()

    def _cursor(self, name: str | None = None) -> Any:
        """As Django's; only a connection kept over requests needs a health check."""
        if self.health_check_enabled:
            self.close_if_health_check_failed()
        if self.connection is None:
            self.ensure_connection()
        try:
            cursor = self.create_cursor(name)
        except Exception:
            with self.wrap_database_errors:
                raise
        return self._prepare_cursor(cursor)  # type: ignore[attr-defined] # not in the stubs

    def is_usable(self) -> bool:
        """As the engine's, which expects a connection; what was given back is not usable."""
        return self.connection is not None and super().is_usable()

    def close_if_health_check_failed(self) -> None:
        """Check a connection kept over several requests; one from the pool is fit for use."""
        if self.connection is None or self.health_check_done:
            return
        if self._lessor is None:
            super().close_if_health_check_failed()
        elif self.health_check_enabled:
            if not self.is_usable():
                self._discard()
            self.health_check_done = True

    # ---------------------------------------------------- threads, forks, the end

    def __del__(self) -> None:
        if getattr(self, "_original", None) == id(self):
            self.hand_back()

    def hand_back(self) -> None:
        """Leave the connection to the pool, unused from now on. Reentrant: for finalizers."""
        connection, pool = self.connection, self._lessor
        if connection is not None and pool is not None:
            self.connection = self._lessor = None
            pool.reclaim(connection)

    def forget_connection(self) -> None:
        """In a forked child: let go of the parent's connection, as if closed.

        One that is not from a pool stays, as with Django: a database in memory would go with it.
        """
        if self.connection is None or self._lessor is None:
            return
        self.run_on_commit = []
        if self.in_atomic_block:
            self.closed_in_transaction = True
            self.needs_rollback = True
        self.connection = self._lessor = None
        if self.thread_ident == get_ident():
            self.close()  # which subclasses want to hear of; the other threads do not exist here


@async_unsafe
def refuse_in_event_loop() -> None:
    """Raise what Django raises where it is called from asynchronous code."""
