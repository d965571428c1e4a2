"""The commands, as programs of their own, told of by real pools in other processes."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from contextlib import contextmanager

import pytest

from carpool.__main__ import main
from carpool.telemetry.commands import COMMANDS
from tests.host.brokers import own_place
from tests.probing import ROOT, STUCK, eventually

NAME = "shop"
PUBLISH = "publisher.publisher.publish()"  # or within a second, by itself
PATIENT = f"from carpool.telemetry import health; health.STALE = {STUCK}"

SEEN = """
def ask(*given, ask=ask):
    found = ask(*given)
    publisher.publisher.publish()
    return found
"""  # whoever has asked is on the board


@pytest.fixture
def directory():
    """A runtime directory whose path is short enough for a broker's sockets."""
    with own_place() as place:
        yield place.root


@pytest.fixture
def shop(project, database):
    """Start a process whose default database is one of PostgreSQL; keywords: the pool's options."""

    def start(**options):
        pool = {"name": NAME, "max_size": 3} | options
        process = project(
            {"default": database.django(ENGINE="carpool.postgresql", OPTIONS={"pool": pool})}
        )
        process.do(SEEN)
        return process

    return start


@pytest.fixture
def start(directory):
    """Start the program `carpool` with some words; returns a Popen."""
    started = []

    def start(*words, code="", **more):
        program = ["-m", "carpool"]
        if code:
            program = [
                "-c",
                f"{code}; import sys; from carpool.__main__ import main; sys.exit(main())",
            ]
        pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE) | {"stdin": subprocess.DEVNULL}
        command = subprocess.Popen(
            [sys.executable, *program, *words],
            **pipes | more,
            cwd=ROOT,
            env=os.environ | {"CARPOOL_DIR": str(directory), "COLUMNS": "80"},
            text=True,
        )
        started.append(command)
        return command

    yield start
    for command in started:
        command.kill()
        command.communicate()


@pytest.fixture
def carpool(start):
    """Run the program to its end; returns its exit status, output and errors.

    To it, a process that has told nothing for some seconds is well.
    """

    def run(*words):
        command = start(*words, code=PATIENT)
        out, err = command.communicate(timeout=STUCK)
        return command.returncode, out, err

    return run


def figures(look):
    return look()["pools"][0]


# -------------------------------------------------------------------------- status


def test_status_tells_what_all_processes_did(shop, carpool):
    first, second = shop(), shop(min_size=1)
    first.do("request(3)")
    second.do("ask()")
    for each in (first, second):
        each.do(PUBLISH)
    code, out, err = carpool("status")
    assert (code, err) == (0, "")
    assert "\nshop\n  postgresql database test_" in out
    assert "alias default, mode session, share process\n" in out
    assert "max 3 in each of 2 processes: at most 6 connections\n" in out
    assert re.search(r"OPEN  IDLE  LEASED .*\n     2     1       1 ", out)
    assert "  acquires   4, " in out
    for process, leased, acquires in ((first, 0, 3), (second, 1, 1)):
        assert re.search(
            rf"^ +{process.pid} +1 +{leased} +0 +{acquires}  python", out, re.MULTILINE
        )
    assert out.endswith("\nhealthy\n")
    assert max(map(len, out.splitlines())) <= 80


def test_status_of_one_pool_as_json(shop, project, carpool):
    process, other = shop(), project()
    process.do("request()")
    other.do("request()")
    other.do(PUBLISH)
    assert len(json.loads(carpool("status", "--json")[1])["pools"]) == 2
    code, out, _ = carpool("status", NAME, "--json")
    told = json.loads(out)
    assert (code, [pool["name"] for pool in told["pools"]]) == (0, [NAME])
    assert told["health"] == {"exit_status": 0, "problems": []}
    assert told["server"] == {}
    code, _, err = carpool("status", "default")
    assert code == 2
    assert err.startswith("carpool: 2 pools are meant by 'default', name one:\n  ")


