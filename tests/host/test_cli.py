"""The commands: against brokers with real databases, and against one that says what it is told."""

import doctest
import json
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager

import psutil
import pytest

from carpool import __version__
from carpool.__main__ import main
from carpool.host import cli, control, places, report, start, urls
from carpool.host.places import Place
from carpool.telemetry import text
from tests.host.brokers import own_place, pid_of, processes_of
from tests.host.nursery import Failed
from tests.probing import STUCK, eventually

COMMANDS = ["status", "top", "drain", "pause", "resume", "stop", "restart"]


@pytest.fixture
def place():
    with own_place() as place:
        yield place


def carpool(place, command, *arguments):
    """Start a command as a process of its own."""
    code = "import sys; from carpool.__main__ import main; sys.exit(main())"
    words = ["broker", command, f"--directory={place.root}", *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(capsys, place, command, *arguments):
    """Run a command here; return its exit code, output and errors."""
    code = main(["broker", command, f"--directory={place.root}", *arguments])
    return code, *capsys.readouterr()


POOL = {
    "id": "3f2a9c01",
    "name": "localhost:5432/shop",
    "kind": "postgresql",
    "path": "/run/user/1000/carpool/0.1.0/3f2a9c01",
    "database": "shop",
    "user": "me",
    "max_size": 1000,
    "min_size": 0,
    "idle": 3,
    "leased": 4,
    "pinned": 1,
    "relayed": 0,
    "opening": 1,
    "resetting": 2,
    "closing": 0,
    "waiting": 2,
    "longest_wait": 0.012,
    "leases": 1_234_567,
    "steals": 12,
    "resets": 3,
    "errors": 1,
    "last_error": "connection refused",
    "paused": False,
    "processes": [
        {"pid": 11, "command": "gunicorn", "leased": 1, "biased": 1, "waiting": 0, "leases": 9},
        {
            "pid": 4_194_304,
            "command": "python manage.py " + "x" * 100,
            "leased": 3,
            "biased": 1,
            "waiting": 2,
            "leases": 1_234_558,
        },
    ],
}


def status(*pools):
    broker = {"pid": 4711, "version": __version__, "uptime": 7384.0, "clients": 2}
    return {"ok": True, "broker": broker, "pools": list(pools)}


@contextmanager
def saying(place, *answers):
    """Be a broker that gives one answer after the other, the last one for ever."""
    left, asked = list(answers), []

    def answer(connection):
        with connection:
            if not (line := connection.recv(65536)):
                return  # who only looked whether somebody listens
            (request,) = control.Lines().receive(line)
            asked.append(request)
            connection.sendall(control.encode(left.pop(0) if left[1:] else left[0], 1 << 20))

    def serve():
        while True:
            try:
                answer(listener.accept()[0])
            except OSError:
                return

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.control))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


# --------------------------------------------------------------------- no broker


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_broker_one_line_says_so(capsys, place, command):
    code, out, err = run(capsys, place, command)
    assert (code, out) == (1, "")
    assert err.startswith(f"carpool: no broker is running in {place.folder}; ")
    assert err.count("\n") == 1
    assert processes_of(place) == []


def test_where_there_is_one_of_another_version_it_is_named(capsys, place, monkeypatch):
    monkeypatch.setattr(places, "defaults", list)  # there may be one as well
    other = Place(place.root / "0.0.9")
    other.folder.mkdir()
    with saying(other, {}):
        _, _, err = run(capsys, place, "status")
    assert (
        err == f"carpool: no broker is running in {place.folder}; there is one in {other.folder}\n"
    )


def test_a_directory_that_is_refused_is_one_line_too(capsys, place):
    place.root.chmod(0o755)
    code, _, err = run(capsys, place, "status")
    assert code == 1
    assert err.startswith(f"carpool: carpool cannot use {place.root}: others may use it")


def test_a_refusal_is_passed_on(capsys, place):
    refusal = {"ok": False, "error": {"class": "PoolError", "args": ["not today"]}}
    with saying(place, refusal):
        assert run(capsys, place, "status") == (1, "", "carpool: the broker refuses: not today\n")


# -------------------------------------------------------------------- the report


