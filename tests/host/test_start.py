"""The broker is found or started: by whom, how often, with what, and what is said if it fails."""

import fcntl
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipapp
from pathlib import Path

import psutil
import pytest

from carpool import __version__
from carpool.host import control, start
from carpool.host.places import NoBroker, Place
from tests.host.brokers import log_of, own_place, pid_of, processes_of, wait_for_end
from tests.probing import ROOT, STUCK, eventually, finish, start_program

PATIENCE = 30.0
HEAD = """
import json, os, sys, time
from carpool.host import control, places, start
given = json.loads(os.environ["PARAMS"])
place = places.find(given["root"])
def connect():
    return start.connect(place, 60, 30)
"""


@pytest.fixture
def place():
    with own_place() as place:
        yield place


def connect(place):
    """Return the pid of the broker, found or started."""
    with start.connect(place, 60, PATIENCE) as connection:
        return pid_of(connection)


def serving(place):
    """Return the pid of the broker that runs, once it answers: then it heeds signals as well."""
    request = {"version": __version__, "want": "status"}
    return control.ask(place, request, STUCK)["broker"]["pid"]


def program(tmp_path, place, text, number=0, **env):
    given = {"root": str(place.root)}
    return start_program(tmp_path / f"program{number}.py", HEAD + text, given, **env)


def pids(place):
    return [each.pid for each in processes_of(place)]


# ------------------------------------------------------------- one, and only one


def test_the_first_starts_it_and_the_second_finds_it(place):
    pid = connect(place)
    assert connect(place) == pid
    assert pids(place) == [pid]
    assert place.lock.read_text() == f"{pid}\n"


def test_what_it_makes_is_for_this_user_alone(place):
    connect(place)
    for path in place.folder.iterdir():
        assert path.lstat().st_mode & 0o077 == 0, path


