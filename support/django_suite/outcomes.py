"""What became of each test, read from the events that `recorder.py` wrote."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Outcomes = dict[str, "Outcome"]  # by the test's id

_BY_WEIGHT = ("running", "passed", "skipped", "failed")


@dataclass(frozen=True)
class Outcome:
    """`passed`, `skipped`, `failed`, or `missing`; why (a traceback, a reason); seconds taken."""

    verdict: str
    detail: str = ""
    seconds: float = 0.0


MISSING = Outcome("missing", "The test was not run at all.")


def read(events: Iterable[dict[str, Any]]) -> Outcomes:
    """Fold the events of one process, in their order, into one outcome per test.

    The worst event counts, as a test may fail in several of its subtests and again in its
    clean-up. A test that has not come to its end is `running`.
    """
    found: Outcomes = {}
    starts: dict[str, float] = {}
    for event in events:
        test, kind = event["test"], event["event"]
        if kind == "start":
            starts[test] = event["time"]
            found.setdefault(test, Outcome("running"))
        elif kind == "stop":
            found[test] = _timed(found[test], event["time"] - starts[test])
        else:
            found[test] = _worse(found.get(test), Outcome(kind, event.get("detail", "")))
    return found


def ended(found: Outcomes) -> Outcomes:
    """Return the outcomes for good: a test that is still `running` will never end."""
    return {test: _ended(outcome) for test, outcome in found.items()}


def worst(one: Outcomes, other: Outcomes) -> Outcomes:
    """Return the outcomes of two runs of the same tests together."""
    return one | {test: _worse(one.get(test), outcome) for test, outcome in other.items()}


def running(events: Iterable[dict[str, Any]]) -> str | None:
    """Return the test a process was in at its last event, None when between two tests."""
    current = None
    for event in events:
        current = {"start": event["test"], "stop": None}.get(event["event"], current)
    return current


def to_json(outcomes: Outcomes) -> dict[str, Any]:
    """Return plain data for a file; `from_json` reads it."""
    return {test: asdict(outcome) for test, outcome in outcomes.items()}


def from_json(data: dict[str, Any]) -> Outcomes:
    """Return the outcomes written by `to_json`."""
    return {test: Outcome(**fields) for test, fields in data.items()}


def _worse(one: Outcome | None, other: Outcome) -> Outcome:
    if one is None or _BY_WEIGHT.index(one.verdict) < _BY_WEIGHT.index(other.verdict):
        return other
    return one


def _timed(outcome: Outcome, seconds: float) -> Outcome:
    return Outcome(outcome.verdict, outcome.detail, outcome.seconds + seconds)


def _ended(outcome: Outcome) -> Outcome:
    lost = Outcome("failed", "The test never came to its end.")
    return lost if outcome.verdict == "running" else outcome
