"""What OpenTelemetry's SDK reads of real pools."""

import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader, Sum

from carpool import PoolTimeout
from carpool.pool.histogram import BOUNDS
from carpool.telemetry import opentelemetry, publisher
from carpool.telemetry.names import METRICS, POOL_NAME, STATE
from tests.probing import eventually
from tests.telemetry.samples import sample_figures


class Reading:
    """A provider of its own, and what its reader reads of one pool."""

    def __init__(self, pool):
        self._pool = pool
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def metrics(self):
        """Return all metrics by name."""
        found = self._reader.get_metrics_data()
        resources = found.resource_metrics if found else ()
        return {
            metric.name: metric
            for resource in resources
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name):
        """Return the data points of the pool by its state, "" where there are no states."""
        metric = self.metrics().get(name)
        return {
            point.attributes.get(STATE, ""): point
            for point in (metric.data.data_points if metric else ())
            if point.attributes[POOL_NAME] == self._pool
        }

    def value(self, name, state=""):
        return self.points(name)[state].value


@pytest.fixture
def name(request):
    """A name that no other test's pool has: those are told of for a moment after their end."""
    return f'shop, "read" only: {request.node.name}'


@pytest.fixture
def reading(name):
    found = Reading(name)
    yield found
    opentelemetry.uninstrument()
    found.provider.shutdown()


@pytest.fixture
def connection(django_databases, tmp_path, name):
    """Django's connection to a file, by a pool of two."""
    options = {"pool": {"name": name, "max_size": 2}}
    entry = {
        "ENGINE": "carpool.sqlite3",
        "NAME": str(tmp_path / "shop.sqlite3"),
        "OPTIONS": options,
    }
    connection = django_databases(default=entry)["default"]
    yield connection
    connection.close()
    connection.close_pool()


def use(connection):
    """Take a connection and give it back, as a request does."""
    connection.ensure_connection()
    connection.close()


def figures(name):
    (found,) = [each for each in publisher.figures() if each["name"] == name]
    return found


def test_names_units_and_kinds_are_the_tables(reading, connection):
    opentelemetry.instrument(reading.provider)
    use(connection)
    pool = connection.pool
    with pool.connection(), pool.connection():
        waiter = threading.Thread(target=lambda: pool.release(pool.acquire(timeout=60)))
        waiter.start()
        eventually(lambda: pool.snapshot().waiting)
    waiter.join()
    publisher.publish()
    found = reading.metrics()

    table = {each.opentelemetry: each for each in METRICS if each.opentelemetry}
    assert found.keys() == table.keys()
    for name, metric in found.items():
        assert metric.unit == table[name].unit, name
        assert metric.description == table[name].description, name
        if table[name].kind == "histogram":
            assert isinstance(metric.data, Histogram), name
            assert metric.data.data_points[0].explicit_bounds == BOUNDS, name
        else:
            assert isinstance(metric.data, Sum), name
            assert metric.data.is_monotonic == (table[name].kind == "counter"), name
        states = {"idle", "used"} if name == "db.client.connection.count" else {""}
        assert reading.points(name).keys() == states, name


def test_counts_are_the_pools(reading, connection):
    opentelemetry.instrument(reading.provider)
    pool = connection.pool
    first = pool.acquire()
    pool.release(pool.acquire())
    pool.resize(1)

    assert reading.value("db.client.connection.count", "used") == 1
    assert reading.value("db.client.connection.count", "idle") == 1
    assert reading.value("db.client.connection.max") == 2
    assert reading.value("db.client.connection.idle.max") == 2
    assert reading.value("db.client.connection.idle.min") == 1
    assert reading.value("db.client.connection.pending_requests") == 0
    assert reading.value("db.client.connection.timeouts") == 0

    second = pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0.01)
    assert reading.value("db.client.connection.count", "used") == 2
    assert reading.value("db.client.connection.timeouts") == 1

    waiter = threading.Thread(target=lambda: pool.release(pool.acquire(timeout=60)))
    waiter.start()
    eventually(lambda: pool.snapshot().waiting)
    assert reading.value("db.client.connection.pending_requests") == 1
    pool.release(first)
    waiter.join()
    assert reading.value("db.client.connection.pending_requests") == 0
    pool.release(second)


