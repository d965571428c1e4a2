"""What a pool raises. Every error of an acquire is also a `django.db.OperationalError`.

The pool itself knows nothing of Django; this module borrows the one class that Django projects
catch, so that an exhausted pool looks to them like any other database that cannot be reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    OperationalError = Exception
    InterfaceError = Exception
    NotSupportedError = Exception
else:
    try:
        from django.db.utils import InterfaceError, NotSupportedError, OperationalError
    except ImportError:  # the pool on its own, without Django

        class OperationalError(Exception):
            """Stands in for `django.db.OperationalError`."""

        class InterfaceError(Exception):
            """Stands in for `django.db.InterfaceError`."""

        class NotSupportedError(Exception):
            """Stands in for `django.db.NotSupportedError`."""


class PoolError(OperationalError):
    """A connection could not be had; the base of the errors of `Pool.acquire`."""


class PoolTimeout(PoolError):
    """No connection came free within `timeout`; the text tells the pool's state."""


class TooManyRequests(PoolError):
    """`max_waiting` others were waiting already."""


class PoolClosed(PoolError):
    """The pool was closed."""


class PoolUnavailable(PoolError):
    """The server refused the last attempts to connect, and the next one is not due yet."""


class OptionsError(ValueError):
    """An option of the pool is unknown, of the wrong type, or out of range."""


class StaleCursorError(InterfaceError):
    """A cursor was used after its connection had gone back to the pool."""


class NotTheSameSession(InterfaceError):
    """A statement asked for what an earlier one had left in a session that others have used since.

    Such as `LAST_INSERT_ID()` in transaction mode: put both into one `transaction.atomic()` or
    `carpool.session()`.
    """


class NoTransactions(NotSupportedError):
    """In statement mode something tried to open a transaction."""
