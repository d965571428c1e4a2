"""A database connection pool for Django: clean sessions, one line in settings."""

from carpool.engine import pooled
from carpool.errors import (
    OptionsError,
    PoolClosed,
    PoolError,
    PoolTimeout,
    PoolUnavailable,
    StaleCursorError,
    TooManyRequests,
)
from carpool.options import Options
from carpool.pool import Pool

__version__ = "0.1.0"

__all__ = [
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
]
