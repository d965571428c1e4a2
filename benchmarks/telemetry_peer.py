"""What it costs that others see what a pool does: one process for each amount of it.

    python -m benchmarks.telemetry_peer NAME PARAMS SIZE

PARAMS are psycopg's, as JSON; null for connections that cost nothing.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import tempfile
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks import libraries, measure, processes
from benchmarks.null import NullDriver
from carpool import Options, Pool
from carpool.pool import pool as pool_module
from carpool.postgresql.driver import PsycopgDriver
from carpool.telemetry.publisher import publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carpool.driver import Driver

OFF = "off"
ON = "everything on"
BOARD = "its figures on the board alone"
SIGNALS = "off, with receivers of the signals of acquire and release"
BARE = "off, without the note of the time of use"
PERIOD = 1.0  # seconds between two scrapes, and two exports
NOTE = "        self._note_use(held)\n"


class User:
    """Who uses the pool, as the board has to know of the first one: no database of Django's."""

    alias, vendor, thread_ident = "default", "postgresql", 0
    settings_dict = {"NAME": "nothing"}  # noqa: RUF012 - nobody changes it
    connection = None


def on_null(size: int) -> Iterator[processes.PeerProcess]:
    """Start all, on connections that cost nothing."""
    return (_process(name, None, size) for name in (OFF, ON, BOARD, SIGNALS, BARE))


def on_postgresql(params: dict[str, Any], size: int) -> Iterator[processes.PeerProcess]:
    """Start those that a user chooses from, on real connections."""
    return (_process(name, params, size) for name in (OFF, ON, SIGNALS))


def _process(name: str, params: dict[str, Any] | None, size: int) -> processes.PeerProcess:
    arguments = (name, json.dumps(params), str(size))
    return processes.PeerProcess(name, "benchmarks.telemetry_peer", *arguments)


def watch(pool: Pool[Any], name: str, folder: str, stack: ExitStack) -> None:
    """Have the pool watched as much as the name says, until the stack is closed."""
    if name in (ON, BOARD):
        stack.callback(publisher.at_exit, 5.0)  # before the folder goes
        publisher.watch(pool, User())
        publisher.wake()
    if name == ON:
        _export(stack)
        _scrape(pool.name, folder, stack)
    if name == SIGNALS:
        _listen()


def _export(stack: ExitStack) -> None:
    """Have OpenTelemetry's SDK record all, and export it as text to nowhere once a second."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - only where it is on
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415 - the same
        ConsoleMetricExporter,
        PeriodicExportingMetricReader,
    )

    from carpool.telemetry import opentelemetry  # noqa: PLC0415 - the same

    exporter = ConsoleMetricExporter(stack.enter_context(open(os.devnull, "w")))  # noqa: PTH123, SIM115 - no path to speak of; the stack closes it
    reader = PeriodicExportingMetricReader(exporter, 1000 * PERIOD)
    provider = MeterProvider([reader])
    stack.callback(provider.shutdown)
    opentelemetry.instrument(provider)


def _scrape(pool: str, folder: str, stack: ExitStack) -> None:
    """Have prometheus_client collect all once a second."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - as above

    from carpool.telemetry import prometheus  # noqa: PLC0415 - as above

    registry, over = CollectorRegistry(), threading.Event()
    prometheus.register(registry, folder, pools=[pool])

    def scrape() -> None:
        while not over.wait(PERIOD):
            assert b"carpool_up 1" in generate_latest(registry)

    thread = threading.Thread(target=scrape)
    thread.start()
    stack.callback(thread.join)
    stack.callback(over.set)


def _listen() -> None:
    from carpool import signals  # noqa: PLC0415 - as above

    for signal in (signals.connection_acquired, signals.connection_released):
        signal.connect(_receive)


def _receive(**_facts: Any) -> None:
    """Hear of it, and do nothing."""


def without_note() -> type[Pool[Any]]:
    """Return a class of pools that differs in one line: a release does not note the time of use."""
    source = inspect.getsource(Pool.release)
    assert source.count(NOTE) == 1, source
    names: dict[str, Any] = {}
    exec(  # the method as it is, so that the two cannot drift apart
        f"from __future__ import annotations\nclass Bare(Pool):\n{source.replace(NOTE, '')}",
        vars(pool_module) | {"Pool": Pool},
        names,
    )
    bare: type[Pool[Any]] = names["Bare"]
    return bare


def main(name: str, params: dict[str, Any] | None, size: int) -> None:
    """Answer until the input ends."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="carpool-"))
        driver: Driver[Any] = (
            NullDriver() if params is None else PsycopgDriver(**params, autocommit=True)
        )
        options = Options(min_size=size, max_size=size, timeout=30, broker_dir=folder)
        pool = (without_note() if name == BARE else Pool)(driver, options)
        stack.callback(pool.close)
        pool.wait()
        watch(pool, name, folder, stack)
        processes.answer(measure.Cycle(pool.acquire, libraries.select_1, pool.release))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
