"""Who stands in a lender's queue."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.host.slots import Borrower, Slot


@dataclass(slots=True)
class Waiting:
    """Somebody who waits for a connection."""

    borrower: Borrower
    since: float
    deadline: float


class Curious:
    """Somebody who wants to know what the server is like, and no connection."""

    pid = 0
    cleans = True

    def __init__(self, function: Callable[[BaseException | None], object]) -> None:
        self._function = function

    def waiting(self, timeout: float) -> Waiting:
        """Return what it is in the queue."""
        now = monotonic()
        return Waiting(self, now, now + timeout)

    def lend(self, slot: Slot, lease: int) -> bool:  # noqa: ARG002 - it is not wanted
        """See `Borrower`."""
        self._function(None)
        return False

    def refuse(self, error: BaseException) -> None:
        """See `Borrower`."""
        self._function(error)
