"""Peers in processes of their own: each measures when it is asked, and is idle meanwhile."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from benchmarks import measure


class PeerProcess:
    """A process that runs a module of ours, which calls `answer`."""

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, load: measure.Load) -> measure.Sample:
        """Return what a cycle costs under this load."""
        return measure.Sample(**self._ask(asdict(load)))

    def calls(self) -> tuple[float, float]:
        """Return the Python and the C calls of a cycle without a query."""
        python, c = self._ask({})
        return python, c

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process for {self.name!r} has died: see its message above")
        return json.loads(answer)


def answer(measured: measure.Cycle) -> None:
    """Measure a cycle whenever a line asks for it, until the input ends.

    A line is one JSON object, a `Load`, or {} to count calls; so is each answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the input is what ends us
    gc.freeze()
    for line in sys.stdin:
        load = json.loads(line)
        answer = (
            asdict(measure.measure(measured, measure.Load(**load)))
            if load
            else measure.calls(measured)
        )
        print(json.dumps(answer), flush=True)
