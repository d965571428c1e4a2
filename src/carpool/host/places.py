"""Where the broker of one OS user and one carpool version lives, and what lies there.

/run/user/1000/carpool/         the runtime directory: 0700, this user's, no symbolic link
    0.1.0/                      one folder for each version of carpool: a `Place`
        broker.lock             locked by the running broker, for as long as it lives
        control.sock            where workers and commands ask
        broker.log              what a broker in the background has to say
        <pool>/                 where the clients of one pool connect
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from carpool.errors import PoolError

# sizeof(sockaddr_un.sun_path): unix(7) of Linux; macOS and the BSDs have 104. A zero ends the path.
LONGEST_SOCKET_PATH = (108 if sys.platform == "linux" else 104) - 1
POOL_ID = 16  # the most characters of a pool's name in the file system
POSTGRESQL_SOCKET = ".s.PGSQL.5432"  # libpq looks for this name in the directory it is given
MYSQL_SOCKET = "mysql.sock"
OTHERWISE = (
    "name another directory: CARPOOL_DIR in the environment, the pool's option broker_dir, "
    "or --directory of a command"
)


class NoBroker(PoolError):
    """No broker can be reached or started; the message says why, and the way out."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one broker."""

    folder: Path

    @property
    def root(self) -> Path:
        """The runtime directory, which the brokers of all versions share."""
        return self.folder.parent

    @property
    def lock(self) -> Path:
        """The file which a broker has locked while it lives; it holds the broker's pid."""
        return self.folder / "broker.lock"

    @property
    def control(self) -> Path:
        """The socket of workers and commands."""
        return self.folder / "control.sock"

    @property
    def log(self) -> Path:
        """The log of a broker in the background."""
        return self.folder / "broker.log"

    def pool(self, name: str) -> Path:
        """Return the directory of a pool; its name has at most `POOL_ID` characters."""
        return self.folder / name


def find(given: str | None = None) -> Place:
    """Return the place of this version's broker, made if need be; `given` as in `directory`.

    Raises `NoBroker`.
    """
    from carpool import __version__  # noqa: PLC0415 - it imports the pool, which may import this

    folder = directory(given) / __version__
    deepest = folder / ("x" * POOL_ID) / POSTGRESQL_SOCKET
    if (excess := len(os.fsencode(deepest)) - LONGEST_SOCKET_PATH) > 0:
        raise NoBroker(
            f"The path of carpool's directory is {excess} bytes too long for Unix sockets: "
            f"{folder.parent}; {OTHERWISE}"
        )
    return Place(_private(folder))


def directory(given: str | None = None) -> Path:
    """Return the runtime directory, made and checked: what is given, or CARPOOL_DIR, or a default.

    The defaults: `carpool` in XDG_RUNTIME_DIR, else `carpool-<uid>` in the directory for temporary
    files. Raises `NoBroker` for one that others could use, or that cannot be.
    """
    if not hasattr(os, "geteuid"):
        raise NoBroker("A pool for the whole host needs Unix sockets; use share: process")
    wanted = given or os.environ.get("CARPOOL_DIR")
    return _private(Path(wanted).absolute() if wanted else defaults()[0])


def defaults() -> list[Path]:
    """Return where the runtime directory may be if nobody says; the first is the one to use."""
    found = []
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # https://specifications.freedesktop.org/basedir-spec/: what is not absolute is to be ignored.
    if runtime.is_absolute() and _is_ours(runtime):
        found.append(runtime / "carpool")
    try:
        found.append(Path(tempfile.gettempdir(), f"carpool-{os.geteuid()}"))
    except FileNotFoundError as error:
        if not found:
            raise NoBroker(
                f"There is no room for carpool's directory ({error}); {OTHERWISE}"
            ) from None
    return found


def _is_ours(path: Path) -> bool:
    """Tell what `sudo` leaves in the environment, another user's, from what can be used."""
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _private(path: Path) -> Path:
    """Make a directory for this user alone, or see that it is one."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise NoBroker(f"carpool's directory cannot be made: {error}; {OTHERWISE}") from error
    if fault := _fault(found):
        raise NoBroker(f"carpool cannot use {path}: {fault}, or {OTHERWISE}")
    return path


def _fault(found: os.stat_result) -> str | None:
    if not stat.S_ISDIR(found.st_mode):
        return "it is a symbolic link, or no directory; mend that"
    if found.st_uid != os.geteuid():
        return (
            f"it belongs to the user with uid {found.st_uid}, not to uid {os.geteuid()}; mend that"
        )
    if found.st_mode & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):o}"
        return f"others may use it (mode {mode}; it must be 700); run chmod 700 on it"
    return None
