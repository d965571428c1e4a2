"""The pools of this process: one for each set of connection parameters and options in use."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from carpool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Hashable

    from carpool.driver import Driver
    from carpool.options import Options

_lock = Lock()  # guards the two below; never held while a pool does anything
_pools: dict[Hashable, Pool[Any]] = {}
_by_alias: dict[str, Hashable] = {}  # what each alias uses now


def pool_for(alias: str, driver: Driver[Any], options: Options) -> Pool[Any]:
    """Return the pool of an alias, made at the first call; aliases alike in all share one.

    When the parameters of an alias change it gets another pool, and the former is closed, unless
    another alias uses it: idle connections go at once, leased ones as they come back.
    Thread-safe.
    """
    key = (driver.key, options)
    with _lock:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = Pool(driver, options)
        former = _leave(alias) if _by_alias.get(alias) != key else None
        _by_alias[alias] = key
    if former is not None:
        former.close()
    return pool


def close_pool(pool: Pool[Any]) -> None:
    """Close a pool for all who use it. Thread-safe."""
    with _lock:
        for key in [key for key, each in _pools.items() if each is pool]:
            del _pools[key]
    pool.close()


def _leave(alias: str) -> Pool[Any] | None:
    """Let an alias leave its pool; returns it if nobody is left. Under the lock."""
    key = _by_alias.pop(alias, None)
    return _pools.pop(key, None) if key not in _by_alias.values() else None
