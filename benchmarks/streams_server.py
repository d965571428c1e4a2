"""uvicorn with the site of streams: processes that end with their owner, however that ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psutil

from support import guard
from support.servers.base import free_port

VARIABLE = "STREAMS_DATABASE"
STARTING, STOPPING = 30, 10  # seconds


class Uvicorn:
    """A running site; `database` is its entry of DATABASES.

    Raises RuntimeError, with the end of its log, if it does not come up.
    """

    def __init__(self, database: dict[str, Any], workers: int) -> None:
        self.port, self.workers = free_port(), workers
        self._folder = Path(tempfile.mkdtemp(prefix="carpool-streams-"))
        self._guard = subprocess.Popen(
            [sys.executable, guard.__file__, str(self._folder), "--remove"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "benchmarks.streams_site:application"),
                    *(f"--port={self.port}", f"--workers={workers}", "--lifespan=off"),
                    *("--log-level=warning", "--no-access-log", "--no-use-colors"),
                    f"--timeout-graceful-shutdown={STOPPING // 2}",
                ],
                env=os.environ | {VARIABLE: json.dumps(database)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for us, who stop it
            )
        self._tell_guard(self._process.pid)

    def __enter__(self) -> Self:
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    def cost(self) -> tuple[float, int]:
        """Return the CPU seconds and the bytes of memory that all its processes have used."""
        seconds, memory = 0.0, 0
        for process in psutil.Process(self._process.pid).children(recursive=True):
            seconds += sum(process.cpu_times()[:2])
            memory += process.memory_info().rss
        return seconds, memory

    def log(self) -> list[str]:
        """Return the last lines of what it has logged: nothing, if nothing went wrong."""
        return self._log.read_text(errors="replace").splitlines()[-20:]

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + STARTING
        while time.monotonic() < end and self._process.poll() is None:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.05)
        raise RuntimeError("\n".join(["uvicorn did not come up; its log ends:", *self.log()]))

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            guard.kill_tree(self._process.pid)
            self._process.wait()
        self._tell_guard("")  # nobody is left for it to kill, only the folder to remove
        assert self._guard.stdin
        self._guard.stdin.close()
        self._guard.wait()

    def _tell_guard(self, pid: object) -> None:
        assert self._guard.stdin
        print(pid, file=self._guard.stdin, flush=True)