def test_what_is_neither_idle_nor_leased_counts_as_used(reading, monkeypatch, name):
    made = sample_figures(name=name, open=6, idle=1, leased=2, resetting=1, opening=1, closing=1)
    monkeypatch.setattr(publisher, "figures", lambda: [made])
    opentelemetry.instrument(reading.provider)

    assert reading.value("db.client.connection.count", "idle") == 1
    assert reading.value("db.client.connection.count", "used") == 5


def test_pools_of_one_name_are_added_up(reading, monkeypatch, name):
    made = [sample_figures(name=name, idle=1), sample_figures(name=name, idle=4)]
    monkeypatch.setattr(publisher, "figures", lambda: made)
    opentelemetry.instrument(reading.provider)

    assert reading.value("db.client.connection.count", "idle") == 5
    assert reading.value("db.client.connection.max") == 20


def test_histograms_count_what_the_pool_counts(reading, connection, name):
    opentelemetry.instrument(reading.provider)
    for _ in range(5):
        use(connection)
    publisher.publish()
    told = figures(name)

    for kind in ("use_time", "create_time"):
        (point,) = reading.points(f"db.client.connection.{kind}").values()
        assert [*point.bucket_counts] == told[kind]["buckets"], kind
        assert point.sum == pytest.approx(told[kind]["sum"]), kind
    assert sum(told["use_time"]["buckets"]) == 5


def test_what_was_before_is_not_recorded(reading, connection):
    use(connection)
    publisher.publish()
    opentelemetry.instrument(reading.provider)

    assert reading.points("db.client.connection.use_time") == {}


def test_instrumenting_twice_is_the_same_as_once(reading, connection, caplog):
    opentelemetry.instrument(reading.provider)
    opentelemetry.instrument(reading.provider)
    use(connection)
    publisher.publish()

    assert reading.points("db.client.connection.use_time")[""].count == 1
    assert reading.value("db.client.connection.count", "idle") == 1
    assert caplog.text == ""


def test_uninstrumented_it_tells_nothing_and_it_can_begin_again(reading, connection, caplog):
    opentelemetry.instrument(reading.provider)
    opentelemetry.uninstrument()
    use(connection)
    publisher.publish()
    assert reading.points("db.client.connection.count") == {}
    assert reading.points("db.client.connection.use_time") == {}

    opentelemetry.instrument(reading.provider)
    use(connection)
    publisher.publish()
    assert reading.value("db.client.connection.count", "idle") == 1
    assert reading.points("db.client.connection.use_time")[""].count == 1
    assert caplog.text == ""


def test_another_provider_takes_over(reading, connection, name):
    other = Reading(name)
    opentelemetry.instrument(reading.provider)
    opentelemetry.instrument(other.provider)
    use(connection)
    publisher.publish()

    assert reading.metrics() == {}
    assert other.points("db.client.connection.use_time")[""].count == 1
    opentelemetry.uninstrument()
    other.provider.shutdown()


def run(text, without):
    program = f"import sys; sys.modules[{without!r}] = None\n{text}"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_without_the_api_the_error_names_the_extra():
    ran = run("import carpool.telemetry.opentelemetry", without="opentelemetry")

    assert 'pip install "django-carpool[opentelemetry]"' in ran.stderr.splitlines()[-1]


def test_the_api_alone_will_do():
    text = "from carpool.telemetry import opentelemetry as o; o.instrument(); o.uninstrument()"
    ran = run(text, without="opentelemetry.sdk")

    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("noted", "recorded"), [(0, 0), (1, 1), (1024, 1024), (1025, 513), (16384, 1024)]
)
def test_of_very_many_durations_an_even_sample_is_recorded(reading, name, noted, recorded):
    """So that a process that does nothing but acquire and release has most of its time for that."""
    opentelemetry.instrument(reading.provider)
    for listener in publisher.listeners:
        listener(name, "use_time", [*range(noted)])
    points = reading.points("db.client.connection.use_time")
    if not noted:
        assert points == {}
        return
    assert points[""].count == recorded
    assert points[""].sum / recorded == pytest.approx((noted - 1) / 2, abs=8)
