"""The table at the end, and what it means."""

import os
import platform
import shlex
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from examples.demo.contenders import CARPOOL
from examples.demo.measure import CLIENTS
from examples.demo.site import ROOT, THREADS, WORKERS

HEADS = (
    ("", ""),
    ("requests/s", ""),
    ("lowest to", "highest"),
    ("median", "ms"),
    ("99 %", "ms"),
    ("CPU ms/", "request"),
    ("requests", "in all"),
    ("statements", "per request"),
    ("connections", "opened"),
)


def table(results):
    """Return the lines of the table: one row for each contender."""
    rows = [*zip(*HEADS, strict=True), *map(row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip()
        for first, *rest in rows
    ]


def row(result):
    rates = result.all("rate")
    return (
        result.contender.title,
        f"{result.middle('rate'):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{result.middle('median'):.1f}",
        f"{result.middle('slow'):.1f}",
        f"{result.middle('cpu'):.2f}",
        f"{result.requests:,}",
        f"{result.statements / result.requests:.6g}",
        f"{result.connections:,}",
    )


def pools(results):
    """Return what `carpool status` said of the site with carpool under load."""
    [result] = [each for each in results if each.contender is CARPOOL]
    return [
        "What `carpool status` said of its pools meanwhile, as of the last second:",
        *(f"  {line}".rstrip() for line in result.status),
    ]


def failures(results):
    """Return a line for each contender that gave another answer than the one expected."""
    return [
        f"{result.contender.title}: {sum(result.failures.values())} of {result.requests} requests"
        f" failed: {', '.join(f'{status} x {n}' for status, n in result.failures.items())}"
        f"\nThe end of its log:\n{result.log}"
        for result in results
        if result.failures
    ]


def setting(server):
    """Return what ran on what."""
    [[postgresql]] = server.query("SHOW server_version")
    packages = ", ".join(f"{name} {version(name)}" for name in ("Django", "psycopg", "gunicorn"))
    return (
        f"PostgreSQL {postgresql}, Python {platform.python_version()}, {packages};"
        f" {WORKERS} workers x {THREADS} threads, {CLIENTS} clients, {os.cpu_count()} processors"
    )


def explanation(rounds, seconds):
    return f"""\
{rounds} x {seconds:g} s for each, taking turns; the figures are medians. Clients, workers, server
share this machine; the server does not flush to disk: the rows compare with each other, here
and now, and with nothing else. Requests, statements and connections include the warming up; the
last two are counted by PostgreSQL. Setting up a new connection can take a statement of its own.
"persistent" is stock Django with CONN_MAX_AGE=600: each thread keeps a connection for itself.
To look longer: python -m examples.demo --rounds 9 --seconds 10"""


def directions(site, url, environment, password):
    """Return where to find what, with commands to be typed in another terminal."""
    told = {"CARPOOL_DIR": str(site.folder)}
    database = {name: value for name, value in environment.items() if "_DB_" in name and value}
    found = [
        ("The shop is at", url),
        ("Its admin is at", f"{url}admin/"),
        ("Its pools are at", f"{url}admin/carpool_web/pool/"),
        ("For Prometheus", f"{url}metrics" if find_spec("prometheus_client") else ""),
        ("Name and password", f"admin, {password}"),
        ("In a terminal here", typed(told, "carpool", "top")),
        ("", typed(told | database, "examples.shop", "carpool", "status")),
        ("End with", "Ctrl-C"),
    ]
    return [f"{name:<20}{text}" for name, text in found if text]


def typed(environment, *module):
    """Return a command that runs this Python on a module, as it is to be typed in the checkout."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    python = Path(sys.executable)
    python = python.relative_to(ROOT) if python.is_relative_to(ROOT) else python
    return " ".join([*settings, shlex.quote(str(python)), "-m", *module])
