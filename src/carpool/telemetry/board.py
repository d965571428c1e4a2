"""The board: a file for each process, where it writes what its pools do, for all to read.

<runtime directory>/board/
    <pid>-<random>      locked by its process for as long as that lives; see `files.py`
    departed            what processes did that have ended: so no total ever goes down
    orders              see `orders.py`
    lock                held while somebody sweeps, adds up or orders

Whoever reads also sweeps: a file that nobody has locked belongs to a process that has ended; what
it did is added to `departed`, and the file removed. Linux and macOS; elsewhere there is no board.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

from carpool.host import places
from carpool.telemetry import files
from carpool.telemetry.figures import BY_REASON, COUNTS, HISTOGRAMS, PoolFigures, Process, added

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

OLD = 3600.0  # seconds for which what is damaged, or was never finished, can be looked at
MOST_DEPARTED = 5000  # pools of which the counts are kept when their processes have ended
Departed = dict[str, dict[str, Any]]  # COUNTS, BY_REASON and HISTOGRAMS, by the pool's name


def directory(given: str | None = None) -> Path:
    """Return the directory of boards, made if need be. Raises `carpool.host.places.NoBroker`."""
    path = places.directory(given) / "board"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise places.NoBroker(f"carpool's board cannot be made: {error}") from error
    return path


class Board:
    """The file of this process in one directory. Belongs to one thread at a time.

    Raises OSError, as do its methods.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        draft = folder / f".{name}"
        self._path = folder / name
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        files.lock(self._descriptor)  # before anybody can find it
        draft.rename(self._path)

    def write(self, process: Process) -> None:
        """Put up what the process tells now, in place of what it told before."""
        files.write("board", self._descriptor, process)

    def close(self, last: Iterable[PoolFigures]) -> None:
        """Take the board down; what was done is added to what others did that have ended."""
        try:
            with files.locked(self.folder / "lock"):
                self._path.unlink(missing_ok=True)  # first: better a count lost than one invented
                _depart(self.folder, last)
        finally:
            self.abandon()

    def is_there(self) -> bool:
        """Tell whether others can find it."""
        return self._path.exists()

    def abandon(self) -> None:
        """Let go of the file: in a forked child, whose parent goes on with it."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def depart(folder: Path, last: Iterable[PoolFigures]) -> None:
    """Keep the counts of pools that are no more. Raises OSError."""
    with files.locked(folder / "lock"):
        _depart(folder, last)


def look(folder: Path) -> tuple[list[Process], Departed, list[str]]:
    """Read all boards, and sweep out those of processes that have ended.

    Returns the processes, the counts of those that have ended, and what could not be read, with
    the reasons. Raises OSError.
    """
    faults: list[str] = []
    try:
        with files.locked(folder / "lock"):
            _sweep_drafts(folder)
            living = list(_living(folder, faults))
            return living, _departed(folder, faults), faults
    except TimeoutError as error:  # somebody was stopped with it: then without sweeping
        faults.append(str(error))
        return list(_living(folder, faults, sweeps=False)), _departed(folder, faults), faults


def _sweep_drafts(folder: Path) -> None:
    """Remove what processes were killed at writing."""
    for path in folder.glob(".*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > OLD:
                path.unlink()


def _living(folder: Path, faults: list[str], *, sweeps: bool = True) -> Iterator[Process]:
    for path in sorted(folder.iterdir()):
        if not path.name[:1].isdigit():
            continue
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its process has just taken it down
        except OSError as error:
            faults.append(f"{path}: {error.strerror}")
            continue
        try:
            ended = sweeps and files.lock(descriptor)
            if ended and not os.fstat(descriptor).st_size:
                path.unlink(missing_ok=True)  # it has ended before its first word
                continue
            process = _checked(files.read("board", descriptor))
            if ended:
                path.unlink(missing_ok=True)  # first: better a count lost than one invented
                _depart(folder, process["pools"])
            else:
                yield process
        except (files.Unreadable, OSError) as error:
            if ended and time.time() - os.fstat(descriptor).st_mtime > OLD:
                path.unlink(missing_ok=True)
            elif os.fstat(descriptor).st_size or ended:  # else it has not begun to write
                faults.append(f"{path}: {error}")
        finally:
            os.close(descriptor)


def _checked(content: Any) -> Process:
    """Return what a board tells if it has the shape of it. Raises `Unreadable`."""
    try:
        pools = content["pools"]
        sound = (
            all(isinstance(content[key], int) for key in ("pid", "threads", "asleep"))
            and all(isinstance(content[key], int | float) for key in ("at", "started"))
            and all(isinstance(content[key], str) for key in ("command", "version", "settings"))
            and all(each.keys() >= PoolFigures.__annotations__.keys() for each in pools)
            and all(isinstance(each[key], int) for each in pools for key in COUNTS)
        )
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise files.Unreadable("it has not the shape of a board")
    return cast("Process", content)


def _departed(folder: Path, faults: list[str]) -> Departed:
    try:
        found = files.read_at("departed", folder / "departed") or {}
        added({}, *found.values())  # raises for what has another shape
    except (files.Unreadable, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        faults.append(f"{folder / 'departed'}: {error}; the counts of ended processes begin anew")
        with contextlib.suppress(OSError):
            (folder / "departed").replace(folder / "departed.damaged")
        return {}
    return cast("Departed", found)


def _depart(folder: Path, last: Iterable[PoolFigures]) -> None:
    """Add to the counts of what has ended. Under the lock."""
    kept = _departed(folder, [])
    for each in last:
        kept[each["name"]] = {**_counts(kept.pop(each["name"], None), each), "at": time.time()}
    while len(kept) > MOST_DEPARTED:
        del kept[min(kept, key=lambda name: kept[name].get("at", 0.0))]
    files.replace("departed", folder / "departed", kept)


def _counts(before: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    several = [more] if before is None else [before, more]
    return added(
        {}, *({key: each[key] for key in (*COUNTS, *BY_REASON, *HISTOGRAMS)} for each in several)
    )
