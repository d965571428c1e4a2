"""The tables, the goals, and how to read them."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.django_peer import EVERY_TIME, PERSISTENT
from benchmarks.libraries import CARPOOL, PSYCOPG_POOL, SQLALCHEMY
from benchmarks.sections import (
    CONTENDED,
    DATABASES,
    ONE,
    ONE_QUERY,
    SATURATED,
    SECTIONS,
    SIZE,
    STATEMENTS,
    THREADS,
)
from benchmarks.telemetry_peer import OFF, ON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.measure import Sample
    from benchmarks.sections import Results, Section

# (section, load, what carpool is compared with, at most)
GOALS = [
    ("alone", ONE, PSYCOPG_POOL, 1 / 4),
    ("alone", ONE, SQLALCHEMY, 1 / 8),
    ("alone", CONTENDED, PSYCOPG_POOL, 1 / 4),
    ("alone", CONTENDED, SQLALCHEMY, 1 / 8),
    ("django", ONE, PERSISTENT, 1.0),
    ("django", ONE_QUERY, PERSISTENT, 1.0),
]
LEAST_SHARE = 0.9
MODES_MORE = 10  # microseconds
WATCHED = ("telemetry", "telemetry-real")
WATCHED_MOST = 1.15

NOTES = f"""\
Nanoseconds for one acquire and release (and the query, if any), over all threads together: medians
of the rounds, with the lowest and the highest. Ratios are medians of each round's ratio, so that
what slows the machine down for a while bears on both sides. CPU is what the process with the pool
used, its background threads included, without the server. Connections to PostgreSQL are in
autocommit mode, over TCP on the loopback.
"Through Django" is connection.cursor() and then close_if_unusable_or_obsolete(), which the end of
a request calls. There, with CONN_MAX_AGE each of the {THREADS} threads has a connection of its own;
of a pool's threads {THREADS - SIZE} have to wait, and who waits costs a hand-over of the GIL.
"{ON}": each second its figures are written where others see them, a sample of the
durations is recorded by OpenTelemetry's SDK, which exports all metrics, and prometheus_client
collects them, all by threads of the same process. "{OFF}": nobody watches the pool.
A thread that has its turn but gets no processor lowers the fairness of any pool that serves in
turn."""


def section(section: Section, results: Results) -> Iterator[str]:
    """Return the lines of a section: a table for each load."""
    yield f"== {section.title}"
    for label, samples in results.samples.items():
        yield from ["", *table(heads(section, label), rows(section, samples))]


def by_database(section: Section, results: Results) -> Iterator[str]:
    """Return the lines of the one table that puts the databases side by side."""
    yield f"== {section.title}"
    [samples] = results.samples.values()
    lines = []
    for database in DATABASES:
        names = [f"{database}: {way}" for way in WAYS]
        walls = [median(each.wall for each in samples[name]) for name in names]
        ratios = [ratio(samples, names[-1], name) for name in names[:-1]]
        spread = [each.wall for each in samples[names[-1]]]
        lines.append(
            [
                database,
                *(f"{wall / 1000:,.1f}" for wall in walls),
                f"{min(spread) / 1000:,.1f} to {max(spread) / 1000:,.1f}",
                *(f"{each:.2f}" for each in ratios),
            ]
        )
    yield from ["", *table(BY_DATABASE, lines)]


def by_mode(section: Section, results: Results) -> Iterator[str]:
    """Return the lines of the table that puts the modes side by side."""
    yield f"== {section.title}"
    [samples] = results.samples.values()
    lines = [
        [database, *(f"{median(each):,.1f}" for each in _of_a_statement(samples, database))]
        for database in DATABASES
    ]
    yield from ["", *table(BY_MODE, lines)]


def _of_a_statement(samples: dict[str, list[Sample]], database: str) -> Iterator[list[float]]:
    """Yield microseconds, by round: in each mode, and what one costs more than the other."""
    walls = [
        [each.wall / STATEMENTS / 1000 for each in samples[f"{database}: {mode}"]]
        for mode in ("session", "transaction")
    ]
    more = [other - one for one, other in zip(*walls, strict=True)]
    yield from [*walls, more, [min(more)], [max(more)]]


BY_MODE = [
    ("1 statement", "microseconds"),
    ("session", "mode"),
    ("transaction", "mode"),
    ("more", ""),
    ("", "lowest"),
    ("", "highest"),
]
WAYS = [EVERY_TIME, PERSISTENT, CARPOOL]
BY_DATABASE = [
    ("1 thread, 1 query", "microseconds"),
    *((way, "") for way in WAYS),
    ("lowest to", "highest"),
    *((f"{CARPOOL} /", way) for way in WAYS[:-1]),
]


def heads(section: Section, label: str) -> list[tuple[str, str]]:
    """Return the two lines of each column's head."""
    found = [(label, ""), ("wall", "ns"), ("lowest to", "highest"), ("CPU", "ns")]
    for name in section.references:
        found += [(f"/ {name.partition(' ')[0]}", "wall"), ("", "CPU")]
    return found + [("least /", "most served")] * section.shares


