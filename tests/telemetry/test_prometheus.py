"""What Prometheus reads of reports that are made up: parsed as Prometheus does."""

import logging
import subprocess
import sys

import pytest
from django.test import RequestFactory
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from carpool.host.places import NoBroker
from carpool.pool.histogram import BOUNDS, quantile
from carpool.telemetry import prometheus
from carpool.telemetry.names import METRICS
from tests.telemetry.samples import NOW, counted, sample_part, sample_pool, sample_report

NAME = "shop on db.internal as shop"


@pytest.fixture
def scrape(monkeypatch):
    """Call it with a report, or with what `gather` raises; returns the samples of a scrape."""

    def scrape(report, pools=None, also=()):
        def gather(directory):
            if isinstance(report, Exception):
                raise report
            return report

        monkeypatch.setattr(prometheus, "gather", gather)
        registry = CollectorRegistry(auto_describe=True)
        prometheus.register(registry, pools=pools)
        for name in also:
            Gauge(name, "another module's", registry=registry)
        return samples(generate_latest(registry).decode())

    return scrape


def samples(text, parse=text_string_to_metric_families):
    """Return the values by name and labels."""
    return {
        (each.name, *sorted(each.labels.items())): each.value
        for family in parse(text)
        for each in family.samples
    }


def of(found, name, **labels):
    return found[(name, *sorted({"pool": NAME, **labels}.items()))]


def test_every_figure_arrives_as_it_is(scrape):
    pool = sample_pool()
    found = scrape(sample_report(pool), [NAME])

    for each in METRICS:
        if each.prometheus and each.kind != "histogram" and each.figure in pool:
            value = pool[each.figure]
            told = value.items() if each.label else [(None, value)]
            for label, number in told:
                labels = {each.label: label} if label else {}
                assert of(found, each.prometheus, **labels) == number, each.prometheus


def test_what_is_worked_out(scrape):
    pool = sample_pool(idle=2, leased=3, resetting=1, paused=True, last_error="refused")
    pool["parts"] = [
        sample_part(1),
        {**sample_part(2), "at": NOW - 7.5},
        {**sample_part(3), "at": NOW - 2},
    ]
    found = scrape(sample_report(pool), [NAME])

    states = ("idle", "leased", "resetting", "opening", "closing")
    assert [of(found, "carpool_connections", state=each) for each in states] == [2, 3, 1, 0, 0]
    assert of(found, "carpool_processes") == 3
    assert of(found, "carpool_figures_age_seconds") == 7.5
    assert of(found, "carpool_paused") == 1
    assert of(found, "carpool_connect_failing") == 1
    assert found["carpool_up",] == 1
    assert found["carpool_board_faults",] == 0
    told = {"vendor": "postgresql", "database": "shop", "mode": "transaction", "share": "process"}
    assert of(found, "carpool_pool_info", aliases="default", **told) == 1


def test_histograms_are_cumulative_and_give_the_same_quantiles(scrape):
    durations = [0.0001, 0.0002, 0.03, 0.03, 4.0, 99.0]
    wait_time = counted(*durations)
    found = scrape(sample_report(sample_pool(wait_time=wait_time)), [NAME])

    name = "carpool_wait_time_seconds"
    for bound in BOUNDS:
        below = sum(each <= bound for each in durations)
        assert of(found, f"{name}_bucket", le=str(bound)) == below
    assert of(found, f"{name}_bucket", le="+Inf") == of(found, f"{name}_count") == 6
    assert of(found, f"{name}_sum") == pytest.approx(sum(durations))
    assert quantile(wait_time, 0.5) == pytest.approx(0.0375)  # of the bucket from 0.025 to 0.05


def test_a_pool_whose_processes_have_all_ended_is_still_counted(scrape):
    pool = sample_pool(acquires=12, open=0, idle=0, leased=0)
    pool["parts"] = []
    found = scrape(sample_report(pool), [NAME])

    assert of(found, "carpool_acquires_total") == 12
    assert of(found, "carpool_processes") == of(found, "carpool_figures_age_seconds") == 0


def test_reasons_for_closing_are_there_before_the_first_close(scrape):
    found = scrape(sample_report(sample_pool(closed={"idle": 3, "evicted": 1})), [NAME])

    told = {dict(rest)["reason"]: n for (name, *rest), n in found.items() if "s_closed_" in name}
    assert told == {"lifetime": 0, "idle": 3, "broken": 0, "drained": 0, "evicted": 1}


def test_other_projects_pools_are_left_out(scrape):
    found = scrape(sample_report(sample_pool(), sample_pool(name="another's")), [NAME])

    assert {dict(labels)["pool"] for _, *labels in found if labels} == {NAME}


