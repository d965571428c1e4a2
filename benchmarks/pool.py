"""`make bench-pool`: what acquire and release cost with carpool and with others, in one run.

The peers take turns in every round. The figures of one run compare with each other; those of two
runs do not, unless the machine was left alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine, report, sections
from benchmarks.places import Places
from benchmarks.sections import SECTIONS
from support.progress import Progress

if TYPE_CHECKING:
    from benchmarks.sections import Results


def main() -> None:
    """Measure, show, and leave nothing behind."""
    arguments = parse()
    chosen = {key: SECTIONS[key] for key in SECTIONS if key in arguments.only}
    steps = arguments.rounds * sum(len(section.loads) for section in chosen.values())
    progress = Progress(steps)
    with Places() as places:
        [[version]] = places.postgresql.query("SHOW server_version")
        description = machine.description(version.partition(" ")[0])
        progress.say(description)
        gc.freeze()  # what has been imported is no garbage to look through while measuring
        others = machine.Others()
        measured = {}
        for key, section in chosen.items():
            measured[key] = sections.run(
                section, places, arguments.rounds, arguments.seconds, progress.step
            )
        cores = others.cores()
        progress.clear()
    show(measured, arguments, cores)
    if arguments.json:
        write(arguments.json, measured, description, cores)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pool", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=0.1, help="for a peer in a round; default: %(default)s"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        default=list(SECTIONS),
        metavar="SECTION",
        help=f"some of: {', '.join(SECTIONS)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds has to be at least 1, --seconds above 0")
    return arguments


def show(measured: dict[str, Results], arguments: argparse.Namespace, cores: float) -> None:
    """Print the tables and what is needed to judge them."""
    for key, results in measured.items():
        table = {"databases": report.by_database, "modes": report.by_mode}.get(key, report.section)
        print("", *table(SECTIONS[key], results), sep="\n")
    print("", *report.calls(measured), sep="\n")
    if goals := list(report.goals(measured)):
        print("", "== Goals", "", *goals, sep="\n")
    print(f"\n{report.NOTES}")
    print(f"\n{arguments.rounds} rounds of {arguments.seconds:g} s for each.", usage(cores))


def usage(cores: float) -> str:
    """Say how much others have disturbed the run."""
    said = f"Other processes kept {cores:.2f} cores busy meanwhile."
    if cores <= machine.DISTURBING:
        return said
    return f"{said}\nWARNING: that is much: trust the ratios and the calls, not the nanoseconds."


def write(file: Path, measured: dict[str, Results], description: str, cores: float) -> None:
    """Write every sample, wall and CPU in nanoseconds."""
    content = {
        "machine": description,
        "cores_used_by_others": cores,
        "sections": {key: asdict(results) for key, results in measured.items()},
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
