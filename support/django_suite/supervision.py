"""One run of Django's tests in a process of its own: started, watched, and ended if it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from support.django_suite import outcomes
from support.django_suite.outcomes import Outcome, Outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SILENCE = 180.0  # seconds without any event or output after which a run counts as hanging
PROGRESS = 15.0  # seconds between two lines that say how far a run is


class Execution:
    """A command that runs tests under `recorder.py`; `folder`, a new one, gets events and output.

    `silence` is for how many seconds nothing may happen.
    """

    def __init__(
        self,
        *,
        title: str,
        command: Sequence[str],
        cwd: Path,
        variables: dict[str, str],
        folder: Path,
        silence: float = SILENCE,
    ) -> None:
        self.title = title
        self.folder = folder
        self.log = folder / "output"
        self._command = command
        self._cwd = cwd
        self._environment = _plain_environment() | variables | {"SUITE_EVENTS": str(folder)}
        self._silence = silence

    def finish(self) -> Outcomes:
        """Run the tests to their end, or to the end of our patience; return the outcomes.

        How the process itself ended is an outcome too.
        """
        self.folder.mkdir(parents=True)
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                hanging = self._watch(process)
            finally:
                _kill_group(process)
        found = outcomes.ended(self._outcomes())
        return found | {"the_run.ends_by_itself": self._ending(process.returncode, hanging, found)}

    def _watch(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the process; return "" or, when it hangs, what it was doing."""
        begun = heard = told = time.monotonic()
        size = 0
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
                return ""
            now = time.monotonic()
            if size != (size := self._size()):
                heard = now
            if now - heard > self._silence:
                return self._stacks()
            if now - told > PROGRESS:
                told = now
                print(f"  {self.title}: {now - begun:.0f} s, {self._progress()}", flush=True)

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def _progress(self) -> str:
        counts = Counter(outcome.verdict for outcome in self._outcomes().values())
        return f"{counts.total() - counts['running']} tests, {counts['failed']} failed"

    def _outcomes(self) -> Outcomes:
        found: Outcomes = {}
        for path in self.folder.glob("*.jsonl"):
            found |= outcomes.read(_events(path))
        return found

    def _running(self) -> dict[int, str]:
        """Return the test that each process is in, by process id."""
        tests = {int(p.stem): outcomes.running(_events(p)) for p in self.folder.glob("*.jsonl")}
        return {pid: test for pid, test in tests.items() if test}

    def _stacks(self) -> str:
        """Let every process write down its stacks; return them with the tests that were running."""
        running = self._running()
        lines = [f"Nothing happened for {self._silence:.0f} s."]
        for path in self.folder.glob("*.jsonl"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.stem), signal.SIGUSR1)
        time.sleep(1)  # a hanging process has no way to say that it is done
        for path in self.folder.glob("*.stacks"):
            test = running.get(int(path.stem), "between two tests")
            lines += [f"Process {path.stem}, {test}:", path.read_text()]
        return "\n".join(lines)

    def _ending(self, status: int, hanging: str, found: Outcomes) -> Outcome:
        """Judge how the process ended: status 1 is due when, and only when, a test failed."""
        expected = int(any(outcome.verdict == "failed" for outcome in found.values()))
        if hanging or status != expected or not found:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
            return Outcome("failed", hanging or f"{tail}\nexit status {status}")
        return Outcome("passed")


def _plain_environment() -> dict[str, str]:
    """Return the environment without what would reach into Django, Python or the driver."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO_", "PG", "PYTHON", "SUITE_"))
    }


def _events(path: Path) -> list[dict[str, Any]]:
    """Return the events in a file; a last line that is still being written is left out."""
    return [json.loads(line) for line in path.read_text().splitlines(True) if line[-1] == "\n"]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process and all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