def test_all_pools_are_told_where_no_settings_are(scrape, monkeypatch):
    monkeypatch.setattr("carpool.telemetry.ours.names", lambda: None)
    found = scrape(sample_report(sample_pool(), sample_pool(name="another's")))

    assert {dict(labels)["pool"] for _, *labels in found if labels} == {NAME, "another's"}


@pytest.mark.parametrize(
    "name", ['a "quoted" name', "two\nlines", "back\\slash", "{pool='x'}", "größer ☃", ""]
)
def test_names_may_hold_anything(scrape, name):
    found = scrape(sample_report(sample_pool(name=name, pins={name: 3})), [name])

    assert of(found, "carpool_pins_total", pool=name, reason=name) == 3


def test_a_file_name_that_is_not_utf8_does_not_end_the_scrape(scrape):
    name = b"/srv/gr\xf6sse.sqlite3".decode(errors="surrogateescape")
    found = scrape(sample_report(sample_pool(name=name, database=name)), [name])

    assert of(found, "carpool_acquires_total", pool="/srv/gr?sse.sqlite3") == 12_345


@pytest.mark.parametrize(
    "error", [NoBroker("/nowhere cannot be used; name another"), ValueError("a fault of ours")]
)
def test_figures_that_cannot_be_had_leave_the_other_collectors_alone(scrape, error, caplog):
    with caplog.at_level(logging.ERROR, "carpool"):
        found = scrape(error, [NAME], also=["others_gauge"])

    assert found == {("carpool_up",): 0, ("others_gauge",): 0}
    assert str(error) in caplog.text


def test_wrong_settings_of_one_database_are_a_fault_and_leave_the_others_alone(
    scrape, django_databases
):
    good = {"ENGINE": "carpool.sqlite3", "NAME": "/srv/shop.sqlite3"}
    django_databases(default=good)
    (name,) = prometheus.ours.names()
    django_databases(default=good, bad={**good, "OPTIONS": {"pool": {"maxsize": 3}}})
    report = sample_report(sample_pool(name=name), faults=["4711-abc: cut short"])
    found = scrape(report)

    assert of(found, "carpool_acquires_total", pool=name) == 12_345
    assert found["carpool_up",] == 1
    assert found["carpool_board_faults",] == 2
    assert scrape(report, [name])["carpool_board_faults",] == 1


def test_faults_of_the_board_are_counted(scrape):
    found = scrape(sample_report(faults=["4711-abc: cut short", "4712-abc: version 9"]), [NAME])

    assert found["carpool_board_faults",] == 2
    assert found["carpool_up",] == 1


def test_registering_gathers_nothing_and_a_second_time_is_refused(monkeypatch):
    monkeypatch.setattr(prometheus, "gather", lambda directory: pytest.fail("gathered"))
    registry = CollectorRegistry(auto_describe=True)
    collector = prometheus.register(registry)

    with pytest.raises(ValueError, match="carpool_connections"):
        prometheus.register(registry)
    registry.unregister(collector)
    prometheus.register(registry)


def test_the_view_speaks_the_format_that_is_asked_for(monkeypatch, django_databases):
    django_databases(default={"ENGINE": "carpool.sqlite3", "NAME": "/srv/shop.sqlite3"})
    (name,) = prometheus.ours.names()
    monkeypatch.setattr(
        prometheus, "gather", lambda directory: sample_report(sample_pool(name=name))
    )
    plain = prometheus.view(RequestFactory().get("/metrics"))
    other = prometheus.view(
        RequestFactory().get("/metrics", headers={"Accept": "application/openmetrics-text"})
    )

    assert plain.headers["Content-Type"].startswith("text/plain")
    assert other.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "no-store" in plain.headers["Cache-Control"]
    for found in samples(plain.text), samples(other.text, openmetrics):
        assert of(found, "carpool_acquires_total", pool=name) == 12_345
    assert prometheus.view(RequestFactory().post("/metrics")).status_code == 405


def test_without_prometheus_client_the_error_names_the_extra():
    text = (
        "import sys; sys.modules['prometheus_client'] = None; import carpool.telemetry.prometheus"
    )
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)

    assert 'pip install "django-carpool[prometheus]"' in ran.stderr.splitlines()[-1]


def test_a_broker_that_does_not_answer_makes_no_counter_begin_anew():
    report = sample_report(
        sample_pool(name="here"), sample_pool(name="away", share="host", broker=None)
    )
    told = [
        sample.labels["pool"]
        for family in prometheus.report_families(report, None)
        for sample in family.samples
        if "pool" in sample.labels
    ]
    assert set(told) == {"here"}
