"""The dashboard, the alert rules and the table in docs/ name what is exported, and nothing else."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest

from carpool.telemetry import prometheus
from carpool.telemetry.names import METRICS
from tests.probing import ROOT
from tests.telemetry.samples import sample_report

DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"
ALERTS = ROOT / "docs" / "prometheus-alerts.yml"
TABLE = ROOT / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def exported():
    """The labels of each sample, by name."""
    return {
        sample.name: set(sample.labels)
        for family in [prometheus._up(1), *prometheus.report_families(sample_report(), None)]
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(DASHBOARD.read_text())


@pytest.fixture(scope="module")
def alerts():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


def queries(panels):
    return [target["expr"] for panel in panels for target in panel["targets"]]


def names(text):
    return set(re.findall(r"\bcarpool_[a-z_]+", text))


def labels(expression):
    """Return the labels that are looked at; Prometheus itself adds `instance`."""
    matched = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
    grouped = ",".join(re.findall(r"(?:by|without) \(([^)]*)\)", expression))
    return {*matched, *filter(None, grouped.replace(" ", "").split(","))} - {"instance"}


def test_every_query_of_the_dashboard_asks_for_what_is_exported(dashboard, exported):
    found = queries(dashboard["panels"])

    assert found
    for query in found:
        assert names(query), query
        assert names(query) <= exported.keys(), query
        assert labels(query) <= set.union(*(exported[name] for name in names(query))), query


def test_the_variables_of_the_dashboard_are_exported_and_used(dashboard, exported):
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    text = "".join(queries(dashboard["panels"]))

    assert variables.keys() == {"datasource", "instance", "pool"}
    for name in ("instance", "pool"):
        assert names(variables[name]["definition"]) <= exported.keys()
        assert f'{name}=~"${name}"' in text
    assert set(re.findall(r'"uid": "([^"]*)"', json.dumps(dashboard))) == {
        "${datasource}",
        dashboard["uid"],
    }


def test_panels_have_ids_units_and_room_of_their_own(dashboard):
    panels = dashboard["panels"]

    assert max(Counter(each["id"] for each in panels).values()) == 1
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {"none", "s", "ops", "percentunit"}
        seconds = panel["fieldConfig"]["defaults"]["unit"] == "s"
        assert seconds == all("_seconds" in each for each in queries([panel])), panel["title"]
    for one, other in combinations([each["gridPos"] for each in panels], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)
        assert one["x"] + one["w"] <= 24


def test_every_alert_asks_for_what_is_exported_and_says_what_to_do(alerts, exported):
    assert max(Counter(each["alert"] for each in alerts).values()) == 1
    for rule in alerts:
        assert names(rule["expr"]), rule
        assert names(rule["expr"]) <= exported.keys(), rule
        assert labels(rule["expr"]) <= set.union(*(exported[each] for each in names(rule["expr"])))
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_the_text_of_an_alert_uses_labels_that_it_has(alerts, exported):
    for rule in alerts:
        has = set.union(*(exported[each] for each in names(rule["expr"]))) | {"instance"}
        used = re.findall(r"\$labels\.(\w+)", "".join(rule["annotations"].values()))

        assert set(used) <= has, rule["alert"]


def test_every_metric_is_in_the_documentation_and_no_other(exported):
    text = TABLE.read_text()
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported}
    rows = dict(re.findall(r"^\| `(carpool_\w+)`(?:, by `\w+`)? \|([^|]*)\|", text, re.MULTILINE))

    assert rows.keys() == bare
    for each in METRICS:
        if each.prometheus and each.opentelemetry:
            assert f"`{each.opentelemetry}`" in rows[each.prometheus]
    assert not names(text) - bare - exported.keys()
    ours = {each.opentelemetry for each in METRICS}
    assert set(re.findall(r"`(db\.client\.connection\.[a-z_.]+)`", text)) >= ours - {""}


def code(*words):
    """Return the one piece of code in the documentation that has these words."""
    found = re.findall(r"^```python\n(.*?)^```$", TABLE.read_text(), re.MULTILINE | re.DOTALL)
    (piece,) = [each for each in found if all(word in each for word in words)]
    return piece


def run(program, **env):
    """Run it in a process with Django's settings; return what it prints."""
    start = (
        "import django; from django.conf import settings; "
        "settings.configure(ALLOWED_HOSTS=['*']); django.setup()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", start + program],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


GET = "from django.test import RequestFactory; got = RequestFactory().get('/')\n"


def test_the_view_of_the_documentation_answers():
    told = run(code("urlpatterns") + GET + "print(urlpatterns[0].callback(got).text)")

    assert "carpool_up 1.0" in told


def test_the_documented_view_for_several_processes_tells_of_others_metrics_too(tmp_path):
    mine = "from prometheus_client import Counter; Counter('orders', 'Orders').inc()\n"
    told = run(
        mine + code("MultiProcessCollector") + GET + "print(metrics(got).text)",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path),
    )

    assert "carpool_up 1.0" in told
    assert "orders_total 1.0" in told


def test_the_documented_server_answers():
    program = code("start_http_server").replace("9150", "0")
    asked = (
        "from urllib.request import urlopen\n"
        "with urlopen(f'http://127.0.0.1:{server.server_port}/') as answer:\n"
        "    print(answer.read().decode())\n"
        "server.shutdown(); server.server_close(); thread.join()"
    )
    told = run(program.replace("thread.join()", asked))

    assert "carpool_up 1.0" in told


def test_registering_with_the_global_registry_is_enough():
    shown = "\nfrom prometheus_client import generate_latest; print(generate_latest().decode())"

    assert "carpool_up 1.0" in run(code("prometheus.register()") + shown)


def test_the_documented_call_for_opentelemetry_works():
    assert run(code("opentelemetry.instrument()")) == ""