def test_the_report(capsys, place):
    with saying(place, status(POOL)):
        _, out, _ = run(capsys, place, "status")
    assert out.splitlines() == [
        f"carpool {__version__}, broker with pid 4711, up for 2 h 3 min, 2 clients",
        "",
        "localhost:5432/shop (postgresql, pool 3f2a9c01)",
        "      OPEN     MAX    IDLE  LEASED  PINNED RELAYED OPENING  RESETTING  CLOSING",
        "        10   1,000       3       4       1       0       1          2        0",
        "  2 waiting, for up to 12 ms, 1,234,567 leases, 12 steals, 3 resets, 1 error",
        "  last error: connection refused",
        "       PID  LEASED  BIASED  WAITING      LEASES  COMMAND",
        "   4194304       3       1        2   1,234,558  python manage.py xxxxxxxxxxx...",
        "        11       1       1        0           9  gunicorn",
    ]
    assert max(map(len, out.splitlines())) <= 80


def test_rates_are_differences(capsys):
    (process,) = POOL["processes"][:1]
    later = {**POOL, "leases": POOL["leases"] + 300, "processes": [{**process, "leases": 12}]}
    rates = report.rates(status(POOL), status(later), 2.0)
    assert rates == {("3f2a9c01", 0): 150.0, ("3f2a9c01", 11): 1.5}
    text = "\n".join(report.lines(status(later), rates))
    assert "150.0 leases/s" in text
    assert "         1.5  gunicorn" in text


def test_what_is_named_by_others_sends_no_codes_to_the_terminal(capsys, place):
    with saying(place, status({**POOL, "name": "\x1b[31m\nred", "last_error": "a\x1b]0;b\x07"})):
        _, out, _ = run(capsys, place, "status")
    assert all(line.isprintable() for line in out.splitlines())
    assert " [31m red (postgresql" in out


@pytest.mark.parametrize("module", [text, urls])
def test_doctests(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


# ----------------------------------------------------------------------- the top


def test_top_in_a_log_prints_blocks_without_codes(place):
    with saying(place, status(POOL)):
        out, err = carpool(place, "top", "--count=2").communicate(timeout=STUCK)
    assert err == ""
    assert out.count("broker with pid 4711") == 2
    assert out.count("0.0 leases/s") == 2
    assert "\x1b" not in out


def test_top_on_a_terminal_ends_with_q_and_leaves_it_as_it_was(place):
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with saying(place, status(POOL)):
        code = "import sys; from carpool.__main__ import main; sys.exit(main())"
        top = subprocess.Popen(
            [sys.executable, "-c", code, "broker", "top", f"--directory={place.root}"],
            stdin=theirs,
            stdout=theirs,
        )
        shown = b""
        while b"gunicorn" not in shown:
            shown += os.read(ours, 65536)
        os.write(ours, b"q")
        assert top.wait(STUCK) == 0
    assert b"\x1b[H\x1b[J" in shown
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


# ------------------------------------------------------------------ which pool


def test_a_pool_is_named_by_its_id_its_name_or_its_database():
    answer = status(POOL, {**POOL, "id": "b", "name": "other", "database": "blog"})
    for name in ("3f2a9c01", "localhost:5432/shop", "shop"):
        assert cli.one_pool(answer, name) is answer["pools"][0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuch", "there is no pool 'nosuch'; pools there are: localhost:5432/shop (3f2a9c01), "),
        ("shop", "2 pools are called shop; name one by its id: 3f2a9c01, b"),
    ],
)
def test_a_pool_that_is_none_or_several(capsys, place, name, said):
    with saying(place, status(POOL, {**POOL, "id": "b"})) as asked:
        code, _, err = run(capsys, place, "drain", name)
    assert code == 1
    assert said in err
    assert [each["want"] for each in asked] == ["status"]


# -------------------------------------------------------------- with a database


def test_the_state_of_a_real_pool(capsys, make_host):
    host = make_host(2)
    process = host.start()
    process.do("c = pool.acquire()")
    code, out, _ = run(capsys, host.place, "status", "--json")
    (pool,) = json.loads(out)["pools"]
    assert (code, pool["leased"], pool["processes"][0]["pid"]) == (0, 1, process.pid)
    code, out, _ = run(capsys, host.place, "status")
    assert code == 0
    assert f"{process.pid:>10}       1       0        0" in out
    assert "secret" not in out + json.dumps(pool)


