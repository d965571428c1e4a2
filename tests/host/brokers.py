"""Places of brokers that tests have for themselves, and what runs there."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psutil

from carpool.host import control, places
from support.brokers import take_leave
from tests.probing import STUCK, eventually


@contextmanager
def own_place():
    """Give a place in a short path of its own; ends what runs there."""
    root = tempfile.mkdtemp(prefix="carpool-")
    place = places.find(root)
    try:
        yield place
    finally:
        for broker in processes_of(place):
            broker.kill()
        eventually(lambda: not processes_of(place))
        take_leave()
        shutil.rmtree(root)


def processes_of(place):
    """Return the processes that are brokers in a place, or on the way to be."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if f"--directory={place.root}" in (process.info["cmdline"] or ())
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def pid_of(connection):
    """Return who listens at the other end."""
    return control.peer(connection)[0]


def wait_for_end(pid):
    """Wait until a process, no child of this one, has ended."""
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=STUCK)
    assert not psutil.pid_exists(pid)


def log_of(place):
    return Path(place.log).read_text()
