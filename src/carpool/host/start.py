"""Finds the broker of this user, or starts it: nobody has to install or supervise one."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shlex
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import carpool
from carpool.host.places import NoBroker, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("carpool.host")

PAUSE = 0.01  # seconds between two looks
OTHERS = 2.0  # seconds for which somebody else's attempt to start a broker is waited for
LOG_LIMIT = 1_000_000  # bytes; a longer log begins anew with the next start
TOLD = 15  # lines of the log in an error
# All else stays behind. A broker serves many projects: who starts it must make no difference to
# how it logs in, as PGSSLMODE and its like would.
KEPT = (
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "HOME",
    "KRB5CCNAME",
    "KRB5_CONFIG",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "OPENSSL_CONF",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPYCACHEPREFIX",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "USER",
)
# What a starter returns whose broker was ended by these, and one that was itself.
ENDED = {code for number in (signal.SIGKILL, signal.SIGTERM) for code in (256 - number, -number)}
_told: set[Path] = set()


def connect(place: Place, linger: float, patience: float) -> socket.socket:
    """Return a connection to the broker's control socket; starts the broker if none listens.

    A broker that this starts leaves `linger` seconds after its last client. Takes `patience`
    seconds at most, then raises `NoBroker`. Safe for threads, greenlets and processes that race:
    one broker comes of it.
    """
    begun = time.monotonic()
    deadline = begun + patience
    while (connection := reach(place, deadline)) is None:
        with _turn(place) as first:
            if first or time.monotonic() > begun + OTHERS:
                _tell_of_others(place)
                _start(place, linger, deadline)
            else:
                time.sleep(PAUSE)
    return connection


@contextlib.contextmanager
def _turn(place: Place) -> Iterator[bool]:
    """Tell whether nobody else is starting a broker, and keep others from it meanwhile.

    One would come of it anyway; but where all workers of a host miss it at once, each would start
    an interpreter in vain.
    """
    turn = os.open(place.folder / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(turn)


def open_log(place: Place) -> int:
    """Open the log to be written on; one that has grown too long begins anew."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    log = os.open(place.log, flags, 0o600)
    if os.fstat(log).st_size > LOG_LIMIT:
        os.ftruncate(log, 0)
    return log


def reach(place: Place, deadline: float) -> socket.socket | None:
    """Return a connection to the broker that listens in a place; None if none does.

    Raises `NoBroker` if it cannot be told before the deadline (of `time.monotonic`).
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        _connect(connection, place, deadline)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise NoBroker(f"{place.control} cannot be reached: {error}") from error
        raise
    return connection


def _connect(connection: socket.socket, place: Place, deadline: float) -> None:
    """Connect; wait as long as too many others are waiting to be accepted."""
    connection.setblocking(False)
    while True:
        try:
            connection.connect(os.fspath(place.control))
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("the broker is there, but takes no connection") from None
            time.sleep(PAUSE)
        else:
            break
    connection.setblocking(True)


# ------------------------------------------------------------------- starting


def _start(place: Place, linger: float, deadline: float) -> None:
    """Start a broker; return once one listens, be it this or that of somebody faster.

    Also if somebody has ended it while it started: then there will be another.
    """
    command = [python(), "-P", "-m", "carpool.host", f"--directory={place.root}"]
    try:
        with os.fdopen(open_log(place), "ab") as log:
            written = os.fstat(log.fileno()).st_size
            starter = _launch([*command, f"--linger={linger}"], log.fileno())
    except OSError as error:
        raise NoBroker(f"The broker cannot be started: {error}") from error
    code = _wait(starter, deadline)
    if code == 0 or (code in ENDED and time.monotonic() < deadline):
        return
    why = f"did not start (exit code {code})" if code else "has not started in time"
    raise NoBroker(
        f"The broker of carpool {why}. To see why: {shlex.join([*command, '--foreground'])}"
        + _end_of(place.log, written)
    )


def _launch(command: list[str], log: int) -> int:
    """Start a program that no key of our terminal reaches; return its pid.

    Not with `subprocess`: gevent's forks in Python, and so would run all that modules do at a fork.
    """
    gevent = sys.modules.get("gevent.monkey")
    spawn = gevent.get_original("os", "posix_spawn") if gevent else os.posix_spawn
    pid: int = spawn(
        command[0],
        command,
        _environment(),
        file_actions=(
            (os.POSIX_SPAWN_DUP2, log, 2),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ),
        setpgroup=0,
        setsigmask=(),  # uWSGI blocks signals in its threads
        setsigdef=(signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM),
    )
    return pid


def _wait(starter: int, deadline: float) -> int | None:
    """Return the exit code of the process that starts the broker; it ends when the broker listens.

    None: not before the deadline. A broker that it has begun to start goes on all the same.
    Polls, because under gevent a wait would stop all greenlets.
    """
    ended = 0
    try:
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(starter, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(PAUSE)
        return None
    except ChildProcessError:  # another has waited for it, as gunicorn's master does for any child
        ended = starter
        return 0
    finally:
        if not ended:
            os.kill(starter, signal.SIGKILL)
            os.waitpid(starter, 0)


def _end_of(log: Path, written: int) -> str:
    """Return what a log ends with, less what was there before."""
    lines = log.read_bytes()[written:].decode(errors="replace").splitlines()
    return "".join(f"\n    {line}" for line in lines[-TOLD:])


def _environment() -> dict[str, str]:
    """Return the environment of a broker: with it carpool and the drivers are found as here."""
    paths = [os.path.abspath(path) for path in sys.path if path]  # noqa: PTH100 - a text, as given
    home = os.path.dirname(os.path.dirname(os.path.abspath(carpool.__file__)))  # noqa: PTH100,PTH120 - likewise
    if home not in paths:
        paths.append(home)
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def python() -> str:
    """Return the path of the interpreter: `sys.executable`, unless that is uWSGI or its like."""
    given = Path(sys.executable or "")
    if given.name.startswith(("python", "pypy", "Python")):
        return str(given)
    names = (f"python{sys.version_info.major}.{sys.version_info.minor}", "python3")
    for prefix in (sys.prefix, sys.base_prefix):
        for name in names:
            if os.access(path := Path(prefix, "bin", name), os.X_OK):
                return str(path)
    raise NoBroker(
        f"There is no Python in {sys.prefix} to run the broker with; run it yourself: "
        "python -m carpool.host --foreground"
    )


# ------------------------------------------------------------- other versions


def _tell_of_others(place: Place) -> None:
    """Say, once, that other versions of carpool have brokers of their own."""
    if place.folder in _told:
        return
    _told.add(place.folder)
    if others := ", ".join(sorted(each.name for each in brokers(place.root))):
        logger.info(
            "This process has carpool %s and starts a broker of its own; of version %s, one is"
            " running in %s",
            place.folder.name,
            others,
            place.root,
            extra={"pool": ""},
        )


def brokers(root: Path) -> Iterator[Path]:
    """Yield the folders in a runtime directory where a broker listens now."""
    for folder in root.iterdir() if root.is_dir() else ():
        with contextlib.suppress(NoBroker):
            if (connection := reach(Place(folder), 0)) is not None:
                connection.close()
                yield folder
