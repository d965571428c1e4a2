"""The broker's process: `python -m carpool.host`.

Takes the lock, listens, and serves until it is told to end or nobody has used it for a while.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib
import logging
import os
import resource
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from carpool.host import places, start, systemd
from carpool.host.places import NoBroker, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger("carpool.host")

BACKLOG = 1024  # connections that may wait to be accepted: all workers of a host begin at once
PATIENCE = 10.0  # seconds for a broker that is ending to let go of the lock


class Taken(NoBroker):
    """Another broker is at work already."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a broker; return the exit code of this process.

    In the background it is a child that goes on, and this returns once it listens.
    """
    arguments = _parser().parse_args(argv)
    # Whoever started this may have blocked signals, as uWSGI does in its threads.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o077)
    logging.basicConfig(
        level=arguments.log_level,
        format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s",
    )
    try:
        place = places.find(arguments.directory)
        if arguments.foreground:
            return _run(place, arguments.linger, systemd.ready)
        return _in_background(place, arguments.linger)
    except (NoBroker, OSError) as error:
        logger.error("%s", error)  # noqa: TRY400 - it tells cause and way out; no code is at fault
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m carpool.host",
        description="The broker of carpool: owns the server connections of pools with "
        "share: host, and lends them to the processes of this user.",
        epilog="Workers start it by themselves when they need it. Run it by hand with "
        "--foreground in a container, under a supervisor, or to see what it has to say.",
    )
    parser.add_argument(
        "--directory",
        metavar="DIR",
        help="where it lives; it must be the one that the workers use. Default: CARPOOL_DIR in the"
        " environment, else $XDG_RUNTIME_DIR/carpool, else a private one for temporary files",
    )
    parser.add_argument(
        "--linger",
        metavar="SECONDS",
        type=_seconds,
        default=300.0,
        help="end this long after the last client has gone; inf: never (default: 300)",
    )
    parser.add_argument(
        "--foreground",
        action="store_true",
        help="stay in this process and log to standard error; Ctrl-C or SIGTERM ends it."
        " Otherwise it goes to the background and logs to broker.log",
    )
    parser.add_argument(
        "--log-level",
        metavar="LEVEL",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        default="INFO",
        help="debug, info, warning or error (default: info)",
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0:  # also what is no number
        raise ValueError
    return seconds


def _run(place: Place, linger: float, listening: Callable[[], None]) -> int:
    """Be the broker; return the exit code. Raises `Taken` if there is one."""
    given = systemd.given_socket()
    _lock(place, activated=given is not None)
    serve = importlib.import_module("carpool.host.broker").serve  # who comes too late does without

    _allow_many_descriptors()
    listener = given or _listen(place)
    logger.info("The broker listens on %s", place.control)
    listening()
    try:
        serve(listener, place, linger)
    except Exception:
        logger.critical("The broker ends on an error", exc_info=True)
        return 1
    if given is None:  # else it is systemd's, which goes on listening
        place.control.unlink(missing_ok=True)
    logger.info("The broker ends")
    return 0


def _in_background(place: Place, linger: float) -> int:
    """Run the broker in a child that has no parent to wait for it; return when it is up."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        os.setsid()
        os.chdir("/")
        try:
            return _run(place, linger, lambda: _detach(place, writing))
        except Taken:
            return 0
    os.close(writing)
    with os.fdopen(reading, "rb") as outcome:
        if outcome.read():
            return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _detach(place: Place, starter: int) -> None:
    """Let go of the starter's terminal, and tell it that all is well."""
    null = os.open(os.devnull, os.O_RDWR)
    log = start.open_log(place)
    for descriptor, to in ((null, 0), (null, 1), (log, 2)):
        os.dup2(descriptor, to)
    os.close(null)
    os.close(log)
    os.write(starter, b"listening")
    os.close(starter)


def _lock(place: Place, *, activated: bool) -> None:
    """Take the lock, for as long as this process lives; a broker that is ending is waited for.

    `activated`: the control socket is systemd's, so that it answers says nothing. Raises `Taken`.
    """
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while not _locked(lock):
        if not activated and (connection := start.reach(place, deadline)):
            connection.close()
            raise Taken(f"{_holder(lock)} is at work in {place.folder} already")
        if time.monotonic() > deadline:
            raise NoBroker(
                f"{_holder(lock)} cannot be reached, but is alive (it holds {place.lock}); end it"
            )
        time.sleep(start.PAUSE)
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    # tmpfiles.d(5): with a lock on a directory, what is in it is not cleaned up for being old.
    with contextlib.suppress(OSError):
        fcntl.flock(os.open(place.folder, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)


def _holder(lock: int) -> str:
    return f"The broker with pid {os.pread(lock, 20, 0).decode(errors='replace').strip()}"


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _listen(place: Place) -> socket.socket:
    """Listen where, at most, a broker that is dead has listened: called with the lock."""
    place.control.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(place.control))
    place.control.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def _allow_many_descriptors() -> None:
    """Each client and each server connection takes some; the limit for a start is often 1,024."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
