"""The comparison of Django's own tests: what it calls a regression, and that it sees everything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.django_suite import outcomes, plan, report
from support.django_suite.comparison import Comparison, judge
from support.django_suite.outcomes import Outcome
from support.django_suite.supervision import Execution

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
    assert report.closing_line(verdict, "e") == "Django's own tests with e: 2 passed, 2 failed"


def test_labels_given_make_one_run_of_them():
    (run,) = plan.runs(quick=True, labels=("basic",), workers=2)
    assert (run.labels, run.options) == (("basic",), ("--parallel=2",))


def test_nearly_all_tests_are_all_packages_but_for_some_parts():
    labels = plan.nearly_all(["queries", "cache", "gis_tests", "basic"])
    assert labels == ("basic", *plan.IN_PARTS["cache"], "queries")
    assert all(
        label.startswith(f"{name}.") for name, parts in plan.IN_PARTS.items() for label in parts
    )


# Recording and watching, with small suites of tests in real processes

SUITE = """
import os, sys
sys.path.insert(0, os.getcwd())
from django.conf import settings
settings.configure(DATABASES={})
import django
django.setup()
from support.django_suite.recorder import RecordingRunner
sys.exit(bool(RecordingRunner(parallel=int(sys.argv[1]), interactive=False).run_tests(["small"])))
"""
SMALL = """
import unittest
from django.test import SimpleTestCase
class One(SimpleTestCase):
    def test_passes(self): pass
    def test_fails(self):
        class Unpicklable(Exception): pass
        raise Unpicklable
    def test_fails_in_a_subtest(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertEqual(number, 1)
    @unittest.skip("no")
    def test_is_skipped(self): pass
    @unittest.expectedFailure
    def test_fails_as_expected(self): self.fail()
    @unittest.expectedFailure
    def test_passes_unexpectedly(self): pass
class Two(SimpleTestCase):
    @classmethod
    def setUpClass(cls): raise ValueError("no class")
    def test_never_run(self): pass
"""
HANGING = """
import threading
from django.test import SimpleTestCase
class One(SimpleTestCase):
    def test_passes(self): pass
    def test_waits_for_ever(self): threading.Event().wait()
class Two(SimpleTestCase):
    def test_passes(self): pass
"""


def run_small(folder, source, workers, silence=60.0):
    (folder / "small.py").write_text(source)
    return Execution(
        title="small",
        command=[sys.executable, "-c", SUITE, str(workers)],
        cwd=folder,
        variables={"PYTHONPATH": str(ROOT)},
        folder=folder / "events",
        silence=silence,
    ).finish()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_outcome_is_recorded_in_one_process_and_in_two(tmp_path, workers):
    found = run_small(tmp_path, SMALL, workers)
    assert {test: outcome.verdict for test, outcome in found.items()} == {
        "small.One.test_passes": "passed",
        "small.One.test_fails": "failed",
        "small.One.test_fails_in_a_subtest": "failed",
        "small.One.test_is_skipped": "skipped",
        "small.One.test_fails_as_expected": "passed",
        "small.One.test_passes_unexpectedly": "failed",
        "setUpClass (small.Two)": "failed",
        "the_run.ends_by_itself": "passed",
    }
    assert "0 != 1" in found["small.One.test_fails_in_a_subtest"].detail
    assert "Unpicklable" in found["small.One.test_fails"].detail
    assert "no class" in found["setUpClass (small.Two)"].detail


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hanging_test_is_ended_and_named_with_its_stack(tmp_path, workers):
    found = run_small(tmp_path, HANGING, workers, silence=3.0)
    ending = found["the_run.ends_by_itself"]
    assert ending.verdict == "failed"
    assert "small.One.test_waits_for_ever:" in ending.detail
    assert "in test_waits_for_ever" in ending.detail
    assert found["small.One.test_waits_for_ever"].verdict == "failed"
    assert found["small.One.test_passes"].verdict == "passed"


def test_a_run_that_dies_without_a_failing_test_is_told_with_the_end_of_its_output(tmp_path):
    found = run_small(tmp_path, "import os\nprint('farewell', flush=True)\nos._exit(3)", 1)
    assert list(found) == ["the_run.ends_by_itself"]
    assert found["the_run.ends_by_itself"].verdict == "failed"
    assert found["the_run.ends_by_itself"].detail.endswith("farewell\nexit status 3")


def test_children_of_a_run_do_not_outlive_it(tmp_path):
    source = """
import subprocess, sys
from django.test import SimpleTestCase
class One(SimpleTestCase):
    def test_leaves_a_child(self):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open("child", "w").write(str(child.pid))
"""
    run_small(tmp_path, source, 1)
    pid = int((tmp_path / "child").read_text())
    assert not _alive(pid)


def _alive(pid):
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    return state.strip()[:1] not in {"", "Z"}  # a zombie is dead and waits for init
