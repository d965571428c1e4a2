"""Ends a server whose owner has died, however that died (SIGKILL and SIGTERM included).

Run as a program with the server's folder as argument. The owner writes the server's process id,
one per line, to standard input (an empty line: none now). The end of the input means that the
owner is gone: the last process named is killed with its children; `--remove` deletes the folder.
"""

import contextlib
import shutil
import sys
import time

import psutil


def kill_tree(pid: int) -> None:
    """Kill a process and all that descends from it, and wait until they are gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        parent.suspend()  # it can start no further child while the children are listed
        processes = [*parent.children(recursive=True), parent]
        for process in reversed(processes):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while not all(map(ended, processes)):
            time.sleep(0.005)


def ended(process: psutil.Process) -> bool:
    """Tell whether a process is gone, or waits only for its parent to take notice."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def main(folder: str, *options: str) -> None:
    """Wait for the end of standard input, then clean up."""
    pid = 0
    for line in sys.stdin:
        pid = int(line.strip() or 0)
    if pid:
        kill_tree(pid)
    if "--remove" in options:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
