"""Connections that cost nothing, one kind for each pool: what is left is the pool's own cost."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from psycopg.pq import TransactionStatus

from carpool.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class NullConnection:
    """A connection to nothing, as carpool and SQLAlchemy want one."""

    def rollback(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class NullDriver(Driver[NullConnection]):
    """All that carpool asks of a database, answered with the least effort.

    What is not here is inherited and returns None: not broken, not busy, nothing to do.
    """

    name = "nothing"
    key = "nothing"

    def connect(self, _overrides: Mapping[str, Any]) -> NullConnection:
        """Make an object."""
        return NullConnection()

    def watch(self, _connection: NullConnection) -> Callable[[int], object]:
        """Never see anything."""
        return bool

    def look(self, _connection: NullConnection) -> bool:
        """Find it usable."""
        return True

    def may_fork(self, _connection: NullConnection) -> bool:
        """Have nothing against it."""
        return True

    def settle(self, _connection: NullConnection) -> bool:
        """Find it clean."""
        return True


class NullPsycopg:
    """What psycopg_pool touches of a psycopg connection."""

    autocommit = True

    def __init__(self) -> None:
        self.pgconn = SimpleNamespace(transaction_status=TransactionStatus.IDLE)
        self._created_at = self._expire_at = time.monotonic()  # the pool sets them again

    @classmethod
    def connect(cls, *_args: object, **_kwargs: object) -> Self:
        """Make an object."""
        return cls()

    def close(self) -> None:
        """Do nothing."""
