"""Who may use the broker, what it tells, and what it makes of garbage."""

import json
import os
import pwd
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool import __version__
from carpool.host import frames
from carpool.host.house import SOCKETS
from tests.host.hosts import SOON, host_on
from tests.host.nursery import Failed
from tests.probing import eventually

USE = "with pool.connection() as c: run(c, 'SELECT 1')"
ACQUIRE = "c = pool.acquire()"
PASSWORD = "3Xtr4-s3cr3t!"


@pytest.fixture(scope="module")
def host(request, kind):
    with host_on(kind, request, 2) as host:
        yield host


@pytest.fixture(scope="module")
def witness(host):
    witness = host.start()
    witness.do(USE)
    return witness


@pytest.fixture(scope="module")
def pool_socket(host, witness):
    """Return the path where shells connect."""
    return Path(host.status()["path"], SOCKETS[host.status()["kind"]])


@pytest.fixture(scope="module", autouse=True)
def rogue(host, pool_socket):
    """A process that says what it should not."""
    rogue = host.start()
    rogue.do(USE)
    return rogue


# ------------------------------------------------------------------------ access


def test_all_is_for_this_user_alone(host, witness, pool_socket):
    assert stat.S_IMODE(host.place.root.stat().st_mode) == 0o700
    assert pool_socket.is_socket()
    for each in (host.place.folder, *host.place.folder.rglob("*")):
        found = each.lstat()
        assert found.st_uid == os.geteuid()
        assert stat.S_IMODE(found.st_mode) & 0o077 == 0, each


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("where", ["control", "pool"])
def test_another_user_is_turned_away(host, witness, pool_socket, where):
    path = pool_socket if where == "pool" else host.place.control
    opened = [host.place.root, host.place.folder, pool_socket.parent, path]
    modes = [each.stat().st_mode for each in opened]
    for each in opened:  # though all the modes would let everybody in
        each.chmod(0o777)
    try:
        assert heard_as_nobody(path) == b""
    finally:
        for each, mode in zip(opened, modes, strict=True):
            each.chmod(mode)
    witness.do(USE, SOON)


def heard_as_nobody(path):
    """Return what another user hears who asks for the status."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setuid(pwd.getpwnam("nobody").pw_uid)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(path))
                try:
                    connection.sendall(line(want="status"))
                    os.write(writing, connection.recv(100))
                except (BrokenPipeError, ConnectionResetError):
                    pass
        except BaseException as error:  # noqa: BLE001 - the parent is to know
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as heard:
        told = heard.read()
    os.waitpid(child, 0)
    return told


# ------------------------------------------------------------------- credentials


def test_a_wrong_password_is_never_served_with_the_right_ones_connections(host, witness):
    wrong = host.start(params={"password": "wrong"})
    with pytest.raises(Failed, match=r"password authentication failed|Access denied"):
        wrong.do(ACQUIRE)
    witness.do(USE, SOON)
    with pytest.raises(Failed, match=r"OperationalError|PoolUnavailable"):
        wrong.do(ACQUIRE)


def test_no_secret_is_told(make_host):
    host = make_host(1)
    host.set_password(PASSWORD)
    worker = host.start(params={"password": PASSWORD})
    worker.do(USE)
    wrong = host.start(params={"password": "wr0ng" + PASSWORD})
    with pytest.raises(Failed) as caught:
        wrong.do(ACQUIRE)
    told = [caught.value.text, json.dumps(host.ask("status")), host.log()]
    told += [str(each) for each in host.place.folder.rglob("*")]
    for each in host.place.folder.rglob("*"):
        if each.is_file():
            told.append(each.read_bytes().decode("latin1"))
    for name in ("cmdline", "environ"):
        told.append(Path(f"/proc/{host.broker.pid}", name).read_text())
    assert len(told) > 8
    assert not [each for each in told if PASSWORD in each]


# ----------------------------------------------------------------------- garbage

few = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "version": st.just(__version__) | values,
        # "stop" would be obeyed: it is no garbage
        "want": st.sampled_from(["pool", "status", "drain", "resume", "nothing"]) | values,
        "kind": st.sampled_from(["postgresql", "mysql", "sqlite3"]) | values,
        "login": values,
        "options": st.dictionaries(st.sampled_from(["max_size", "timeout", "name"]), values),
        "pool": values,
    },
).filter(lambda request: request.get("want") not in ("stop", "pause"))


def line(**message):
    return json.dumps({"version": __version__, **message}).encode() + b"\n"


def throw(path, data):
    """Send something and hang up; what comes back is of no interest."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass


@few
@given(data=st.binary(max_size=300) | st.binary(max_size=50).map(lambda data: data + b"\n"))
def test_garbage_on_the_control_socket(host, witness, data):
    throw(host.place.control, data)
    witness.do(USE, SOON)


@few
@given(request=requests)
def test_requests_that_make_no_sense(host, witness, request):
    throw(host.place.control, json.dumps(request).encode() + b"\n")
    witness.do(USE, SOON)


def test_a_line_without_end(host, witness):
    throw(host.place.control, b"x" * 1_000_000)
    throw(host.place.control, b'{"a":' * 20_000 + b"\n")
    witness.do(USE, SOON)


@few
@given(data=st.binary(max_size=300))
def test_garbage_instead_of_a_login(host, witness, pool_socket, data):
    throw(pool_socket, data)
    witness.do(USE, SOON)


frame = st.binary(max_size=20) | st.builds(
    frames.request,
    st.sampled_from([frames.LEASE, frames.IDLE, frames.BACK, frames.BROKEN]),
    st.integers(0, 2**32 - 1),
)


@few
@given(data=st.lists(frame, max_size=8).map(b"".join))
def test_garbage_of_a_shell(host, witness, rogue, data):
    rogue.do("shell = pool._new_shell(1e9)")
    rogue.do(f"shell.channel.sendall({data!r})")
    rogue.do("pool.bury(shell, b'D'); del shell")  # it may have been lent what it asked for
    witness.do(USE, SOON)


def test_nothing_of_all_that_is_left(host, witness, rogue):
    def pools():
        return host.ask("status")["pools"]

    eventually(lambda: not any(each["leased"] or each["waiting"] for each in pools()))
    assert host.ask("status")["broker"]["clients"] <= 4
    for _ in range(3):
        witness.do(USE, SOON)
        rogue.do(USE, SOON)
