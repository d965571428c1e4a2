"""A database connection pool for Django: clean sessions, one line in settings."""

from typing import TYPE_CHECKING, Any

from carpool.errors import (
    NoTransactions,
    NotTheSameSession,
    OptionsError,
    PoolClosed,
    PoolError,
    PoolTimeout,
    PoolUnavailable,
    StaleCursorError,
    TooManyRequests,
)
from carpool.hold import session
from carpool.options import Options
from carpool.pool import Pool

if TYPE_CHECKING:
    from carpool.engine import pooled

__version__ = "0.1.0"

__all__ = [
    "NoTransactions",
    "NotTheSameSession",
    "Options",
    "OptionsError",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolTimeout",
    "PoolUnavailable",
    "StaleCursorError",
    "TooManyRequests",
    "pooled",
    "session",
]


def __getattr__(name: str) -> Any:
    """Import what needs Django when it is asked for: the pool itself can do without."""
    if name == "pooled":
        from carpool.engine import pooled  # noqa: PLC0415 - see above

        return pooled
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
