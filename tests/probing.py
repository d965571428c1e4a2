"""How tests ask on any connection, wait for what no event tells, and run programs."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUCK = 60  # seconds after which a program under test counts as hanging


def run(connection, statement, args=None):
    """Execute one statement; return its rows."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement, *([args] if args is not None else []))
        return cursor.fetchall() if cursor.description else []


def value(connection, statement):
    """Execute one statement; return the first value of its first row."""
    return run(connection, statement)[0][0]


def eventually(condition, timeout=10):
    """Wait until the server shows what is only shown after a moment; return it."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.01)
    return found


def start_program(path, text, params, *flags, **env):
    """Start a Python program of its own, which finds `params` as JSON in its environment."""
    path.write_text(text)
    where = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *flags, str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": where, "PARAMS": json.dumps(params)} | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(program):
    """Let a program end; return its output and its errors. It must not hang."""
    try:
        return program.communicate(timeout=STUCK)
    except subprocess.TimeoutExpired:
        program.kill()
        raise AssertionError(f"the program hangs: {program.communicate()}") from None


def report_of(program):
    """Return the JSON that a program printed, one value a line; it must have ended well."""
    out, err = finish(program)
    assert (program.returncode, err) == (0, ""), out + err
    return [json.loads(line) for line in out.splitlines()]


def pytest_with(plugin, *arguments):
    """Run tests in a process of their own, with a plugin; return what is printed. All must pass."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", plugin),
            *("-q", "-rA", "-p", "no:cacheprovider", "--tb=short", *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    return done.stdout


def calls_of(function):
    """Count the calls that `function` makes, Python's and C's, by name."""
    seen = Counter()

    def note(frame, event, arg):
        if event == "call":
            seen[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            seen[arg.__qualname__] += 1

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    del seen["setprofile"]
    return dict(seen)
