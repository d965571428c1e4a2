"""The judgement: which tests stock Django passes and carpool does not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from support.django_suite.outcomes import MISSING, Outcome, Outcomes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True)
class Comparison:
    """The outcomes of one run with stock Django and with the engine under test."""

    run: str
    stock: Outcomes
    ours: Outcomes

    def kept(self) -> list[str]:
        """Return the tests that pass with both."""
        return [test for test in self._tests() if self._passes(test)]

    def lost(self) -> dict[str, Outcome]:
        """Return the tests that are worse here than with stock Django, with what became of them.

        These passed and no longer do, or fail here where they were skipped or did not exist
        (as the clean-up of a class exists only when it fails).
        """
        return {test: self._why(test) for test in self._tests() if self._is_worse(test)}

    def failing_with_both(self) -> list[str]:
        """Return the tests that say nothing here, since stock Django fails them too."""
        return sorted(
            test
            for test in self._tests()
            if self._both(test) in {("failed", "failed"), ("failed", "missing")}
        )

    def groups(self) -> dict[str, tuple[list[Outcome], list[Outcome]]]:
        """Return stock's and our outcomes by the first part of the tests' names."""
        found: dict[str, tuple[list[Outcome], list[Outcome]]] = defaultdict(lambda: ([], []))
        for side, outcomes in enumerate((self.stock, self.ours)):
            for test, outcome in outcomes.items():
                found[group(test)][side].append(outcome)
        return dict(sorted(found.items()))

    def _tests(self) -> list[str]:
        return sorted(self.stock.keys() | self.ours.keys())

    def _passes(self, test: str) -> bool:
        return self._both(test) == ("passed", "passed")

    def _is_worse(self, test: str) -> bool:
        stock, ours = self._both(test)
        return stock != ours and (stock == "passed" or ours == "failed")

    def _both(self, test: str) -> tuple[str, str]:
        return self.stock.get(test, MISSING).verdict, self.ours.get(test, MISSING).verdict

    def _why(self, test: str) -> Outcome:
        """Return the outcome; for a missing test with the failure of its class, if there is one."""
        if test in self.ours:
            return self.ours[test]
        container = f"({test.rpartition('.')[0]})"  # as in "setUpClass (backends.tests.Tests)"
        failures = (o.detail for name, o in self.ours.items() if name.endswith(container))
        return Outcome("missing", next(failures, MISSING.detail))


class Regression(NamedTuple):
    """A test that is worse with the engine under test, and what became of it."""

    run: str
    test: str
    outcome: Outcome


@dataclass
class Verdict:
    """The regressions of all runs, after the accepted differences are taken out."""

    kept: int = 0
    regressions: list[Regression] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)  # accepted, but no longer different

    @property
    def good(self) -> bool:
        """Tell whether nothing got worse and no accepted difference is out of date."""
        return not self.regressions and not self.outdated


def judge(comparisons: Iterable[Comparison], accepted: Collection[str]) -> Verdict:
    """Compare all runs; an accepted difference must show in every run that has the test."""
    verdict = Verdict()
    for comparison in comparisons:
        lost, kept = comparison.lost(), comparison.kept()
        verdict.kept += len(kept)
        verdict.accepted += [test for test in lost if test in accepted]
        verdict.outdated += [test for test in kept if test in accepted]
        verdict.regressions += [
            Regression(comparison.run, test, outcome)
            for test, outcome in lost.items()
            if test not in accepted
        ]
    return verdict


def group(test: str) -> str:
    """Return the label a test's id belongs to: `backends` for `setUpClass (backends.tests.T)`."""
    return test.rpartition("(")[2].partition(".")[0]
