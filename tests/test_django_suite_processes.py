"""The comparison of Django's own tests records and watches real processes."""

import subprocess
import sys

import pytest

from support.django_suite.supervision import Execution
from tests.probing import ROOT

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


def run_small(folder, source, workers, silence=60.0, **variables):
    (folder / "small.py").write_text(source)
    return Execution(
        title="small",
        command=[sys.executable, "-c", SUITE, str(workers)],
        cwd=folder,
        variables={"PYTHONPATH": str(ROOT), **variables},
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
def test_tests_can_be_left_out_by_name(tmp_path, workers):
    names = "small.One.test_waits_for_ever small.Two.test_passes"
    found = run_small(tmp_path, HANGING, workers, SUITE_LEFT_OUT=names)
    assert list(found) == ["small.One.test_passes", "the_run.ends_by_itself"]


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