def test_status_of_a_server_that_is_away(project, carpool):
    entry = {"ENGINE": "carpool.postgresql", "HOST": "127.0.0.1", "PORT": "1", "USER": "me"}
    process = project({"default": entry | {"NAME": "shop", "OPTIONS": {"pool": {"name": NAME}}}})
    process.do("import django.db.utils")
    process.do("try: ask()\nexcept django.db.utils.OperationalError: pass")
    process.do(PUBLISH)
    code, out, _ = carpool("status")
    assert code == 1
    assert "\n  last error connection failed: " in out
    assert re.search("\nunhealthy: shop: the server cannot be reached: .*refused", out)


def test_status_where_nobody_has_a_pool(carpool, directory):
    code, out, err = carpool("status")
    assert (code, err) == (3, "")
    assert out == f"No process of this user has a pool open ({directory})\n\nnothing to tell of\n"
    assert json.loads(carpool("status", "--json")[1])["health"] == {
        "exit_status": 3,
        "problems": [],
    }


@pytest.mark.parametrize("words", [["status"], ["top"], ["drain", "x"], ["resize", "x", "0", "1"]])
def test_a_directory_that_is_refused_is_one_line(carpool, directory, words):
    directory.chmod(0o755)
    code, out, err = carpool(*words)
    directory.chmod(0o700)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if "needs a terminal" not in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"carpool: carpool cannot use {directory}: others may use it")
    assert "; run chmod 700 on it, or " in lines[0]


@pytest.mark.parametrize("words", [["status", "x"], ["advise", "x"], ["pause", "x"]])
def test_a_pool_that_is_none(shop, carpool, words):
    shop().do("ask()")
    assert carpool(*words) == (
        2,
        "",
        "carpool: there is no pool 'x'; pools there are:\n  shop (default)\n",
    )


def test_advise_is_there(shop, carpool):
    shop().do("ask()")
    code, out, err = carpool("advise", "--hosts", "2")
    assert (code, err) == (0, "")
    assert "shop" in out
    assert json.loads(carpool("advise", "shop", "--json")[1])


# --------------------------------------------------------------------------- watch


def test_watch_in_a_log_prints_blocks_without_codes_until_ctrl_c(shop, start):
    shop().do("ask()")
    watch = start("status", "--watch", "0.1")
    heads = []
    while len(heads) < 2:
        line = watch.stdout.readline()
        assert "\x1b" not in line
        heads += [line] if re.match(r"\d\d:\d\d:\d\d  1 pool in 1 process", line) else []
    watch.send_signal(signal.SIGINT)
    assert watch.wait(STUCK) == 130
    assert watch.stderr.read() == ""


def test_watch_as_json_is_a_line_each_time(shop, start):
    shop().do("ask()")
    watch = start("status", "--watch", "0.1", "--json")
    told = [json.loads(watch.stdout.readline()) for _ in range(2)]
    assert told[0]["at"] < told[1]["at"]


def test_watch_into_a_pipe_that_ends(shop, start):
    shop().do("ask()")
    watch = start("status", "--watch", "0.1")
    watch.stdout.readline()
    watch.stdout.close()
    assert watch.wait(STUCK) == 1
    assert watch.stderr.read() == ""


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_watch_of_no_such_time(carpool, seconds):
    code, _, err = carpool("status", "--watch", seconds)
    assert code == 2
    assert "argument --watch: " in err


def test_without_a_terminal_top_is_a_watch_that_says_so(shop, start):
    shop().do("ask()")
    top = start("top")
    assert "  1 pool in 1 process (" in top.stdout.readline()
    top.send_signal(signal.SIGINT)
    assert top.wait(STUCK) == 130
    assert top.stderr.read().startswith("carpool: top needs a terminal; this is what")


