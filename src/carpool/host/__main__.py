"""The broker's process: `python -m carpool.host`.

Takes the lock, listens, and serves until it is told to end or nobody has used it for a while.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from carpool.host import lock, places, start, systemd
from carpool.host.places import NoBroker, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger("carpool.host")

BACKLOG = 1024  # connections that may wait to be accepted: all workers of a host begin at once


def main(argv: Sequence[str] | None = None) -> int:
    """Run a broker; return the exit code of this process.

    In the background it is a child that goes on, and this returns once it listens.
    """
    arguments = _parser().parse_args(argv)
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
        logger.error("%s", error, extra={"pool": ""})  # noqa: TRY400 - it tells cause and way out; no code is at fault
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
    with suppress(ValueError):
        if (seconds := float(text)) >= 0:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r}; allowed: a number, 0 or more, or inf")


def _run(place: Place, linger: float, listening: Callable[[], None]) -> int:
    """Be the broker; return the exit code. Raises `lock.Taken` if there is one."""
    given = systemd.given_socket()
    lock.take(place, activated=given is not None)
    from carpool.host.broker import serve  # noqa: PLC0415 - who comes too late does without

    listener = given or _listen(place)
    logger.info("The broker listens on %s", place.control, extra={"pool": ""})
    listening()
    try:
        serve(listener, place, linger)
    except Exception:
        logger.critical("The broker ends on an error", exc_info=True, extra={"pool": ""})
        return 1
    if given is None:  # else it is systemd's, which goes on listening
        place.control.unlink(missing_ok=True)
    logger.info("The broker ends", extra={"pool": ""})
    return 0


def _in_background(place: Place, linger: float) -> int:
    """Run the broker in a child that has no parent to wait for it; return when it is up."""
    _close_what_was_inherited()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        os.setsid()
        os.chdir("/")
        try:
            return _run(place, linger, lambda: _detach(place, writing))
        except lock.Taken:
            return 0
    os.close(writing)
    with os.fdopen(reading, "rb") as outcome:
        if outcome.read():
            return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _close_what_was_inherited() -> None:
    """Keep nothing open that is the starter's, such as a socket that a web server listens on."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, no paths
        if int(name) > 2:  # noqa: PLR2004 - standard error
            with suppress(OSError):  # the one that this list was read from
                os.close(int(name))


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


def _listen(place: Place) -> socket.socket:
    """Listen where, at most, a broker that is dead has listened: called with the lock."""
    place.control.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(place.control))
    place.control.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


if __name__ == "__main__":
    sys.exit(main())
