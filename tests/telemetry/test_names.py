"""The table of metrics, held against the figures and against OpenTelemetry's own list."""

import re
from collections import Counter

from opentelemetry.semconv._incubating.attributes import db_attributes as attributes
from opentelemetry.semconv._incubating.metrics import db_metrics as metrics

from carpool.telemetry import figures
from carpool.telemetry.names import METRICS, POOL_NAME, STATE

# What the project's own figures are told as; all else would be seen by nobody.
NOT_MEASURED = {
    *("name", "aliases", "vendor", "database", "mode", "share"),  # labels
    *("obeyed", "home", "last_error", "leases", "recent", "parts", "broker"),  # for people
    *("open", *figures.STATES),  # by state
}
WORKED_OUT = {"connections", "processes", "connect_failing", "age"}


def test_every_figure_is_told_and_no_other():
    there = set(figures.Total.__annotations__) | set(figures.PoolFigures.__annotations__)

    assert {each.figure for each in METRICS} - WORKED_OUT == there - NOT_MEASURED


def test_kinds_are_those_of_the_figures():
    for each in METRICS:
        grows = each.figure in (*figures.COUNTS, *figures.BY_REASON)
        timed = each.figure in figures.HISTOGRAMS

        assert each.kind == ("counter" if grows else "histogram" if timed else "gauge"), each.figure


def test_names_are_as_prometheus_wants_them_and_each_is_used_once():
    names = [each.prometheus for each in METRICS if each.prometheus]

    assert Counter(names).most_common(1)[0][1] == 1
    for each in METRICS:
        if each.prometheus:
            assert re.fullmatch(r"carpool_[a-z_]+", each.prometheus)
            assert each.prometheus.endswith("_total") == (each.kind == "counter")
            assert each.prometheus.endswith("_seconds") == (each.unit == "s")


def test_names_kinds_and_units_are_those_of_the_semantic_conventions():
    ours = {each.opentelemetry: each for each in METRICS if each.opentelemetry}
    theirs = {
        name: create
        for name in vars(metrics).values()
        if isinstance(name, str) and name.startswith("db.client.connection.")
        if (create := getattr(metrics, f"create_{name.replace('.', '_')}"))
    }

    assert ours.keys() == theirs.keys()
    for name, create in theirs.items():
        made = create(Meter())
        assert (made["kind"], made["unit"]) == (ours[name].kind, ours[name].unit), name
    assert attributes.DB_CLIENT_CONNECTION_POOL_NAME == POOL_NAME
    assert attributes.DB_CLIENT_CONNECTION_STATE == STATE


class Meter:
    """Tells what it was asked to make."""

    def create_counter(self, **words):
        return {"kind": "counter", **words}

    def create_up_down_counter(self, **words):
        return {"kind": "gauge", **words}

    def create_histogram(self, **words):
        return {"kind": "histogram", **words}
