"""What runs inside Django's test process: writes down each test's start, outcome and end.

Every process, also each worker of `--parallel`, appends to a file of its own in the folder that
`SUITE_EVENTS` names, one JSON object per line, so that a crash or a hang loses nothing and the
parent's bookkeeping of its workers (wrong on CPython 3.12.1) does not matter.
SIGUSR1 makes a process write the stacks of its threads beside that file.
"""

# ruff: noqa: N802 - unittest's own names

import faulthandler
import json
import os
import signal
import time
import traceback
import unittest
from functools import cache
from pathlib import Path
from typing import Any

from django.test.runner import (
    DiscoverRunner,
    ParallelTestSuite,
    RemoteTestResult,
    RemoteTestRunner,
)
from django.test.utils import iter_test_cases


@cache
def _events_of(pid: int) -> int:
    """Open the file of process `pid`, once in it: a forked child gets another.

    A descriptor, not a file object: nobody is there to close one at the end of a worker.
    """
    folder = Path(os.environ["SUITE_EVENTS"])
    stacks = os.open(folder / f"{pid}.stacks", os.O_WRONLY | os.O_CREAT)
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
    return os.open(folder / f"{pid}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _record(event: str, test: Any, **details: object) -> None:
    whole = getattr(test, "test_case", test)  # of a subtest
    line = {"event": event, "test": whole.id(), "time": time.monotonic(), **details}
    os.write(_events_of(os.getpid()), (json.dumps(line) + "\n").encode())


class _Recording(unittest.TestResult):
    """Mixed into a result class: records, then does what that class does."""

    def startTest(self, test: unittest.TestCase) -> None:
        _record("start", test)
        super().startTest(test)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        _record("stop", test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        _record("passed", test)
        super().addSuccess(test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        _record("skipped", test, detail=reason)
        super().addSkip(test, reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        _record("passed", test)
        super().addExpectedFailure(test, err)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        _record("failed", test, detail="unexpected success")
        super().addUnexpectedSuccess(test)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._record_failure(test, err)
        super().addError(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._record_failure(test, err)
        super().addFailure(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self._record_failure(test, err)
        super().addSubTest(test, subtest, err)

    def _record_failure(self, test: unittest.TestCase, err: Any) -> None:
        _record("failed", test, detail="".join(traceback.format_exception(*err)))


class _SerialResult(_Recording, unittest.TextTestResult):
    pass


class _PortableResult(RemoteTestResult):
    """Sends failures to the parent as mere text: one that cannot be pickled ends a whole run."""

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, _as_text(err))

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, _as_text(err))

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        del subtest  # recorded by now, and not always to be pickled
        if err is not None:
            super().addFailure(test, _as_text(err))

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, _as_text(err))


def _as_text(err: Any) -> Any:
    text = "".join(traceback.format_exception(*err))
    return AssertionError, AssertionError(text), None


class _WorkerResult(_Recording, _PortableResult):
    pass


class _WorkerRunner(RemoteTestRunner):
    resultclass = _WorkerResult


class _RecordingParallelSuite(ParallelTestSuite):
    runner_class = _WorkerRunner


class RecordingRunner(DiscoverRunner):
    """Django's runner, recording; with several processes it is the workers who record."""

    parallel_test_suite = _RecordingParallelSuite

    def setup_test_environment(self, **kwargs: object) -> None:
        """Make ready to answer SIGUSR1, then do what Django does."""
        _events_of(os.getpid())
        super().setup_test_environment(**kwargs)

    def load_tests_for_label(self, label: str, discover_kwargs: Any) -> unittest.TestSuite:
        """Leave out the tests that `SUITE_LEFT_OUT` names."""
        left_out = os.environ.get("SUITE_LEFT_OUT", "").split()
        found = iter_test_cases(super().load_tests_for_label(label, discover_kwargs))
        return unittest.TestSuite(test for test in found if test.id() not in left_out)

    def get_resultclass(self) -> type[unittest.TextTestResult] | None:
        """Return our result class where the tests run in this very process."""
        return _SerialResult if self.parallel <= 1 else None
