"""What Prometheus reads of real pools, in this process and in others."""

import os
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from carpool.telemetry import ours, prometheus
from tests.probing import ROOT

NAME = "shop of four workers"

# A worker: it uses its pool as often as it is told, holds one connection, says so, and waits.
WORKER = """
import sys
import django
from django.conf import settings

pool = {"name": sys.argv[2], "max_size": 3}
database = {"ENGINE": "carpool.sqlite3", "NAME": sys.argv[1], "OPTIONS": {"pool": pool}}
settings.configure(DATABASES={"default": database})
django.setup()
from django.db import connection
from carpool.telemetry import publisher

for _ in range(int(sys.argv[3])):
    connection.close()
    connection.cursor().execute("SELECT 1").close()
publisher.publish()
print("ready", flush=True)
sys.stdin.read()
connection.close()
"""


@pytest.fixture
def directory(tmp_path):
    """A runtime directory of the workers' own."""
    path = tmp_path / "runtime"
    path.mkdir(mode=0o700)
    return str(path)


@pytest.fixture
def start(directory, tmp_path):
    """Call it with a number of acquires; returns a worker that has done so many."""
    started = []

    def start(acquires):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "shop.db"), NAME, str(acquires)],
            cwd=ROOT,
            env=os.environ | {"CARPOOL_DIR": directory},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(worker)
        assert worker.stdout.readline() == "ready\n"
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def scrape(directory, name=NAME):
    """Return what is told of one pool, by name, and the state if there is one."""
    registry = CollectorRegistry()
    prometheus.register(registry, directory, pools={name})
    return {
        (each.name, *([each.labels["state"]] if "state" in each.labels else [])): each.value
        for family in registry.collect()
        for each in family.samples
        if each.labels.get("pool") == name
    }


def test_any_process_tells_of_all_and_no_counter_goes_down(start, directory):
    first, second = start(5), start(7)
    found = scrape(directory)

    assert found["carpool_processes",] == 2
    assert found["carpool_capacity",] == 6
    assert found["carpool_acquires_total",] == 12
    assert found["carpool_use_time_seconds_count",] == 10  # two have not come back yet
    assert found["carpool_connections", "leased"] == 2

    first.communicate("")
    ended = scrape(directory)
    assert ended["carpool_processes",] == 1
    assert ended["carpool_acquires_total",] == 12
    assert ended["carpool_connections", "leased"] == 1

    second.kill()  # it cannot say good-bye
    second.wait()
    third = start(1)
    assert scrape(directory)["carpool_acquires_total",] == 13
    third.communicate("")


def test_this_process_own_figures_are_of_this_moment(django_databases, tmp_path):
    options = {"pool": {"name": "my own", "max_size": 3}}
    entry = {"ENGINE": "carpool.sqlite3", "NAME": str(tmp_path / "db"), "OPTIONS": options}
    connection = django_databases(default=entry)["default"]
    try:
        pool = connection.pool
        one = pool.acquire()
        assert scrape(None, "my own")["carpool_connections", "leased"] == 1
        pool.release(one)
        found = scrape(None, "my own")
        assert found["carpool_connections", "leased"] == 0
        assert found["carpool_acquires_total",] == found["carpool_use_time_seconds_count",] == 1
    finally:
        connection.close_pool()


def test_the_pools_of_the_settings_are_ours(django_databases, tmp_path):
    engine = {"ENGINE": "carpool.sqlite3"}
    django_databases(
        default={**engine, "NAME": str(tmp_path / "a"), "OPTIONS": {"pool": {"name": "mine"}}},
        other={**engine, "NAME": str(tmp_path / "b")},
        unpooled={**engine, "NAME": str(tmp_path / "c"), "OPTIONS": {"pool": False}},
        memory={**engine, "NAME": ":memory:"},
        stock={"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "d")},
    )

    names = ours.names()
    assert "mine" in names
    (other,) = names - {"mine"}
    assert str(tmp_path / "b") in other


def test_a_pools_name_is_the_one_that_it_tells(django_databases, tmp_path):
    entry = {"ENGINE": "carpool.sqlite3", "NAME": str(tmp_path / "shop.db")}
    connection = django_databases(default=entry)["default"]
    try:
        assert ours.names() == {connection.pool.name}
    finally:
        connection.close_pool()


def test_without_settings_there_is_no_telling_whose_pools_are_whose():
    program = "from carpool.telemetry import ours; assert ours.names() is None"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)

    assert ran.returncode == 0
