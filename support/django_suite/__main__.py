"""`python -m support.django_suite`: run Django's tests with both engines and compare.

Stock Django runs once, or not again if nothing has changed since, and carpool once in each mode;
with `--share host` its pool is shared by the host, where the database can be.

Exit status: 1 when a test is worse with carpool's engine than with stock Django's, 2 when a
database could not be tried at all.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from support.django_suite import environment, report
from support.django_suite.comparison import judge
from support.django_suite.databases import DATABASES
from support.django_suite.environment import SuiteError
from support.django_suite.plan import MODES, SHARES
from support.django_suite.suite import Suite, named
from support.servers import ServerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.django_suite.comparison import Comparison
    from support.django_suite.plan import Database


def main() -> int:
    """Run the command; return its exit status."""
    options = parse_options()
    environment.CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=environment.CACHE))
    try:
        environment.tests_folder()
        environment.interpreter()
        results = [
            result
            for name in options.database
            for result in compare(DATABASES[name], folder, options)
        ]
    except SuiteError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    return conclude(results)


class Result(NamedTuple):
    """What has come of a database in one mode: comparisons, or why it could not be tried."""

    engine: str
    accepted: Mapping[str, str]
    comparisons: list[Comparison]
    missing: str = ""


def compare(database: Database, folder: Path, options: argparse.Namespace) -> list[Result]:
    """Make the runs of one database; return what has come of each mode."""
    print(f"== {database.name}", *report.left_out(database.left_out), sep="\n", flush=True)
    engine = options.engine or database.engine
    try:
        with database.home() as home:
            runs = database.runs(options.quick, tuple(options.labels), options.parallel)
            suites = {
                share: Suite(database, home, folder, engine, share=share)
                for share in options.share
                if database.shared_runs(share, runs)
            }
            return [
                Result(
                    f"{engine} in {named(mode, share)} mode",
                    database.differences(mode, share),
                    [
                        suite.compare(run, mode)
                        for run in database.shared_runs(share, runs)
                        if mode in run.modes
                    ],
                )
                for share, suite in suites.items()
                for mode in options.mode
            ]
    except (ServerError, SuiteError) as error:
        print(error, file=sys.stderr)
        return [Result(engine, {}, [], f"NOT RUN with {engine}: {error}")]


def conclude(results: list[Result]) -> int:
    """Print what all the runs have shown; return the exit status."""
    _list_failing_with_both([found for result in results for found in result.comparisons])
    verdicts = [judge(result.comparisons, result.accepted) for result in results]
    for result, verdict in zip(results, verdicts, strict=True):
        print(*report.regressions(verdict), *report.differences(verdict, result.accepted), sep="\n")
    rows = [(c, judge([c], result.accepted)) for result in results for c in result.comparisons]
    print(*report.summary(rows), "", sep="\n")
    for result, verdict in zip(results, verdicts, strict=True):
        print(result.missing or report.closing_line(result.engine, verdict))
    if any(result.missing for result in results):
        return 2
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _list_failing_with_both(comparisons: list[Comparison]) -> None:
    if failing := report.failing_with_both(comparisons):
        names = environment.CACHE / "failing-with-both"
        names.write_text("\n".join(failing) + "\n")
        print(f"{len(failing)} fail with stock Django too: {names.relative_to(environment.ROOT)}")


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m support.django_suite", description=__doc__)
    parser.add_argument(
        "--database", nargs="+", choices=DATABASES, default=list(DATABASES), help="default: all"
    )
    parser.add_argument("--mode", nargs="+", choices=MODES, help="of the pool; default: all")
    parser.add_argument(
        "--share", nargs="+", choices=SHARES, default=["process"], help="of the pool: by whom"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the most telling tests only; without this, nearly all of them in every mode",
    )
    parser.add_argument("--engine", help="in the place of carpool's, with one --database")
    parser.add_argument("--labels", nargs="+", default=(), help="these tests only, in one run")
    parser.add_argument("--parallel", type=int, default=1, help="processes, with --labels")
    parser.add_argument("--keep", action="store_true", help="keep events and output in .cache")
    options = parser.parse_args(arguments)
    if options.engine and len(options.database) > 1:
        parser.error("--engine is for one --database")
    if options.mode is None:  # another engine may know no other than its own
        options.mode = ["session"] if options.engine else list(MODES)
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
