"""`python -m support.django_suite`: run Django's tests with both engines and compare.

Exit status 1 when a test is worse with the engine under test than with stock Django.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from support.django_suite import environment, plan, report, server
from support.django_suite.comparison import Comparison, judge
from support.django_suite.suite import Suite

if TYPE_CHECKING:
    from support.django_suite.plan import Run


def main() -> int:
    """Run the command; return its exit status."""
    options = _options()
    environment.CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=environment.CACHE))
    try:
        environment.tests_folder()
        environment.interpreter()
        with server.start() as postgresql:
            suite = Suite(postgresql, folder, options.engine)
            comparisons = [suite.compare(run) for run in _runs(options)]
    except environment.SuiteError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    return _conclude(comparisons, options.engine)


def _conclude(comparisons: list[Comparison], engine: str) -> int:
    verdict = judge(comparisons, plan.ACCEPTED)
    print(*report.regressions(verdict), "", sep="\n")
    if failing := report.failing_with_both(comparisons):
        names = environment.CACHE / "failing-with-both"
        names.write_text("\n".join(failing) + "\n")
        print(f"{len(failing)} fail with stock Django too: {names.relative_to(environment.ROOT)}")
    print(*report.differences(verdict, plan.ACCEPTED), sep="\n")
    print(report.closing_line(verdict, engine))
    return 0 if verdict.good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m support.django_suite", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the most telling tests only")
    parser.add_argument("--engine", default=plan.ENGINE, help="default: %(default)s")
    parser.add_argument("--labels", nargs="+", default=(), help="these tests only, in one run")
    parser.add_argument("--parallel", type=int, default=1, help="processes, with --labels")
    parser.add_argument("--keep", action="store_true", help="keep events and output in .cache")
    return parser.parse_args()


def _runs(options: argparse.Namespace) -> tuple[Run, ...]:
    return plan.runs(options.quick, tuple(options.labels), options.parallel)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
