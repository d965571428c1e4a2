"""However a shell ends, the session below it does not hear of it."""

import gc
import json
import os
import subprocess
import sys
import warnings

import pytest

from tests.probing import ROOT, STUCK, value


def close(worker):
    worker.shell.close()


def driver_closes(worker):
    worker.driver.close(worker.shell, 1)


def disown(worker):
    worker.driver.disown(worker.shell)


def drop(worker):
    del worker.shell
    gc.collect()


def drop_in_a_ring(worker):
    worker.shell.ring = worker.shell
    drop(worker)


@pytest.mark.parametrize("end", [close, driver_closes, disown, drop, drop_in_a_ring])
@pytest.mark.parametrize("installed", [True, False])
def test_the_end_of_a_shell_says_nothing(make_worker, database, end, installed):
    worker = make_worker()
    shell = worker.lend(worker.first) if installed else worker.shell
    channel = worker.broker._channels[0]
    pids = {session.pid for session in database.sessions()}
    del shell
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        end(worker)
    worker.shell = worker.driver.make_shell(worker.broker.path)  # for the fixture
    assert {session.pid for session in database.sessions()} == pids
    assert value(worker.first, "SELECT 1") == 1
    assert channel.recv(100) == b""  # the last descriptor of it has gone, without a word


def test_closing_twice(worker):
    worker.shell.close()
    worker.shell.close()
    assert worker.shell.closed


PROGRAM = """
import json, os, sys, threading
from carpool.postgresql.driver import PsycopgDriver

given = json.loads(os.environ["PARAMS"])
driver = PsycopgDriver(**given["params"])
shell = driver.make_shell(given["path"])
os.dup2(given["descriptor"], driver.descriptor(shell))
os.close(given["descriptor"])
driver.installed(shell, 1)
assert shell.execute("SELECT 1").fetchone() == (1,)
cursor = shell.cursor()
"""
ENDS = {
    "end of the program": "",
    "sys.exit": "sys.exit()",
    "in a ring": "shell.ring = shell; del shell, cursor",
    "in a transaction": "shell.execute('SELECT 1')",
    "kept by a module": "sys.kept = os.kept = shell",
    "kept by a daemon": (
        "threading.Thread(target=lambda c: threading.Event().wait(), args=[shell], daemon=True)"
        ".start()"
    ),
    "in a forked child": "child = os.fork()\nif child: os.waitpid(child, 0)",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_end_of_a_program_says_nothing(worker, database, end):
    descriptor = worker.first.pgconn.socket
    given = {
        "params": database.params | {"autocommit": True, "prepare_threshold": None},
        "path": worker.broker.path,
        "descriptor": descriptor,
    }
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM + end],
        cwd=ROOT,
        env=os.environ | {"PARAMS": json.dumps(given)},
        capture_output=True,
        check=False,
        pass_fds=[descriptor],
        timeout=STUCK,
        text=True,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert value(worker.first, "SELECT 1") == 1