def test_pause_waits_for_what_is_lent_and_resume_goes_on(make_host):
    host = make_host()
    holder, other = host.start(), host.start()
    holder.do("c = pool.acquire()")
    pause = carpool(host.place, "pause")
    assert pause.stdout.readline().startswith("Paused, who asks")
    assert pause.stdout.readline() == "waiting for 1 connection in use\n"
    other.tell("with pool.connection() as c: run(c, 'SELECT 1')")
    holder.do("pool.release(c)")
    out, err = pause.communicate(timeout=STUCK)
    assert (out, err, pause.returncode) == ("No connection is in use\n", "", 0)
    host.waiting(1)
    carpool(host.place, "resume", host.status()["id"]).communicate(timeout=STUCK)
    other.answer()


def test_who_asks_a_paused_pool_in_vain_is_told_so(make_host):
    host = make_host()
    process = host.start()
    process.do("with pool.connection() as c: run(c, 'SELECT 1')")
    carpool(host.place, "pause").communicate(timeout=STUCK)
    with pytest.raises(Failed, match=r"PAUSED \(`carpool broker resume` ends that\), size "):
        process.do("pool.acquire(0.1)")


def test_drain_replaces_the_connections(make_host):
    host = make_host()
    process = host.start()
    process.do("with pool.connection() as c: run(c, 'SELECT 1')")
    before = host.ids()
    out, err = carpool(host.place, "drain", host.status()["id"]).communicate(timeout=STUCK)
    assert err == ""
    assert host.status()["id"] in out
    process.do("with pool.connection() as c: run(c, 'SELECT 1')")
    assert not eventually(host.ids) & before


# ------------------------------------------------------------- its life and death


def started(place):
    with start.connect(place, 60, STUCK) as connection:
        return pid_of(connection)


def test_stop_returns_when_it_is_gone(capsys, place):
    pid = started(place)
    code, out, _ = run(capsys, place, "stop")
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert code == 0
    assert out.startswith(f"The broker with pid {pid} has ended")


def test_restart(capsys, place):
    before = started(place)
    code, out, _ = run(capsys, place, "restart", "--json")
    (after,) = [each.pid for each in processes_of(place)]
    assert code == 0
    assert json.loads(out) == {"ok": True, "stopped": before, "started": after}
    assert before != after


# ------------------------------------------------------------------ to the point


def test_url(capsys, place):
    with saying(place, status(POOL, {**POOL, "kind": "mysql", "database": "my blog"})):
        _, postgresql, _ = run(capsys, place, "url", "shop")
        _, mysql, _ = run(capsys, place, "url", "my blog")
    assert postgresql == f"postgresql:///shop?host={POOL['path']}&user=me\n"
    assert mysql == f"mysql --socket={POOL['path']}/mysql.sock --user=me 'my blog'\n"


def test_the_units_are_a_script_for_a_shell(capsys, tmp_path, place):
    _, script, _ = run(capsys, place, "systemd")
    files_only = script[: script.index("systemctl")]
    subprocess.run(["/bin/sh", "-c", files_only], env={"HOME": str(tmp_path)}, check=True)
    units = tmp_path / ".config/systemd/user"
    assert f"ListenStream={place.control}\n" in (units / "carpool-broker.socket").read_text()
    service = (units / "carpool-broker.service").read_text()
    assert f'"{sys.executable}" -m carpool.host --foreground "--directory={place.root}"' in service


def test_the_units_are_for_the_directory_of_the_environment(capsys, monkeypatch, place):
    monkeypatch.setenv("CARPOOL_DIR", str(place.root))
    assert main(["broker", "systemd"]) == 0
    assert f"ListenStream={place.control}\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], *([each] for each in cli.COMMANDS)])
def test_help(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main(["broker", *command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 88
    assert command or "examples:" in out


def test_manage_py_has_the_same_commands(place):
    from django.core.management import (  # noqa: PLC0415 - needs the settings
        CommandError,
        call_command,
    )
    from django.test import override_settings  # noqa: PLC0415 - likewise

    with override_settings(INSTALLED_APPS=["carpool"]), pytest.raises(CommandError) as error:
        call_command("carpool", "broker", "status", f"--directory={place.root}")
    assert error.value.returncode == 1
    assert str(error.value).startswith(f"no broker is running in {place.folder}; ")
