"""Celery's prefork pool, whose workers are forked after a query, recycled, interrupted, killed."""

import os
import signal

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery

from tests.probing import STUCK
from tests.serving import broker
from tests.serving.promises import Promises, all_at_once, tokens
from tests.serving.server import Kind, Program, module


class Worker(Program):
    """A worker of Celery; what is a page elsewhere is a task here."""

    def __init__(self, *args):
        super().__init__(*args)
        self.client = Celery(fixups=[])
        self.client.conf.update(broker.settings(self.folder))

    def begin(self, task, **arguments):
        return self.client.send_task(task, kwargs=arguments)

    def answer(self, task, **arguments):
        return self.begin(task, **arguments).get(STUCK, interval=0.01)

    def ask(self, task, **arguments):
        """Return a status as for a page, and the answer."""
        try:
            return 200, self.answer(task, **arguments)
        except RuntimeError as error:
            return 500, error

    def wait_until_ready(self):
        asked = self.begin("ready", token="")
        self.wait_until(asked.ready, "answer")


# That one is root is said at the start; tasks that were interrupted, or lost their process, later.
HARMLESS = (
    r"SecurityWarning: You're running the worker"
    r"|Traceback \(most recent call last\):\n(\s.*\n)*billiard\..*\n"
)
CELERY = module("celery", "--app=tests.serving.tasks", "worker")
KIND = Kind(
    (
        *(*CELERY[:3], "-W", "default:You're running the worker", *CELERY[3:]),
        *("--pool=prefork", "--concurrency=2", "--max-tasks-per-child=15", "--loglevel=WARNING"),
    ),
    at_once=1,
    max_size=2,
    processes=2,
    early=True,
    environment=(("C_FORCE_ROOT", "1"),),
    harmless=HARMLESS,
)


@pytest.fixture(scope="module")
def site(run_kind):
    with run_kind(Worker, KIND) as worker:
        yield worker


class TestPromises(Promises):
    pass


def begin_at_gate(site):
    """Have every child wait at the closed gate; return the tokens, the tasks, the children."""
    wanted = tokens(site.kind.processes)
    begun = [site.begin("write-at-gate", token=each) for each in wanted]
    site.shown.wait_at_gate(len(wanted))
    return wanted, begun, set().union(*site.holders().values()) - {site.process.pid}


def check_undone(site, wanted):
    """What was begun is rolled back, and the next tasks find all they need."""
    site.shown.wait_until_nothing_is_open()
    all_at_once(site)
    site.shown.wait_until_nothing_is_open()
    assert not set(wanted) & set(site.shown.tokens())


def test_a_soft_time_limit_in_the_midst_of_a_transaction(site):
    with site.shown.closed_gate():
        wanted, begun, children = begin_at_gate(site)
        for pid in children:
            os.kill(pid, signal.SIGUSR1)  # what Celery itself sends then
        for task in begun:
            with pytest.raises(SoftTimeLimitExceeded):
                task.get(STUCK, interval=0.01)
    check_undone(site, wanted)


def test_a_child_that_is_killed_in_the_midst_of_a_transaction(site):
    with site.shown.closed_gate():
        wanted, _, children = begin_at_gate(site)
        for pid in children:
            os.kill(pid, signal.SIGKILL)
    check_undone(site, wanted)