def test_of_twelve_that_race_one_comes(tmp_path, place):
    text = "sys.stdin.readline()\nprint(control.peer(connect())[0])"
    racers = []
    for number in range(12):
        path = tmp_path / f"racer{number}.py"
        path.write_text(HEAD + text)
        racers.append(
            subprocess.Popen(
                [sys.executable, path],
                cwd=ROOT,
                env=os.environ | {"PARAMS": json.dumps({"root": str(place.root)})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    found = [racer.communicate(timeout=STUCK) for racer in racers]
    assert {err for _, err in found} == {""}
    assert len({out for out, _ in found}) == 1
    assert pids(place) == [int(found[0][0])]
    assert log_of(place).count("The broker listens") == 1


def test_threads_that_race(place):
    found = []
    threads = [threading.Thread(target=lambda: found.append(connect(place))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == pids(place) * 4


def test_a_dead_socket_is_replaced(place):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place.control))
    pid = connect(place)
    assert pids(place) == [pid]


def test_a_killed_broker_is_replaced(place):
    first = psutil.Process(connect(place))
    first.kill()
    wait_for_end(first.pid)
    assert place.control.is_socket()
    second = connect(place)
    assert second != first.pid
    assert pids(place) == [second]


def test_one_that_is_ending_is_waited_for(place):
    """It listens no more, and has the lock as long as it closes its connections."""
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    found = []
    thread = threading.Thread(target=lambda: found.append(connect(place)))
    thread.start()
    waiting = eventually(
        lambda: [each for each in processes_of(place) if each.ppid() != os.getpid()]
    )
    assert not found
    os.close(lock)
    thread.join()
    assert found == [waiting[0].pid]


def test_one_that_neither_listens_nor_ends_is_named(place, monkeypatch):
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, b"4711\n")
    short = "from carpool.host import lock, __main__; lock.PATIENCE = 0; exit(__main__.main())"
    done = subprocess.run(
        [sys.executable, "-c", short, "--foreground", f"--directory={place.root}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=STUCK,
    )
    os.close(lock)
    assert done.returncode == 1
    assert f"The broker with pid 4711 holds {place.lock}, but cannot be reached" in done.stderr


def test_one_that_takes_no_connection(place):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(place.control))
        listener.listen(0)
        first.connect(str(place.control))
        with pytest.raises(NoBroker, match="is there, but takes no connection"):
            list(iter(lambda: start.reach(place, time.monotonic()), None))
    assert pids(place) == []


# ------------------------------------------------------------ who has started it


def test_it_survives_who_started_it_and_the_keys_of_its_terminal(tmp_path, place):
    text = "print(control.peer(connect())[0], flush=True); time.sleep(1000)"
    starter = program(tmp_path, place, text)
    pid = int(starter.stdout.readline())
    broker = psutil.Process(pid)
    assert os.getsid(pid) != os.getsid(starter.pid)
    assert os.getpgid(pid) != os.getpgid(starter.pid)
    starter.kill()
    finish(starter)
    assert broker.is_running()
    assert connect(place) == pid


def test_a_starter_killed_on_the_way_leaves_no_harm(tmp_path, place):
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    starter = program(tmp_path, place, "connect()")
    eventually(lambda: pids(place))
    starter.kill()
    finish(starter)
    os.close(lock)
    pid = connect(place)
    eventually(lambda: pids(place) == [pid])


def test_it_leaves_no_zombie_and_no_child(place):
    before = psutil.Process().children()
    pid = connect(place)
    assert set(psutil.Process().children()) <= set(before)
    assert pid not in [each.pid for each in psutil.Process().children(recursive=True)]


def test_it_has_nothing_of_its_starter(place, monkeypatch):
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.setenv("DJANGO_SECRET_KEY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)  # as gunicorn's are
        broker = psutil.Process(connect(place))
        assert broker.net_connections("inet") == []
    assert broker.cwd() == "/"
    assert set(broker.environ()) <= {*start.KEPT, "PYTHONPATH", "LC_CTYPE"}
    ends = [Path(f"/proc/{broker.pid}/fd/{number}").readlink() for number in range(3)]
    assert ends == [Path(os.devnull), Path(os.devnull), place.log]


def test_signals_that_its_starter_has_blocked_reach_it(place):
    """As uWSGI does in the threads of its workers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        pid = connect(place)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert serving(place) == pid
    os.kill(pid, signal.SIGTERM)
    wait_for_end(pid)
    assert not place.control.exists()
    assert "The broker ends" in log_of(place)


def test_under_uwsgi_python_is_found_all_the_same(place, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/local/bin/uwsgi")
    connect(place)


def test_it_is_found_in_a_zip_file_that_runs(tmp_path, place):
    """By a Python that has no carpool installed, nor Django."""
    source = tmp_path / "app"
    shutil.copytree(ROOT / "src" / "carpool", source / "carpool")
    (source / "__main__.py").write_text(HEAD + "print(control.peer(connect())[0])")
    zipapp.create_archive(source, tmp_path / "app.pyz")
    done = subprocess.run(
        [sys._base_executable, "-I", "-S", tmp_path / "app.pyz"],
        env={"PARAMS": json.dumps({"root": str(place.root)})},
        capture_output=True,
        text=True,
        check=False,
        timeout=STUCK,
    )
    assert done.stderr == ""
    assert pids(place) == [int(done.stdout)]


def test_under_gevent_greenlets_go_on_and_nothing_forks(tmp_path, place):
    pytest.importorskip("gevent", reason="gevent is not installed")
    text = """
forks, ticks = [], []
os.register_at_fork(before=lambda: forks.append(1))
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.001)
ticker = gevent.spawn(tick)
gevent.sleep(0)
before = len(ticks)
with connect() as connection:
    print(control.peer(connection)[0], len(forks), len(ticks) - before > 10)
"""
    patched = "import gevent.monkey; gevent.monkey.patch_all(); import gevent\n" + HEAD + text
    (tmp_path / "patched.py").write_text(patched)
    run = start_program(tmp_path / "patched.py", patched, {"root": str(place.root)})
    out, err = finish(run)
    assert err == ""
    assert out.split() == [*map(str, pids(place)), "0", "True"]


# ------------------------------------------------------------------ if it fails


def stand_in(tmp_path, monkeypatch, text):
    """Have a program started for a broker."""
    path = tmp_path / "broker"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o700)
    monkeypatch.setattr(start, "python", lambda: str(path))
    return path


def test_one_that_does_not_start_says_why_and_how_to_try(tmp_path, place, monkeypatch):
    place.log.write_text("of long ago\n")
    path = stand_in(tmp_path, monkeypatch, "import sys; sys.exit('no such library')")
    with pytest.raises(NoBroker) as caught:
        start.connect(place, 60, PATIENCE)
    command = shlex.join([str(path), "-P", "-m", "carpool.host", f"--directory={place.root}"])
    assert str(caught.value) == (
        f"The broker of carpool did not start (exit code 1). To see why: {command} --foreground\n"
        "    no such library"
    )


def test_one_that_takes_too_long_is_not_waited_for(tmp_path, place, monkeypatch):
    stand_in(tmp_path, monkeypatch, "import time; time.sleep(1000)")
    before = psutil.Process().children()
    with pytest.raises(NoBroker, match="has not started in time"):
        start.connect(place, 60, 0.1)
    assert psutil.Process().children() == before


def test_where_no_program_can_be_started(place, monkeypatch):
    monkeypatch.setattr(start, "python", lambda: "/nonexistent/python")
    with pytest.raises(NoBroker, match=r"cannot be started: .*/nonexistent/python"):
        start.connect(place, 60, PATIENCE)


def test_a_broker_that_fails_says_so_to_who_starts_it(place):
    (place.folder / "control.sock").mkdir()
    with pytest.raises(NoBroker, match=r"did not start \(exit code 1\)(.|\n)*ERROR"):
        start.connect(place, 60, PATIENCE)


def test_the_log_is_bounded(place):
    place.log.write_bytes(b"x" * (start.LOG_LIMIT + 1))
    connect(place)
    assert "x" * 100 not in log_of(place)
    assert "The broker listens" in log_of(place)


# --------------------------------------------------------------- other versions


def test_the_broker_of_another_version_is_left_alone_and_told_of_once(place, caplog):
    other = Place(place.root / "0.0.9")
    other.folder.mkdir(mode=0o700)
    caplog.set_level(logging.INFO, "carpool.host")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(other.control))
        listener.listen()
        for _ in range(2):
            pid = connect(place)
            os.kill(pid, signal.SIGTERM)
            wait_for_end(pid)
    (told,) = caplog.messages
    assert told == (
        f"This process has carpool {__version__} and starts a broker of its own; of version 0.0.9, "
        f"one is running in {place.root}"
    )


# ------------------------------------------------------- in the foreground, systemd


def foreground(place):
    command = [sys.executable, "-m", "carpool.host", "--foreground", f"--directory={place.root}"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it_well(place, number):
    broker = foreground(place)
    eventually(place.control.exists)
    assert connect(place) == serving(place) == broker.pid
    broker.send_signal(number)
    _, err = broker.communicate(timeout=STUCK)
    assert broker.returncode == 0
    assert "INFO" in err.splitlines()[0]
    assert f"The broker listens on {place.control}" in err.splitlines()[0]
    assert not place.control.exists()


def test_in_the_foreground_a_second_one_is_an_error(place):
    pid = connect(place)
    broker = foreground(place)
    _, err = broker.communicate(timeout=STUCK)
    assert broker.returncode == 1
    assert err.endswith(f"The broker with pid {pid} is at work in {place.folder} already\n")
    assert pids(place) == [pid]


ACTIVATED = """
import os, runpy, sys
listener, root = sys.argv[1:]
os.dup2(int(listener), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
sys.argv[1:] = ["--foreground", f"--directory={root}"]
runpy.run_module("carpool.host", run_name="__main__")
"""


def test_it_takes_the_socket_that_systemd_has_opened(place):
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        listener.bind(str(place.control))
        listener.listen()
        address = f"\0carpool-{os.getpid()}"
        notified.bind(address)
        broker = subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, str(listener.fileno()), str(place.root)],
            env=os.environ | {"NOTIFY_SOCKET": "@" + address[1:]},
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        notified.settimeout(STUCK)
        assert notified.recv(100) == b"READY=1"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place.control))
            client.sendall(b'{"version":"%s","want":"status"}\n' % __version__.encode())
            assert json.loads(client.recv(65536))["broker"]["pid"] == broker.pid
        broker.terminate()
        broker.communicate(timeout=STUCK)
        assert broker.returncode == 0


@pytest.mark.parametrize("linger", ["-1", "nan", "soon"])
def test_a_linger_that_is_none(linger):
    done = subprocess.run(
        [sys.executable, "-m", "carpool.host", f"--linger={linger}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=STUCK,
    )
    assert done.returncode == 2
    assert f"argument --linger: '{linger}'; allowed: a number, 0 or more, or inf" in done.stderr
