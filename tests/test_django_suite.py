"""The comparison of Django's own tests: what it calls a regression, and that it sees everything."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import psycopg
import pymysql
import pytest

from support.django_suite import __main__ as command
from support.django_suite import environment, outcomes, plan, report
from support.django_suite.comparison import Comparison, judge
from support.django_suite.databases import DATABASES
from support.django_suite.home import ServerHome, left_behind
from support.django_suite.outcomes import Outcome
from support.django_suite.suite import Suite
from support.servers import NotInstalled

ROOT = Path(__file__).parents[1]
PASSED, SKIPPED = Outcome("passed"), Outcome("skipped", "no such feature")
FAILED = Outcome("failed", "Traceback\nAssertionError: 1 != 2")


def event(kind, test="app.tests.T.test", time=0.0, **more):
    return {"event": kind, "test": test, "time": time, **more}


def compare(stock, ours):
    return Comparison("serial", stock, ours)


# Outcomes from events


def test_a_test_has_one_outcome_and_the_time_between_start_and_stop():
    events = [event("start", time=2.0), event("passed", time=2.4), event("stop", time=2.5)]
    assert outcomes.read(events) == {"app.tests.T.test": Outcome("passed", "", 0.5)}


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (["failed", "passed"], "failed"),
        (["passed", "failed"], "failed"),
        (["skipped", "failed"], "failed"),
        (["passed", "skipped"], "skipped"),
    ],
)
def test_the_worst_of_several_events_counts(kinds, verdict):
    events = [event("start"), *(event(kind) for kind in kinds), event("stop")]
    assert outcomes.read(events)["app.tests.T.test"].verdict == verdict


def test_the_first_failure_of_a_test_is_told_rather_than_those_that_follow():
    events = [event("start"), event("failed", detail="cause"), event("failed", detail="effect")]
    assert outcomes.read(events)["app.tests.T.test"].detail == "cause"


def test_a_test_that_does_not_end_has_failed_and_is_what_the_process_was_running():
    events = [event("start", "a.T.one"), event("stop", "a.T.one"), event("start", "a.T.two")]
    assert outcomes.read(events)["a.T.two"].verdict == "running"
    assert outcomes.ended(outcomes.read(events))["a.T.two"].verdict == "failed"
    assert outcomes.running(events) == "a.T.two"
    assert outcomes.running(events[:2]) is None


def test_outcomes_survive_being_written_to_a_file():
    found = {"a.T.one": FAILED, "a.T.two": Outcome("passed", "", 1.5)}
    assert outcomes.from_json(json.loads(json.dumps(outcomes.to_json(found)))) == found


def test_of_two_runs_the_worse_outcome_counts():
    one, other = {"a": PASSED, "b": FAILED}, {"a": FAILED, "b": PASSED, "c": PASSED}
    assert outcomes.worst(one, other) == {"a": FAILED, "b": FAILED, "c": PASSED}


# The judgement


@pytest.mark.parametrize("ours", [{"a.T.test": FAILED}, {"a.T.test": SKIPPED}, {}])
def test_a_test_that_only_stock_django_passes_is_a_regression(ours):
    verdict = judge([compare({"a.T.test": PASSED}, ours)], ())
    assert [regression.test for regression in verdict.regressions] == ["a.T.test"]
    assert not verdict.good


@pytest.mark.parametrize("stock", [{"a.T.test": SKIPPED}, {}])
def test_a_new_failure_is_a_regression_also_where_stock_django_has_no_result(stock):
    assert list(compare(stock, {"a.T.test": FAILED}).lost()) == ["a.T.test"]


@pytest.mark.parametrize(
    ("stock", "ours"),
    [(FAILED, FAILED), (FAILED, PASSED), (SKIPPED, SKIPPED), (SKIPPED, PASSED), (PASSED, PASSED)],
)
def test_what_is_not_worse_is_no_regression(stock, ours):
    assert judge([compare({"a.T.test": stock}, {"a.T.test": ours})], ()).good


def test_a_missing_test_is_explained_by_the_failure_of_its_class():
    ours = {"setUpClass (a.tests.T)": FAILED, "setUpClass (a.tests.Other)": Outcome("failed", "")}
    lost = compare({"a.tests.T.test": PASSED}, ours).lost()
    assert lost["a.tests.T.test"] == Outcome("missing", FAILED.detail)


def test_failures_of_both_are_listed_and_are_no_regression():
    comparison = compare({"a.T.one": FAILED, "a.T.two": FAILED}, {"a.T.one": FAILED})
    assert report.failing_with_both([comparison]) == ["serial: a.T.one", "serial: a.T.two"]
    assert judge([comparison], ()).good


def test_an_accepted_difference_is_no_regression_and_shows_its_reason():
    verdict = judge([compare({"a.T.test": PASSED}, {"a.T.test": FAILED})], {"a.T.test": "why"})
    assert verdict.good
    assert list(report.differences(verdict, {"a.T.test": "why"})) == [
        "Accepted difference: a.T.test: why"
    ]


def test_an_accepted_difference_that_is_none_any_more_is_an_error():
    verdict = judge([compare({"a.T.test": PASSED}, {"a.T.test": PASSED})], {"a.T.test": "why"})
    assert not verdict.good
    assert "OUTDATED: a.T.test" in next(report.differences(verdict, {"a.T.test": "why"}))


def test_an_accepted_difference_whose_test_was_not_run_is_no_error():
    assert judge([compare({"a.T.other": PASSED}, {"a.T.other": PASSED})], {"a.T.test": "why"}).good


# The report


def test_the_table_counts_by_the_first_part_of_the_name():
    stock = {"a.T.one": PASSED, "a.T.two": Outcome("passed", "", 2.0), "b.T.one": SKIPPED}
    ours = {"a.T.one": PASSED, "setUpClass (b.T)": FAILED}
    rows = {row.split()[0]: row.split()[1:] for row in report.table(compare(stock, ours), "e")}
    assert rows["a"] == ["2", "0", "0", "2.0", "1", "0", "0", "0.0"]
    assert rows["b"] == ["0", "0", "1", "0.0", "0", "1", "0", "0.0"]
    assert rows["together"] == ["2", "0", "1", "2.0", "1", "1", "0", "0.0"]


def test_regressions_that_end_alike_show_one_traceback():
    stock = {"a.T.one": PASSED, "a.T.two": PASSED, "a.T.three": PASSED}
    ours = {"a.T.one": FAILED, "a.T.two": FAILED, "a.T.three": SKIPPED}
    verdict = judge([compare(stock, ours)], ())
    assert list(report.regressions(verdict)) == [
        "",
        "FAILED, not so with stock: a.T.one [serial]",
        "FAILED, not so with stock: a.T.two [serial]",
        "    Traceback",
        "    AssertionError: 1 != 2",
        "",
        "SKIPPED, not so with stock: a.T.three [serial]",
        "    no such feature",
    ]


def test_the_closing_line_counts_regressions_and_outdated_entries():
    comparison = compare({"a": PASSED, "b": PASSED, "c": PASSED}, {"a": PASSED, "b": PASSED})
    verdict = judge([comparison], {"a": "why"})
    assert report.closing_line("e", verdict) == "Django's own tests with e: 2 passed, 2 failed"


def test_the_last_table_has_a_row_for_each_run_with_what_is_worse_and_what_is_accepted():
    stock = {"a": PASSED, "b": PASSED, "c": Outcome("passed", "", 1.5)}
    comparison = compare(stock, {"a": PASSED, "b": FAILED, "c": SKIPPED})
    *_, row = report.summary([(comparison, judge([comparison], {"b": "why"}))])
    assert row.split() == ["serial", "3", "0", "0", "1.5", "1", "1", "1", "0.0", "1", "1"]


# The plan


@pytest.mark.parametrize("database", DATABASES.values(), ids=DATABASES)
def test_every_database_is_run_in_one_process_and_in_two_also_when_time_is_short(database):
    for runs in (database.quick, database.full):
        assert {run.options[0] for run in runs} == {"--parallel=1", "--parallel=2"}
        assert len({run.name for run in runs}) == len(runs)


def test_labels_given_make_one_run_of_them():
    (run,) = DATABASES["sqlite"].runs(quick=True, labels=("basic",), workers=2)
    assert (run.labels, run.options) == (("basic",), ("--parallel=2",))


def test_nearly_all_tests_are_all_packages_but_for_some_parts():
    labels = plan.nearly_all(["queries", "cache", "gis_tests", "basic"])
    assert labels == ("basic", *plan.IN_PARTS["cache"], "queries")
    assert all(
        label.startswith(f"{name}.") for name, parts in plan.IN_PARTS.items() for label in parts
    )


# The command

COMPARED = compare({"a.T.test": PASSED}, {"a.T.test": PASSED})


@pytest.mark.parametrize(
    ("results", "status", "said"),
    [
        ([command.Result("e", {}, [COMPARED])], 0, "e: 1 passed, 0 failed"),
        ([command.Result("e", {"a.T.test": "why"}, [COMPARED])], 1, "e: 1 passed, 1 failed"),
        (
            [command.Result("e", {}, [COMPARED]), command.Result("f", {}, [], "f: not installed")],
            2,
            "f: not installed",
        ),
    ],
)
def test_what_got_worse_and_what_could_not_be_tried_end_with_a_status(
    results, status, said, capsys
):
    assert command.conclude(results) == status
    assert said in capsys.readouterr().out


def test_a_database_that_is_not_installed_is_told_and_the_others_are_tried(tmp_path, capsys):
    def home():
        raise NotInstalled("it is not installed: apt-get install it")

    options = command.parse_options(["--quick"])
    assert options.database == list(DATABASES)
    missing = replace(DATABASES["mariadb"], home=home)
    (result,) = command.compare(missing, tmp_path, options)
    assert result.missing == "NOT RUN with carpool.mysql: it is not installed: apt-get install it"
    assert "apt-get install it" in capsys.readouterr().err


class Recorded(Suite):
    """A suite whose runs come to good outcomes, and keeps what was asked of it."""

    asked: ClassVar = []

    def _run(self, run, engine, mode=""):
        options = {alias: e["OPTIONS"] for alias, e in self._entries(run, engine, mode).items()}
        self.asked.append((run.name, engine, options["default"].get("pool")))
        assert options["default"] == options["other"]
        return {"a.T.test": PASSED, "the_run.ends_by_itself": PASSED}


def test_stock_django_runs_once_and_carpool_in_every_mode(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    monkeypatch.setattr(command, "Suite", Recorded)
    monkeypatch.setattr(Recorded, "asked", [])
    options = command.parse_options(["--database", "sqlite", "--labels", "basic"])
    results = command.compare(DATABASES["sqlite"], tmp_path, options)
    assert Recorded.asked == [
        ("chosen labels", "django.db.backends.sqlite3", None),
        ("chosen labels", "carpool.sqlite3", None),
        ("chosen labels", "carpool.sqlite3", {"mode": "transaction"}),
    ]
    command.conclude(results)
    printed = capsys.readouterr().out
    for mode in ("session", "transaction"):
        assert f"sqlite, chosen labels, {mode} " in printed
        assert f"tests with carpool.sqlite3 in {mode} mode: 2 passed, 0 failed" in printed


@pytest.mark.parametrize(
    ("given", "modes"),
    [
        ("", ["session", "transaction"]),
        ("--mode transaction", ["transaction"]),
        ("--database sqlite --engine some.engine", ["session"]),
        ("--database sqlite --engine some.engine --mode transaction", ["transaction"]),
    ],
)
def test_the_modes_to_run_in_are_all_or_those_given(given, modes):
    assert command.parse_options(given.split()).mode == modes


def test_what_can_be_shared_is_run_with_a_pool_of_the_host_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    monkeypatch.setattr(command, "Suite", Recorded)
    monkeypatch.setattr(Recorded, "asked", [])
    runs = (plan.Run("one", ("basic",)), plan.Run("other", ("basic",), pymysql=True))
    database = replace(DATABASES["sqlite"], quick=runs, shareable=True)
    given = "--database sqlite --quick --share process host"
    options = command.parse_options(given.split())
    command.conclude(command.compare(database, tmp_path, options))
    pools = {name: [] for name in ("one", "other")}
    for name, _, pool in Recorded.asked:
        pools[name].append(pool)
    in_process = [None, None, {"mode": "transaction"}]  # stock Django's is the first
    by_host = [{"share": "host"}, {"mode": "transaction", "share": "host"}]
    assert pools == {"one": in_process + by_host, "other": in_process}
    printed = capsys.readouterr().out
    assert "tests with carpool.sqlite3 in session by host mode: 2 passed, 0 failed" in printed


def test_what_cannot_be_shared_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "Suite", Recorded)
    options = command.parse_options(["--database", "sqlite", "--share", "host"])
    assert command.compare(DATABASES["sqlite"], tmp_path, options) == []


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ("", ["process"]),
        ("--share host", ["host"]),
        ("--quick --share process host", ["process", "host"]),
    ],
)
def test_who_shares_the_pool_is_the_process_if_not_given(given, shares):
    assert command.parse_options(given.split()).share == shares


def test_a_difference_may_be_accepted_in_one_mode_alone():
    database = replace(
        DATABASES["sqlite"], accepted={"a": "why"}, accepted_in={"transaction": {"b": "so"}}
    )
    assert database.differences("session") == {"a": "why"}
    assert database.differences("transaction") == {"a": "why", "b": "so"}


def test_what_is_not_pooled_is_not_run_in_another_mode_again(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    monkeypatch.setattr(command, "Suite", Recorded)
    monkeypatch.setattr(Recorded, "asked", [])
    options = command.parse_options(["--database", "sqlite", "--quick", "--mode", "transaction"])
    command.compare(DATABASES["sqlite"], tmp_path, options)
    assert {name for name, *_ in Recorded.asked} == {"files", "files, two workers"}


def test_another_engine_is_for_one_database(capsys):
    with pytest.raises(SystemExit):
        command.parse_options(["--engine", "some.engine"])
    assert "--engine is for one --database" in capsys.readouterr().err


class Unable(Suite):
    """A suite whose runs come to nothing."""

    def _run(self, run, engine, mode=""):
        return {"the_run.ends_by_itself": FAILED}


def test_a_run_that_stock_django_cannot_finish_is_an_error_and_is_not_kept(tmp_path, monkeypatch):
    """Else all that did not come to be run would count as no worse with carpool."""
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    with DATABASES["sqlite"].home() as home:
        suite = Unable(DATABASES["sqlite"], home, tmp_path, "some.engine")
        with pytest.raises(environment.SuiteError, match="stock Django could not finish 'x':\n"):
            suite.compare(plan.Run("x", ("basic",)), "session")
    assert not list(tmp_path.rglob("*.json"))


# Where the tests run


@pytest.fixture(scope="module", params=DATABASES)
def place(request):
    """The home of a database, and a function that opens a connection to a database there."""
    with DATABASES[request.param].home() as home:
        yield (
            home,
            {"postgresql": in_postgresql, "mariadb": in_mariadb, "sqlite": in_sqlite}[
                request.param
            ],
        )
        home.clean()


def in_postgresql(home, name):
    return psycopg.connect(**home.server.params | {"dbname": name}, autocommit=True)


def in_mariadb(home, name):
    return pymysql.connect(**home.server.params | {"database": name}, autocommit=True)


def in_sqlite(home, name):
    real = Path(home.django("site")["NAME"])
    return sqlite3.connect(real.with_stem(name), isolation_level=None)


def failed(found):
    return {test.removeprefix("the_run."): o.detail for test, o in found.items() if o.detail}


def test_a_place_that_was_left_as_found_passes(place):
    home, _ = place
    assert {outcome.verdict for outcome in left_behind(home, False).values()} == {"passed"}


def test_a_table_in_a_real_database_is_noticed(place):
    home, connect = place
    with closing(connect(home, "site_other")) as connection:
        connection.cursor().execute("CREATE TABLE lost (id int)")
    found = left_behind(home, False)
    with closing(connect(home, "site_other")) as connection:
        connection.cursor().execute("DROP TABLE lost")
    assert list(failed(found)) == ["tables in the real databases"]
    assert found["the_run.tables in the real databases"].detail.endswith(": lost")


def test_a_test_database_is_noticed_unless_it_is_kept_and_is_cleaned_away(place):
    home, _ = place
    create(home, "test_site_1")
    assert list(failed(left_behind(home, True))) == []
    assert list(failed(left_behind(home, False))) == ["test databases left"]
    home.clean()
    assert list(failed(left_behind(home, False))) == []


def test_an_unfinished_session_is_noticed_and_ended(place, monkeypatch):
    home, connect = place
    monkeypatch.setattr("support.django_suite.home._GRACE", 0.0)
    with suppress(psycopg.Error, pymysql.Error), closing(connect(home, "site")) as connection:
        connection.cursor().execute("BEGIN")
        connection.cursor().execute("CREATE TABLE lost (id int)")
        assert "sessions left on the server" in failed(left_behind(home, True))
        if isinstance(home, ServerHome):
            home.clean()
            assert home.sessions() == []
        connection.rollback()
    with closing(connect(home, "site")) as connection:
        connection.cursor().execute("DROP TABLE IF EXISTS lost")


def create(home, name):
    if isinstance(home, ServerHome):
        home.server.create_database(name)
    else:
        Path(home.django(name)["NAME"]).touch()


# Settings, inside the process of the tests

SETTINGS = """
import MySQLdb  # as Django's runtests.py does
from support.django_suite import settings
from django.conf import settings as django_settings
django_settings.configure(DATABASES=settings.DATABASES)
from django.db import connection
from django.db.backends.mysql.base import Database
print(Database.__name__)
"""


@pytest.mark.parametrize(("asked", "driver"), [("", "MySQLdb"), ("yes", "pymysql")])
def test_pymysql_takes_the_place_of_mysqlclient_where_it_is_asked_for(asked, driver):
    pytest.importorskip("MySQLdb", reason="mysqlclient is not installed")
    entry = {"default": {"ENGINE": "django.db.backends.mysql"}}
    variables = {"SUITE_DATABASES": json.dumps(entry), "SUITE_PYMYSQL": asked}
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (driver, "")
