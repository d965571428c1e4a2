"""What the run prints at its end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from support.django_suite.comparison import Comparison, Regression, Verdict
    from support.django_suite.outcomes import Outcome

_TAIL = 20  # lines of a traceback
_ROW = "{:<42} {:>7} {:>7} {:>8} {:>8}   {:>7} {:>7} {:>8} {:>8}"


def table(comparison: Comparison, engine: str) -> Iterator[str]:
    """Yield a table of one run: a row for each group of tests, and the sum."""
    yield f"\n{comparison.run:<42} {'stock Django':^33}   {engine:^33}"
    yield _ROW.format("", *("passed", "failed", "skipped", "seconds") * 2)
    groups = comparison.groups()
    for name, (stock, ours) in groups.items():
        yield _ROW.format(name, *_figures(stock), *_figures(ours))
    if len(groups) > 1:
        both = comparison.stock.values(), comparison.ours.values()
        yield _ROW.format("together", *(figure for side in both for figure in _figures(side)))


def _figures(outcomes: Iterable[Outcome]) -> tuple[int, int, int, str]:
    outcomes = list(outcomes)
    count = Counter(outcome.verdict for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    return count["passed"], count["failed"], count["skipped"], f"{seconds:.1f}"


def regressions(verdict: Verdict) -> Iterator[str]:
    """Yield each regression, once the end of its traceback for those that end alike."""
    alike: dict[tuple[str, str], list[Regression]] = {}
    for regression in verdict.regressions:
        outcome = regression.outcome
        alike.setdefault((outcome.verdict, _last_line(outcome)), []).append(regression)
    for (became, _), group in alike.items():
        yield ""
        for regression in group:
            yield f"{became.upper()}, not so with stock: {regression.test} [{regression.run}]"
        yield from (f"    {line}" for line in group[0].outcome.detail.splitlines()[-_TAIL:])


def _last_line(outcome: Outcome) -> str:
    return outcome.detail.rstrip().rpartition("\n")[2]


def differences(verdict: Verdict, accepted: Mapping[str, str]) -> Iterator[str]:
    """Yield the accepted differences with their reasons, and those to be taken off the list."""
    for test in sorted(set(verdict.accepted)):
        yield f"Accepted difference: {test}: {accepted[test]}"
    for test in sorted(set(verdict.outdated)):
        yield f"OUTDATED: {test} passes: take it off the accepted differences of its database"


def left_out(tests: Mapping[str, str]) -> Iterator[str]:
    """Yield the tests that were not run with either engine, with the reasons."""
    for test, reason in sorted(tests.items()):
        yield f"Left out: {test}: {reason}"


def failing_with_both(comparisons: Iterable[Comparison]) -> list[str]:
    """Return the tests that fail with stock Django as well, one line each."""
    return [f"{c.run}: {test}" for c in comparisons for test in c.failing_with_both()]


def summary(rows: Iterable[tuple[Comparison, Verdict]]) -> Iterator[str]:
    """Yield a table of all runs: a row for each, with what is worse and what is accepted."""
    yield f"\n{'':<42} {'stock Django':^33}   {'carpool':^33}"
    columns = ("passed", "failed", "skipped", "seconds") * 2
    yield _ROW.format("", *columns) + "   worse accepted"
    for comparison, verdict in rows:
        sides = (comparison.stock.values(), comparison.ours.values())
        figures = (figure for side in sides for figure in _figures(side))
        worse, accepted = len(verdict.regressions), len(verdict.accepted)
        yield f"{_ROW.format(comparison.run, *figures)}   {worse:>5} {accepted:>8}"


def closing_line(engine: str, verdict: Verdict) -> str:
    """Return the sum of all runs with one engine."""
    failed = len(verdict.regressions) + len(set(verdict.outdated))
    return f"Django's own tests with {engine}: {verdict.kept} passed, {failed} failed"
