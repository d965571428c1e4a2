"""No connection to a SQLite file should be open when a process forks: idle ones are closed before.

SQLite keeps its own account of a process's locks on a file. A forked child inherits the account,
but not the locks: the kernel gives those to one process. So what the child then opens itself is
not locked, as long as the account says that it is: in WAL mode, for any connection that was open
at the fork. What the child writes can be lost as the parent closes; nobody is told.
https://www.sqlite.org/howtocorrupt.html, "Carrying an open database connection across a fork()".
"""

from __future__ import annotations

import os
from time import monotonic
from typing import Any

from carpool.pool import fork

PATIENCE = 1.0  # seconds that a fork waits for connections being opened, in all
drivers: set[type[Any]] = set()  # the classes of driver that this is done for


def _close_idle(pool: Any, timeout: float) -> None:
    """Close a pool's idle connections here and now, in the thread that is about to fork."""
    pool.before_fork(timeout)  # first, or a worker might just be opening one
    ledger = pool._ledger  # noqa: SLF001 - the pool closes in its workers, which is too late
    for entry in [*ledger.idle, *ledger.resetting]:
        if ledger.take(entry):
            ledger.close_begins(entry, "fork")
            pool.driver.close(entry.take(), 0.0)
            ledger.close_ends(entry)


def _before() -> None:
    deadline = monotonic() + PATIENCE
    pools: list[Any] = list(fork._pools)  # noqa: SLF001 - all of them; who else would know?
    for pool in pools:
        if type(pool.driver) in drivers:
            _close_idle(pool, max(0.0, deadline - monotonic()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before)
