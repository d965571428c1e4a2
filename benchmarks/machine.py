"""What the figures were measured on, and who else used the machine meanwhile."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = ("Django", "psycopg", "psycopg_pool", "SQLAlchemy")
DISTURBING = 0.3  # cores used by others, from which on a run is called disturbed


def description(postgresql: str, names: Iterable[str] = PACKAGES) -> str:
    """Name the machine and the versions in one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{os.cpu_count()} cores ({_processor()}), {platform.system()}, "
        f"Python {platform.python_version()}, PostgreSQL {postgresql}, {packages}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Others:
    """Tells how much the processes of others have computed since this object was made."""

    def __init__(self) -> None:
        self._start = time.monotonic(), _busy(), _own()

    def cores(self) -> float:
        """Return the number of cores that others kept busy, on average."""
        since, busy, own = self._start
        others = (_busy() - busy) - (_own() - own)
        return max(0.0, others / (time.monotonic() - since))


def _busy() -> float:
    """Return the CPU seconds that all processes have used since the machine started."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - _guests(times)


def _guests(times: object) -> float:
    """Return what is counted twice: the time of virtual machines is user time as well."""
    return float(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0))


def _own() -> float:
    """Return those of this process and all its descendants: pools, Django, the server."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # its own, and that of its children that ended
        except psutil.NoSuchProcess:
            continue
    return total
