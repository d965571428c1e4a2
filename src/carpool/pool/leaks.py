"""Connections held too long: who took them, and that they came back after all."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Protocol

logger = logging.getLogger("carpool.pool")
DEPTH = 20  # frames of the borrower's stack that are kept
HERE = tuple(str(Path(__file__).parent.parent / room) for room in ("pool", "host"))


class Held(Protocol):
    """The record of a leased connection."""

    borrower: str  # the stack that acquired it
    warned: bool  # it has been reported
    due_at: float  # when its return is to be looked at


def note(entry: Held) -> None:
    """Keep the stack that acquires an entry. Costs some microseconds."""
    stack = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(HERE)]
    entry.borrower = "".join(traceback.format_list(stack[-DEPTH:]))


def warn(entry: Held, pool: str, held: float) -> None:
    """Log once that an entry has been held for too long."""
    entry.warned = True
    entry.due_at = 0.0  # so that its return is looked at
    logger.warning(
        "%s: a connection has been held for %.1f s; it was acquired here:\n%s",
        pool,
        held,
        entry.borrower,
        extra={"pool": pool, "held": held},
    )


def returned(entry: Held, pool: str, held: float) -> bool:
    """Forget an entry's borrower; if it was reported, log that it came back, and tell so."""
    reported = entry.warned
    if reported:
        logger.warning(
            "%s: a connection reported as held too long came back after %.1f s",
            pool,
            held,
            extra={"pool": pool, "held": held},
        )
    entry.warned = False
    entry.borrower = ""
    return reported
