"""Tells Prometheus of the pools of all processes of this host.

Needs `pip install "django-carpool[prometheus]"`. The figures come from the board, so that any one
of several worker processes answers for all. Counters include processes that have ended.
"""

from __future__ import annotations

import logging
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from carpool.pool.histogram import BOUNDS
from carpool.telemetry import ours
from carpool.telemetry.figures import STATES
from carpool.telemetry.gather import gather
from carpool.telemetry.names import FAULTS, METRICS, POOL_INFO, UP, Metric

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
    )
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.utils import floatToGoString
except ImportError as error:
    raise ImportError(
        f'Metrics for Prometheus need: pip install "django-carpool[prometheus]" ({error})',
        name=error.name,
    ) from error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from prometheus_client import Metric as Family

    from carpool.pool.histogram import Counted
    from carpool.telemetry.figures import Report, Total

logger = logging.getLogger("carpool.telemetry")

# Told before the first one: what begins with 1 has not grown as far as `increase()` can tell.
CLOSED_FOR = ("lifetime", "idle", "broken", "drained")

FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
ENDS = [*map(floatToGoString, BOUNDS), "+Inf"]  # of the buckets


class CarpoolCollector:
    """Collects the figures of a host's pools, for a registry of prometheus_client.

    `directory` is where the processes publish, None for the usual place. `pools` are the names of
    those to tell of; None: the ones of this project's settings, or all where no settings are.
    May be used by any thread; there is nothing in it that a fork could break.
    """

    def __init__(self, directory: str | None = None, pools: Collection[str] | None = None) -> None:
        self.directory = directory
        self.pools = pools

    def describe(self) -> Iterable[Family]:
        """Return what `collect` returns, without figures, so that to register costs nothing."""
        return [_up(1), *families([], 0.0), _faults(0)]

    def collect(self) -> Iterable[Family]:
        """Return all metrics; only `carpool_up`, as 0, if the figures cannot be had.

        That is logged, not raised: one collector's exception would end the whole scrape.
        """
        try:
            report = gather(self.directory or ours.directory())
            if self.pools is not None:
                return [_up(1), *report_families(report, self.pools)]
            faults = [*report["faults"], *ours.faults()]
            return [_up(1), *report_families({**report, "faults": faults}, ours.names())]
        except Exception:
            logger.exception("Prometheus is told nothing of the pools", extra={"pool": ""})
            return [_up(0)]


def report_families(report: Report, pools: Collection[str] | None) -> Iterator[Family]:
    """Return the metrics of a report, of those pools alone if some are named.

    Those of a broker that does not answer are left out: zeros would look as if it began anew.
    """
    mine = [
        each
        for each in report["pools"]
        if (pools is None or each["name"] in pools)
        and (each["share"] != "host" or each["broker"] is not None)
    ]
    yield from families(mine, report["at"])
    yield _faults(len(report["faults"]))


def families(pools: Iterable[Total], at: float) -> Iterator[Family]:
    """Return the metrics of pools whose figures were gathered at that time."""
    figures = [told(each, at) for each in pools]
    for metric in METRICS:
        if metric.prometheus:
            yield _family(metric, figures)
    info = InfoMetricFamily(POOL_INFO, "What kind of pool it is", labels=["pool"])
    for each in figures:
        info.add_metric([_label(each["name"])], each["info"])
    yield info


def told(total: Total, at: float) -> dict[str, Any]:
    """Return the figures of a pool with those that are worked out from them."""
    figures: dict[str, Any] = dict(total)
    return {
        **figures,
        "connections": {state: figures[state] for state in STATES},
        "closed": {**dict.fromkeys(CLOSED_FOR, 0), **total["closed"]},
        "processes": len(total["parts"]),
        "connect_failing": bool(total["last_error"]),
        "age": max((at - part["at"] for part in total["parts"]), default=0.0),
        "info": {
            "aliases": _label(",".join(total["aliases"])),
            **{key: _label(figures[key]) for key in ("vendor", "database", "mode", "share")},
        },
    }


def _family(metric: Metric, pools: list[dict[str, Any]]) -> Family:
    labels = ["pool", metric.label] if metric.label else ["pool"]
    family = FAMILIES[metric.kind](
        metric.prometheus, metric.description, labels=labels, unit=_unit(metric)
    )
    for figures in pools:
        name, value = _label(figures["name"]), figures[metric.figure]
        if metric.label:
            for label, each in value.items():
                family.add_metric([name, _label(label)], each)
        elif metric.kind == "histogram":
            family.add_metric([name], *_cumulative(value))
        else:
            family.add_metric([name], value)
    return family  # type: ignore[no-any-return] # they have no common constructor to go by


def _label(value: str) -> str:
    """Return what UTF-8 can say: a path on disk can have bytes that it cannot."""
    return value.encode(errors="replace").decode()


def _unit(metric: Metric) -> str:
    return "seconds" if metric.unit == "s" else ""


def _cumulative(counted: Counted) -> tuple[list[tuple[str, float]], float]:
    """Return buckets that each count all that is shorter, too, as Prometheus has them; the sum."""
    return list(zip(ENDS, accumulate(counted["buckets"]), strict=True)), counted["sum"]


def _up(value: int) -> Family:
    return GaugeMetricFamily(UP, "1 if the figures of the pools could be had", value)


def _faults(value: int) -> Family:
    return GaugeMetricFamily(
        FAULTS, "Processes' figures and databases' settings that could not be read", value
    )


def register(
    registry: CollectorRegistry = REGISTRY,
    directory: str | None = None,
    pools: Collection[str] | None = None,
) -> CarpoolCollector:
    """Add the pools to what a registry exports; the rest as for `CarpoolCollector`.

    Returns the collector, for `registry.unregister`. Raises ValueError if it is registered already.
    """
    collector = CarpoolCollector(directory, pools)
    registry.register(collector)
    return collector


@never_cache
@require_safe
def view(request: HttpRequest) -> HttpResponse:
    """Answer Prometheus with the pools' metrics, and no others.

    Whoever may ask learns the names of databases: let nobody but Prometheus reach it.
    """
    registry = CollectorRegistry(auto_describe=False)
    register(registry)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)