def rows(section: Section, samples: dict[str, list[Sample]]) -> Iterator[list[str]]:
    """Return the figures of each peer."""
    for name, own in samples.items():
        walls = [sample.wall for sample in own]
        row = [
            name,
            f"{median(walls):,.0f}",
            f"{min(walls):,.0f} to {max(walls):,.0f}",
            f"{median(sample.cpu for sample in own):,.0f}",
        ]
        for reference in section.references:
            row += [f"{ratio(samples, name, reference, of):.2f}" for of in ("wall", "cpu")]
        yield row + [f"{median(sample.share for sample in own):.2f}"] * section.shares


def ratio(samples: dict[str, list[Sample]], name: str, reference: str, of: str = "wall") -> float:
    """Return the median of each round's ratio of one peer's time to the other's."""
    pairs = zip(samples[name], samples[reference], strict=True)
    return median(getattr(mine, of) / getattr(other, of) for mine, other in pairs)


def calls(measured: dict[str, Results]) -> list[str]:
    """Return a table of the calls that a cycle without a query makes."""
    lines = [
        [f"{SECTIONS[key].title}: {name}", *(f"{count:.1f}" for count in counts)]
        for key, results in measured.items()
        for name, counts in results.calls.items()
        if not SECTIONS[key].shares  # the same pools again
    ]
    return ["== Calls in one acquire and release, by count", "", *table(CALLS, lines)]


CALLS = [("", ""), ("Python", "functions"), ("C", "functions")]


def goals(measured: dict[str, Results]) -> Iterator[str]:
    """Say of each goal that bears on what was measured whether it was met."""
    for key, label, reference, most in GOALS:
        if key in measured:
            value = ratio(measured[key].samples[label], CARPOOL, reference)
            what = f"{key}, {label}: of {reference}'s time, at most {most:g}"
            yield f"{verdict(value <= most)}  {value:.2f}  {what}"
    if "modes" in measured:
        [samples] = measured["modes"].samples.values()
        for database in DATABASES:
            *_, more, _, _ = _of_a_statement(samples, database)
            what = f"modes, {database}: microseconds more for a statement, at most {MODES_MORE}"
            yield f"{verdict(median(more) <= MODES_MORE)}  {median(more):.1f}  {what}"
    for key in WATCHED:
        for label, samples in measured[key].samples.items() if key in measured else ():
            value = ratio(samples, ON, OFF)
            what = f"{key}, {label}: {ON}, of {OFF}'s time, at most {WATCHED_MOST:g}"
            yield f"{verdict(value <= WATCHED_MOST)}  {value:.2f}  {what}"
    if "fairness" in measured:
        value = median(one.share for one in measured["fairness"].samples[SATURATED][CARPOOL])
        what = f"fairness, {SATURATED}: least / most served, at least {LEAST_SHARE:g}"
        yield f"{verdict(value >= LEAST_SHARE)}  {value:.2f}  {what}"


def verdict(met: bool) -> str:
    """Say it in words of one width."""
    return "met   " if met else "missed"


def table(heads: list[tuple[str, str]], rows: Iterable[list[str]]) -> list[str]:
    """Return the lines: the first column to the left, the others to the right."""
    lines = [*zip(*heads, strict=True), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip()
        for first, *rest in lines
    ]
