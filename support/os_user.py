"""The OS user that servers run as: our own, unless that is root, which they refuse.

Root's servers run as the user that is `preferred` for them if there is such a user, else as
`postgres` or `nobody`; these helpers see to it that this user can reach what the server needs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pwd
import shutil
import tempfile
from pathlib import Path
from typing import Any


@functools.cache
def server_user(preferred: str = "postgres") -> pwd.struct_passwd | None:
    """Return the user for servers, or None for our own."""
    if os.geteuid() != 0:
        return None
    for name in (preferred, "postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("root cannot run a database server: there is no user postgres or nobody")


def run_as(folder: Path, preferred: str = "postgres") -> dict[str, Any]:
    """Return the arguments of `subprocess` that run a program as that user in that folder."""
    foreign = ("PG", "MYSQL", "MARIADB", "LC_")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    options: dict[str, Any] = {"cwd": folder, "env": plain | {"LC_ALL": "C"}}
    if user := server_user(preferred):
        options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return options


def own(folder: Path, preferred: str = "postgres") -> Path:
    """Make a folder that belongs to that user alone, unless it is there, and hand it over."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not reachable(folder.parent, preferred):
        raise RuntimeError(f"the servers' user cannot reach {folder}: choose one below /var/tmp")
    if user := server_user(preferred):
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def temporary_folder(preferred: str = "postgres") -> Path:
    """Make a new folder for a server, with a path short enough for a Unix socket."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if len(parent) < 60 and reachable(Path(parent), preferred):
            return own(Path(tempfile.mkdtemp(prefix="carpool-", dir=parent)), preferred)
    raise RuntimeError("no temporary folder that is short enough for a socket: set TMPDIR=/tmp")


def reachable(path: Path, preferred: str = "postgres") -> bool:
    """Tell whether that user may go to a folder (for our own user: it can)."""
    path = path.resolve()
    user = server_user(preferred)
    return user is None or all(_may_enter(user, folder) for folder in (path, *path.parents))


def _may_enter(user: pwd.struct_passwd, folder: Path) -> bool:
    status = folder.stat()
    return bool(status.st_mode & (0o100 if status.st_uid == user.pw_uid else 0o001))


def readable_package(package: Path) -> Path:
    """Return an installed package's folder that user can reach: a copy, made once, if need be."""
    if reachable(package):
        return package
    version = hashlib.sha256(f"{package} {package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    copy = Path("/var/tmp") / f"carpool-{package.name}-{version}"
    if not copy.exists():
        _copy_package(package, copy)
    if copy.is_symlink() or copy.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{copy} belongs to somebody else: delete it")
    return copy / package.name


def _copy_package(package: Path, target: Path) -> None:
    making = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    libraries = package.with_name(f"{package.name}.libs")  # where Linux wheels keep theirs
    for folder in filter(Path.exists, (package, libraries)):
        shutil.copytree(folder, making / folder.name, symlinks=True)
    for path in (making, *making.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
            if path.stat().st_mode & 0o100:
                path.chmod(path.stat().st_mode | 0o111)
    making.rename(target)  # whole or not at all, also when two processes copy at once