@contextmanager
def terminal():
    """Give both ends of a terminal of 100 x 30; afterwards it must be as before."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    before = termios.tcgetattr(theirs)
    try:
        yield ours, theirs
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def shown(ours, text):
    """Read what a program shows until a text comes."""
    found = b""
    while text not in found:
        assert select.select([ours], [], [], STUCK)[0], found
        found += os.read(ours, 65536)


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        (
            "import sys; sys.modules['textual'] = None",
            [b'pip install "django-carpool[top]"', b"healthy"],
        ),
        ("", [b"ACQ/S", b"Quit"]),
    ],
    ids=["without the extra", "with it"],
)
def test_top_on_a_terminal_ends_with_q_and_leaves_it_as_it_was(shop, start, code, texts):
    shop().do("ask()")
    with terminal() as (ours, theirs):
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
        top = start("top", code=code or "pass", **ends)
        for text in texts:
            shown(ours, text)
        os.write(ours, b"q")
        while top.poll() is None:  # it says good-bye, which somebody has to read
            if select.select([ours], [], [], 0.05)[0]:
                os.read(ours, 65536)
        assert top.returncode == 0


# -------------------------------------------------------------------------- orders


def test_a_pause_waits_for_what_is_in_use_and_resume_goes_on(shop, start, carpool, database):
    holder, other = shop(), shop()
    holder.do("ask()")
    other.do("request()")
    pause = start("pause", "default")
    assert pause.stdout.readline() == "Order given to pause shop (2 processes)\n"
    while "in use" not in (line := pause.stdout.readline()):
        assert re.match(r"\d of 2 processes told, waiting for |waiting for .* being closed", line)
    assert line == "waiting for 1 connection in use in 1 process\n"
    other.tell("request()")
    holder.do("connection.close()")
    out, err = pause.communicate(timeout=STUCK)
    assert out.endswith("Paused: no connection of shop is open; resume lets acquires go on\n")
    assert (err, pause.returncode) == ("", 0)
    assert database.sessions() == []
    code, out, _ = carpool("status")
    assert code == 1
    assert "\nshop, PAUSED\n" in out
    assert "\nunhealthy: shop: paused; `carpool resume` ends that\n" in out
    code, out, _ = carpool("resume", NAME)
    assert (code, out.splitlines()[-1]) == (0, "Resumed: shop in 2 processes")
    code, out, _ = carpool("resume", NAME)
    assert (code, out.splitlines()[-1]) == (
        0,
        "shop was not paused: nothing has changed in 2 processes",
    )
    other.answer()
    assert carpool("status")[0] == 0


def test_a_pause_that_somebody_ends_while_it_waits(shop, start, carpool):
    shop().do("ask()")
    pause = start("pause", NAME)
    while "in use" not in pause.stdout.readline():
        pass
    assert carpool("resume", NAME)[0] == 0
    _, err = pause.communicate(timeout=STUCK)
    assert pause.returncode == 1
    assert err.startswith("carpool: somebody has resumed shop: pid ")


def test_ctrl_c_ends_the_wait_and_the_order_stands(shop, start, look):
    process = shop()
    process.do("ask()")
    pause = start("pause", NAME)
    while "in use" not in pause.stdout.readline():
        pass
    pause.send_signal(signal.SIGINT)
    out, err = pause.communicate(timeout=STUCK)
    assert (out, err) == ("\nThe order to pause stands; nobody waits for it any more\n", "")
    assert pause.returncode == 130
    assert figures(look)["paused"]


def test_a_wait_ends_in_time_and_the_order_stands(shop, carpool, look):
    shop().do("ask()")
    code, _, err = carpool("pause", NAME, "--timeout", "2")
    assert code == 1
    assert err == (
        "carpool: not done within 2 s (it stands): waiting for 1 connection in use in 1 process\n"
    )
    assert figures(look)["paused"]


def test_who_does_not_obey_is_named(shop, carpool):
    process, frozen = shop(), shop()
    process.do("ask()")
    frozen.do("ask()")
    frozen.freeze()
    code, out, err = carpool("drain", NAME, "--timeout", "2")
    assert code == 1
    assert f"1 of 2 processes told, waiting for {frozen.pid}\n" in out
    assert err.endswith(f"(it stands): 1 of 2 processes told, waiting for {frozen.pid}\n")
    frozen.thaw()
    assert carpool("drain", NAME)[0] == 0


def test_drain_replaces_all_connections(shop, carpool, database):
    idle, holder = shop(min_size=1), shop()
    idle.do("request()")
    before = holder.do("ask('SELECT pg_backend_pid()')")
    others = {session.pid for session in database.sessions()} - {before}
    code, out, _ = carpool("drain", NAME)
    assert code == 0
    assert out.endswith(
        "Drained: shop in 2 processes; 1 connection in use: replaced once given back\n"
    )
    eventually(lambda: not others & {session.pid for session in database.sessions()})
    assert holder.do("ask('SELECT pg_backend_pid()')") == before
    holder.do("connection.close()")
    eventually(lambda: before not in {session.pid for session in database.sessions()})


def test_resize_is_seen_by_the_server(shop, carpool, database, look):
    processes = shop(), shop()
    for process in processes:
        process.do("request()")
    code, out, _ = carpool("resize", NAME, "2", "5")
    assert code == 0
    assert out.endswith("Resized: shop to min 2, max 5 in 2 processes\n")
    database.wait_for_sessions(4)
    eventually(lambda: figures(look)["capacity"] == 10)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        (("3", "2"), "'min_size' is 3, above 'max_size', which is 2; allowed: at most max_size"),
        (("a", "b"), "'a' and 'b': both must be whole numbers"),
    ],
)
def test_sizes_that_cannot_be(shop, carpool, sizes, reason):
    shop().do("ask()")
    assert carpool("resize", NAME, *sizes) == (2, "", f"carpool: {reason}\n")


def test_a_resume_right_after_a_pause_is_no_resume_of_nothing(shop, carpool):
    shop().do("ask()")
    carpool("pause", NAME, "--no-wait")
    assert carpool("resume", NAME)[1].endswith("Resumed: shop in 1 process\n")


def test_what_is_said_of_orders_fits_into_80_columns(shop, carpool):
    name = "shop on db.internal:5432 as somebody who has a name of some length"
    shop(name=name).do("ask()")
    code, out, _ = carpool("drain", name)
    assert code == 0
    assert f"Order given to drain {name} (1 process)" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    code, _, err = carpool("drain", "x")
    assert code == 2
    assert err.splitlines()[1:] == [f"  {name} (default)"]
    assert max(map(len, err.splitlines())) <= 80


def test_an_order_as_json_without_waiting(shop, carpool, look):
    process = shop()
    process.do("ask()")
    code, out, _ = carpool("resize", NAME, "0", "7", "--no-wait", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["number"] > 0
    assert told | {"number": 1} == {
        "ok": True,
        "verb": "resize",
        "pool": NAME,
        "number": 1,
        "sizes": [0, 7],
        "was_paused": False,
        "processes": [process.pid],
        "fault": "",
    }
    eventually(lambda: figures(look)["max_size"] == 7)


def test_orders_to_a_pool_of_the_broker(shop, start, carpool, directory, database):
    holder, other = (shop(share="host", broker_dir=str(directory)) for _ in range(2))
    holder.do("ask()")
    other.do("request()")
    code, out, _ = carpool("status")
    assert code == 0
    assert "1 pool in 2 processes and the broker with pid " in out
    assert "max 3 in all processes together\n" in out
    pause = start("pause", NAME)
    assert pause.stdout.readline() == "Order given to pause shop (2 processes)\n"
    assert pause.stdout.readline() == "waiting for 1 connection in use\n"
    holder.do("connection.close()")
    assert pause.wait(STUCK) == 0
    eventually(lambda: database.sessions() == [])
    assert "unhealthy: shop: paused" in carpool("status")[1]
    assert carpool("resume", NAME)[:2] == (
        0,
        "Order given to resume shop (2 processes)\nResumed: shop in 2 processes\n",
    )
    other.do("request()")


# ---------------------------------------------------------------------------- help


@pytest.mark.parametrize("words", [[], *([each] for each in COMMANDS)])
def test_help(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "examples:\n  carpool" in out
    assert max(map(len, out.splitlines())) <= 96
