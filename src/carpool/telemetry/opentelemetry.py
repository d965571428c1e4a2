"""Tells OpenTelemetry of the pools of this process.

Needs `pip install "django-carpool[opentelemetry]"`: its API alone; what exports is the
application's choice. Each process tells of itself, as all of OpenTelemetry does. Nothing is done
on a request's path: counts are read when a reader asks for them, and durations are recorded by the
thread that publishes figures once a second (or by one that gathers the figures of all processes).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from carpool import __version__
from carpool.pool.histogram import BOUNDS
from carpool.telemetry import publisher
from carpool.telemetry.names import CONNECTIONS, METRICS, POOL_NAME, STATE, Metric

try:
    from opentelemetry import metrics
    from opentelemetry.metrics import Observation
except ImportError as error:
    raise ImportError(
        f'Metrics for OpenTelemetry need: pip install "django-carpool[opentelemetry]" ({error})',
        name=error.name,
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider

    from carpool.telemetry.figures import PoolFigures

MOST = 2**10  # durations of a kind recorded at a time; each costs the SDK 8 microseconds


class Instruments:
    """The instruments of one provider. A meter has no way to give them up: they fall silent."""

    def __init__(self, meter: Meter) -> None:
        self.telling = False
        self.histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            if metric.opentelemetry:
                self._make(meter, metric)

    def _make(self, meter: Meter, metric: Metric) -> None:
        words: dict[str, Any] = {"unit": metric.unit, "description": metric.description}
        name = metric.opentelemetry
        if metric.kind == "histogram":
            self.histograms[metric.figure] = meter.create_histogram(
                name, **words, explicit_bucket_boundaries_advisory=BOUNDS
            )
        elif metric.kind == "counter":
            meter.create_observable_counter(name, [self._observing(metric)], **words)
        else:
            meter.create_observable_up_down_counter(name, [self._observing(metric)], **words)

    def _observing(self, metric: Metric) -> Callable[[CallbackOptions], Iterator[Observation]]:
        """Return what a reader calls for the present values of a metric."""
        read = _by_state if metric is CONNECTIONS else _one(metric.figure)

        def observe(_: CallbackOptions) -> Iterator[Observation]:
            if self.telling:
                # Pools of one name differ in their options alone; to a reader they are one.
                for (name, state), value in _sums(read).items():
                    more = {STATE: state} if state else {}
                    yield Observation(value, {POOL_NAME: name, **more})

        return observe

    def record(self, pool: str, kind: str, seconds: Sequence[float]) -> None:
        """Record durations; the publisher calls it. Histograms that it does not know are left.

        Of more than `MOST` at a time an even sample is recorded.
        """
        histogram = self.histograms.get(kind)
        if histogram is not None:
            for each in seconds[:: -(-len(seconds) // MOST) or 1]:
                histogram.record(each, {POOL_NAME: pool})


def _one(figure: str) -> Callable[[PoolFigures], dict[str, int]]:
    return lambda figures: {"": figures[figure]}  # type: ignore[literal-required] # of the table


def _by_state(figures: PoolFigures) -> dict[str, int]:
    """Return connections by the conventions' two states.

    What is being opened, reset or closed counts as used: nobody can have it now, and it takes one
    of `max`, so that idle and used together are to be compared with that.
    """
    used = ("leased", "resetting", "opening", "closing")
    total = sum(figures[each] for each in used)  # type: ignore[literal-required] # the above
    return {"idle": figures["idle"], "used": total}


def _sums(read: Callable[[PoolFigures], dict[str, int]]) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for figures in publisher.figures():
        sums.update({(figures["name"], state): value for state, value in read(figures).items()})
    return sums


_made: dict[MeterProvider | None, Instruments] = {}


def instrument(meter_provider: MeterProvider | None = None) -> None:
    """Tell a provider of this process' pools from now on; None: the global one.

    Call it once, when the application starts; more calls change nothing, and one with another
    provider moves all to that. A process forked afterwards tells of its own pools.
    """
    if meter_provider not in _made:
        meter = metrics.get_meter("carpool", __version__, meter_provider)
        _made[meter_provider] = Instruments(meter)
    uninstrument()
    _made[meter_provider].telling = True
    publisher.listeners.append(_made[meter_provider].record)


def uninstrument() -> None:
    """Tell nothing any more."""
    for each in _made.values():
        if each.telling:
            each.telling = False
            publisher.listeners.remove(each.record)
