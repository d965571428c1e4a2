"""The pools of this process: one for each set of connection parameters and options in use."""

from __future__ import annotations

import os
import weakref
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from carpool import forks
from carpool.host.handoff import NotShareable
from carpool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Hashable

    from carpool.driver import Driver
    from carpool.host.pool import HostPool
    from carpool.options import Options


AnyPool: TypeAlias = "Pool[Any] | HostPool[Any]"


class User(Protocol):
    """Who uses a pool: Django's wrapper of an alias in some thread."""

    alias: str

    def wants(self, pool: AnyPool) -> bool:
        """Tell whether that pool is still the right one."""


_lock = Lock()  # guards the three below; nothing is done to a pool under it
_pools: dict[Hashable, AnyPool] = {}
_by_alias: dict[str, AnyPool] = {}  # the pool that an alias chose last
_users: weakref.WeakSet[User] = weakref.WeakSet()


def choose(user: User, driver: Driver[Any] | None, options: Options | None) -> AnyPool | None:
    """Return the pool for a user; users alike in all share one. None: it wants no pool.

    A pool that nobody wants any more is closed: idle connections go at once, leased ones as they
    come back. Thread-safe. Raises as `make`.
    """
    pool = None
    if driver is not None and options is not None:
        pool = _pool((driver.key, options), driver, options)
    with _lock:
        former = _by_alias.pop(user.alias, None)
        if pool is not None:
            _by_alias[user.alias] = pool
            _users.add(user)
        users = [each for each in _users if each is not user]
        unwanted = former is not None and former is not pool and not _wanted(former, users)
        if unwanted:
            _forget(former)
    if unwanted and former is not None:
        former.close(timeout=0)
    return pool


def close_pool(alias: str) -> None:
    """Close the pool that an alias uses, for all who use it, and wait for it. Thread-safe."""
    with _lock:
        pool = _by_alias.get(alias)
        _forget(pool)
    if pool is not None:
        pool.close()


def _pool(key: Hashable, driver: Driver[Any], options: Options) -> AnyPool:
    pool = _pools.get(key)
    if pool is not None:
        return pool
    made = make(driver, options)  # starts threads, so not under the lock
    with _lock:
        pool = _pools.setdefault(key, made)
    if pool is not made:
        made.close(timeout=0)
    return pool


def make(driver: Any, options: Options) -> AnyPool:
    """Return a new pool, of the process or of the host as the options say.

    Raises `carpool.host.handoff.NotShareable` for connections that a host cannot share.
    """
    if options.share == "process":
        return Pool(driver, options)
    check_shareable(driver)
    from carpool.host.pool import HostPool  # noqa: PLC0415 - it needs Unix

    return HostPool(driver, options)


def check_shareable(driver: Any) -> None:
    """Raise `carpool.host.handoff.NotShareable` where a host can share no connection of a driver's.

    Its connection parameters are checked by its `login`.
    """
    if not hasattr(driver, "make_shell"):
        raise NotShareable(
            f"{type(driver).__name__} cannot hand a connection to another process; the drivers for "
            "psycopg 3 (carpool.postgresql, carpool.postgis) and mysqlclient (carpool.mysql) can"
        )
    if not hasattr(os, "geteuid"):
        raise NotShareable("this system has no Unix sockets to hand connections over by")


def _wanted(pool: AnyPool, users: list[User]) -> bool:
    return pool in _by_alias.values() or any(each.wants(pool) for each in users)


def _forget(pool: AnyPool | None) -> None:
    """Let nobody choose a pool any more. Under the lock."""
    places: tuple[dict[Any, AnyPool], ...] = (_pools, _by_alias)
    for place in places:
        for key in [key for key, each in place.items() if each is pool]:
            del place[key]


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = Lock()


forks.after_in_child(_in_child)
