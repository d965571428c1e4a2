"""What the figures of pools are called in metrics: the one table of all names.

OpenTelemetry's are those of its conventions for database client connection pools. They are still
in development there, so a change of theirs is a change of this table alone.
https://opentelemetry.io/docs/specs/semconv/db/database-metrics/#connection-pools
Prometheus': https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

# Attributes of OpenTelemetry's; the values of the second are "idle" and "used".
POOL_NAME: Final = "db.client.connection.pool.name"
STATE: Final = "db.client.connection.state"

# What is told of the collector itself, in Prometheus.
UP: Final = "carpool_up"
FAULTS: Final = "carpool_board_faults"
POOL_INFO: Final = "carpool_pool"  # Prometheus appends `_info`


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure under the names that it has outside. A name is "" where it is not told."""

    figure: str  # of `Total`, or one that `prometheus.told` works out
    kind: Literal["counter", "gauge", "histogram"]  # OpenTelemetry has an UpDownCounter for gauges
    unit: str  # UCUM, as OpenTelemetry wants it
    prometheus: str
    description: str
    opentelemetry: str = ""
    label: str = ""  # of Prometheus; the figure is a dict from its values to numbers


CONNECTIONS: Final = Metric(
    "connections",
    "gauge",
    "{connection}",
    "carpool_connections",
    "Server connections, by what they are doing",
    "db.client.connection.count",
    "state",
)

METRICS: Final = (
    CONNECTIONS,
    Metric(
        "max_size",
        "gauge",
        "{connection}",
        "carpool_max_size",
        "Most server connections that one process may open; with share: host, all of them",
        "db.client.connection.max",
    ),
    # All of a pool may be idle at once. `max_idle` closes them one by one, but is no limit.
    Metric(
        "max_size",
        "gauge",
        "{connection}",
        "",
        "Most idle connections that the pool may have: max_size",
        "db.client.connection.idle.max",
    ),
    Metric(
        "min_size",
        "gauge",
        "{connection}",
        "carpool_min_size",
        "Server connections that are kept open, idle or not",
        "db.client.connection.idle.min",
    ),
    Metric(
        "capacity",
        "gauge",
        "{connection}",
        "carpool_capacity",
        "Most server connections that all processes of now may open together",
    ),
    Metric(
        "pinned",
        "gauge",
        "{connection}",
        "carpool_pinned",
        "Leased connections that are held for their session state",
    ),
    Metric(
        "waiting",
        "gauge",
        "{request}",
        "carpool_waiting",
        "Requests that wait for a connection now",
        "db.client.connection.pending_requests",
    ),
    Metric(
        "longest_wait",
        "gauge",
        "s",
        "carpool_longest_wait_seconds",
        "How long the first of those that wait now has waited",
    ),
    Metric(
        "timeout",
        "gauge",
        "s",
        "carpool_timeout_seconds",
        "Longest wait for a connection, as the option timeout says",
    ),
    Metric(
        "peak_leased",
        "gauge",
        "{connection}",
        "carpool_peak_leased",
        "Most connections seen leased at once in a process, summed over processes: an upper bound",
    ),
    Metric(
        "peak_waiting",
        "gauge",
        "{request}",
        "carpool_peak_waiting",
        "Most requests that waited for room at once in a process, summed: an upper bound",
    ),
    Metric(
        "processes",
        "gauge",
        "{process}",
        "carpool_processes",
        "Processes that have the pool",
    ),
    Metric(
        "paused",
        "gauge",
        "1",
        "carpool_paused",
        "1 while the pool is paused",
    ),
    Metric(
        "connect_failing",
        "gauge",
        "1",
        "carpool_connect_failing",
        "1 while the last attempt to connect has failed",
    ),
    Metric(
        "age",
        "gauge",
        "s",
        "carpool_figures_age_seconds",
        "How long ago the oldest of the processes' figures was written",
    ),
    Metric(
        "acquires",
        "counter",
        "{acquire}",
        "carpool_acquires_total",
        "Connections taken out of the pool",
    ),
    Metric(
        "waits",
        "counter",
        "{acquire}",
        "carpool_waits_total",
        "Acquires that found no room: all taken, a pause, or a server that is down",
    ),
    Metric(
        "timeouts",
        "counter",
        "{timeout}",
        "carpool_timeouts_total",
        "Acquires that got no connection in time",
        "db.client.connection.timeouts",
    ),
    Metric(
        "refusals",
        "counter",
        "{acquire}",
        "carpool_refusals_total",
        "Acquires refused at once: too many waiting, the server down, the pool closed",
    ),
    Metric(
        "opened",
        "counter",
        "{connection}",
        "carpool_connections_opened_total",
        "Server connections opened",
    ),
    Metric(
        "open_errors",
        "counter",
        "{connection}",
        "carpool_connect_errors_total",
        "Attempts to connect that have failed",
    ),
    Metric(
        "closed",
        "counter",
        "{connection}",
        "carpool_connections_closed_total",
        "Server connections closed, by reason",
        label="reason",
    ),
    Metric(
        "resets",
        "counter",
        "{reset}",
        "carpool_resets_total",
        "Sessions cleaned between two users",
    ),
    Metric(
        "leaks",
        "counter",
        "{connection}",
        "carpool_leaks_total",
        "Connections held for longer than the option leak_warning says",
    ),
    Metric(
        "returns_bad",
        "counter",
        "{connection}",
        "carpool_returns_bad_total",
        "Connections that came back broken",
    ),
    Metric(
        "pins",
        "counter",
        "{pin}",
        "carpool_pins_total",
        "Leases held for their session state, by reason",
        label="reason",
    ),
    Metric(
        "wait_time",
        "histogram",
        "s",
        "carpool_wait_time_seconds",
        "How long those waited that found no room, in vain or not",
        "db.client.connection.wait_time",
    ),
    Metric(
        "use_time",
        "histogram",
        "s",
        "carpool_use_time_seconds",
        "From acquire to release",
        "db.client.connection.use_time",
    ),
    Metric(
        "create_time",
        "histogram",
        "s",
        "carpool_create_time_seconds",
        "How long it took to open a connection",
        "db.client.connection.create_time",
    ),
)
