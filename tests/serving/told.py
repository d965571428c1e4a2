"""What each who tells of a pool says of it, in the same words: status, page, metrics, server."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from carpool.telemetry.gather import gather
from tests.probing import ROOT, STUCK

FIGURES = "admin/carpool_web/pool/figures/"


@dataclass(frozen=True)
class Told:
    """The figures that status, page and metrics have in common."""

    processes: int
    capacity: int
    open: int
    leased: int
    idle: int
    waiting: int
    acquires: int
    waits: int
    timeouts: int
    refusals: int
    opened: int
    open_errors: int
    closed: dict = field(default_factory=dict)  # by reason

    def counts(self):
        """Return what may only grow."""
        names = ("acquires", "waits", "timeouts", "refusals", "opened", "open_errors")
        closed = {("closed", reason): count for reason, count in self.closed.items()}
        return Counter({name: getattr(self, name) for name in names} | closed)


ONES = tuple(name for name in Told.__dataclass_fields__ if name not in ("processes", "closed"))


def by_board(site):
    """Return what `carpool.telemetry` tells a program."""
    pools = gather(str(site.place.root))["pools"]
    return pools[0] if pools else None


def of_report(pool):
    """Return what a report tells of a pool."""
    ones = {name: pool[name] for name in ONES}
    return Told(processes=len(pool["parts"]), closed=pool["closed"], **ones)


def by_status(site):
    """Return what `manage.py carpool status --json` says, and its count of the server's."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "carpool", "status", "--json"],
        cwd=ROOT,
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=STUCK,
        check=False,
    )
    assert not done.stderr, done.stderr
    document = json.loads(done.stdout)
    [pool] = document["pools"]
    return pool, document["server"][pool["name"]]["sessions"]


def by_page(site):
    """Return what a worker shows in the admin, and the open connections by process."""
    [pool] = site.answer(FIGURES)["pools"]
    tables = {each["caption"]: each for each in pool["small"] + pool["large"]}
    now = {each["name"]: each for each in pool["now"]}
    acquires, connections = (counts(tables[each]) for each in ("Acquires", "Connections"))
    states = {part["state"]: number(part["count"]) for part in pool["bar"]["parts"]}
    opens = {
        int(row["key"]): number(row["cells"][1])
        for row in tables["Processes"]["rows"]
        if row["cells"][1] != "0"
    }
    told = Told(
        processes=len(tables["Processes"]["rows"]),
        capacity=number(now["open"]["of"].removeprefix("of ")),
        open=number(now["open"]["value"]),
        leased=number(now["in use"]["value"]),
        idle=states["idle"],
        waiting=number(now["waiting"]["value"]),
        acquires=acquires["in all"],
        waits=acquires["had to wait"],
        timeouts=acquires["timed out"],
        refusals=acquires["refused"],
        opened=connections["opened"],
        open_errors=connections["failed to open"],
        closed={
            name.removeprefix("closed: "): count
            for name, count in connections.items()
            if name.startswith("closed: ")
        },
    )
    return told, opens


def counts(table):
    return {row["cells"][0]: number(row["cells"][1]) for row in table["rows"]}


def number(text):
    return int(text.replace(",", ""))


METRICS = {
    "acquires": "carpool_acquires_total",
    "waits": "carpool_waits_total",
    "timeouts": "carpool_timeouts_total",
    "refusals": "carpool_refusals_total",
    "opened": "carpool_connections_opened_total",
    "open_errors": "carpool_connect_errors_total",
    "processes": "carpool_processes",
    "capacity": "carpool_capacity",
    "waiting": "carpool_waiting",
}


def by_metrics(site):
    """Return what a worker tells Prometheus."""
    status, body = site.ask("metrics")
    assert status == 200, site.failure("/metrics")
    samples = [each for family in text_string_to_metric_families(body) for each in family.samples]
    ones = {each.name: each.value for each in samples}
    states = labelled(samples, "carpool_connections", "state")
    by_reason = labelled(samples, "carpool_connections_closed_total", "reason")
    return Told(
        open=sum(states.values()) - states["opening"],
        leased=states["leased"],
        idle=states["idle"],
        closed={reason: number for reason, number in by_reason.items() if number},
        **{name: ones[metric] for name, metric in METRICS.items()},
    )


def labelled(samples, name, label):
    return {each.labels[label]: each.value for each in samples if each.name == name}
