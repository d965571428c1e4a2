"""One process that writes a SQLite file through Django, and its side of the conversation.

    python -m benchmarks.sqlite_writer SETTINGS    SETTINGS: an entry of DATABASES, as JSON

reads one JSON object per line (the arguments of `Work`) and answers each with one line.
"""

from __future__ import annotations

import gc
import json
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any


class Writer:
    """The process, as the benchmark sees it."""

    def __init__(self, name: str, database: dict[str, Any]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sqlite_writer", json.dumps(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, threads: int, seconds: float, pause: float) -> None:
        """Have it write; it answers when it is done."""
        assert self._process.stdin
        question = {"threads": threads, "seconds": seconds, "pause": pause}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Wait for its answer: `times` in seconds, how many were `locked`, `seconds` it took."""
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a process for {self.name!r} has died: see its message above")
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Work:
    """The threads of one round, and what came of it; `pause`: seconds between two requests."""

    def __init__(self, threads: int, seconds: float, pause: float) -> None:
        self.times: list[float] = []
        self.locked = 0
        self.failure: BaseException | None = None
        self._lock = threading.Lock()
        self._go = threading.Barrier(threads + 1)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        self._seconds, self._pause = seconds, pause

    def run(self) -> dict[str, Any]:
        """Let all begin together; return the answer. Raises what a thread raised."""
        for thread in self._threads:
            thread.start()
        self._go.wait()
        begun = time.perf_counter()
        for thread in self._threads:
            thread.join()
        if self.failure:
            raise self.failure
        took = time.perf_counter() - begun
        return {"times": self.times, "locked": self.locked, "seconds": took}

    def _work(self) -> None:
        from django.db import OperationalError, connection  # noqa: PLC0415 - Django is set up now

        times, locked = [], 0
        self._go.wait()
        end = time.perf_counter() + self._seconds
        try:
            while (start := time.perf_counter()) < end:
                try:
                    request()
                except OperationalError as error:
                    if "locked" not in str(error):
                        raise
                    locked += 1
                else:
                    times.append(time.perf_counter() - start)
                time.sleep(random.uniform(0, 2 * self._pause))
            connection.close()  # with CONN_MAX_AGE it would stay for a thread that is no more
        except BaseException as failure:  # noqa: BLE001 - raised again by the main thread
            self.failure = failure
        with self._lock:
            self.times += times
            self.locked += locked


def request() -> None:
    """Do what a view does that counts and logs, up to the end of its request."""
    from django.db import connection, transaction  # noqa: PLC0415 - Django is set up now

    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT value FROM counter WHERE id = %s", [1])
            (value,) = cursor.fetchone()
            cursor.execute("UPDATE counter SET value = %s WHERE id = %s", [value + 1, 1])
            cursor.execute("INSERT INTO log (value) VALUES (%s)", [value])
    finally:
        connection.close_if_unusable_or_obsolete()


def main(database: str) -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the input is what ends us
    import django  # noqa: PLC0415 - only this process needs it
    from django.conf import settings  # noqa: PLC0415 - see above

    settings.configure(DATABASES={"default": json.loads(database)}, USE_TZ=True)
    django.setup()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(Work(**json.loads(line)).run()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
