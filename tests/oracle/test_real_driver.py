"""The real python-oracledb, without a server: our classes fit it, and the stand-in is like it."""

import gc
import inspect
import socket
import struct
import threading
from types import SimpleNamespace

import pytest
from django.db import OperationalError

oracledb = pytest.importorskip("oracledb", reason="python-oracledb is not installed")

from carpool.oracle import session as ours  # noqa: E402 - needs the module
from carpool.oracle.driver import OracleDriver  # noqa: E402 - needs the module
from carpool.oracle.transport import socket_of  # noqa: E402 - needs the module


@pytest.fixture
def listener():
    """A listener of TCP that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def refused():
    """The number of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.getsockname()[1]
    return number  # noqa: RET504 - once it is closed


def parameters(function):
    return inspect.signature(function).parameters


@pytest.mark.parametrize("kind", ["Connection", "Cursor"])
def test_our_methods_take_what_the_drivers_take(kind):
    given, mine = getattr(oracledb, kind), getattr(ours, kind)
    for name, method in inspect.getmembers(mine, inspect.isfunction):
        if name[0] == "_" or not hasattr(given, name) or method is getattr(given, name):
            continue
        named = [each.name for each in parameters(method).values() if each.kind <= 1]
        theirs = list(parameters(getattr(given, name)))
        assert theirs[: len(named)] == named, name


KNOWN = {
    # Told apart by their statement
    "cursor", "execute", "executemany", "parse", "callproc", "callfunc",
    # Fetching, which a stale cursor must not do
    "fetchone", "fetchmany", "fetchall", "scroll",
    # In this process alone, or about statements that have been observed
    "arrayvar", "bindnames", "close", "getarraydmlrowcounts", "getbatcherrors",
    "getimplicitresults", "prepare",
    "setinputsizes", "setoutputsize", "var",
}  # fmt: skip


def test_every_method_of_a_cursor_is_known():
    """A new version of the driver may bring another way to execute a statement."""
    methods = {name for name, _ in inspect.getmembers(oracledb.Cursor, callable) if name[0] != "_"}
    assert methods - KNOWN == set()


def test_every_method_of_a_connection_is_ours_or_known_to_be_harmless():
    for name, _ in inspect.getmembers(oracledb.Connection, inspect.isfunction):
        if name[0] != "_" and name not in ours.HARMLESS:
            assert name in vars(ours.Connection), name


def test_every_attribute_that_can_be_set_is_restored_or_a_trace():
    known = {*ours.ATTRIBUTES, *ours.LABELS}
    settable = {
        name
        for name, member in inspect.getmembers_static(oracledb.Connection)
        if isinstance(member, property) and member.fset
    }
    assert known <= settable
    assert settable - known <= {
        "callTimeout",  # another name of one of the above
        "current_schema",
        "external_name",
        "internal_name",
        "tag",
        "transaction_priority",
    }


@pytest.mark.parametrize("kind", ["Connection", "Cursor"])
def test_the_stand_in_is_like_the_driver(kind):
    standin = _standin()
    for name, member in vars(getattr(standin, kind)).items():
        if name[0] == "_":
            continue
        real = inspect.getattr_static(getattr(oracledb, kind), name)
        if inspect.isfunction(member):
            assert list(parameters(member)) == [
                each for each in parameters(real) if each in parameters(member)
            ], name
        elif isinstance(member, property):
            assert isinstance(real, property), name
            assert bool(member.fset) == bool(real.fset), name


def _standin():
    from tests.oracle import standin  # noqa: PLC0415 - here it is no module `oracledb`

    return standin


def test_the_errors_are_like_the_drivers(refused):
    standin = _standin()
    for name, member in vars(standin).items():
        if inspect.isclass(member) and issubclass(member, standin.Error):
            real = getattr(oracledb, name)
            assert [each.__name__ for each in member.__mro__] == [
                each.__name__ for each in real.__mro__
            ]
    with pytest.raises(oracledb.OperationalError) as caught:
        oracledb.connect(user="a", password="b", dsn=f"127.0.0.1:{refused}/x")
    (real,) = caught.value.args
    (like,) = standin.failure("DPY-6005: cannot connect to database").args
    assert real.full_code == like.full_code
    assert {"message", "code", "isrecoverable"} <= set(dir(real)) & set(dir(like))


def test_our_class_of_connections_is_accepted_and_a_refusal_is_the_drivers(refused):
    driver = OracleDriver(user="a", password="b", dsn=f"127.0.0.1:{refused}/x")
    with pytest.raises(oracledb.OperationalError, match="DPY-6005") as caught:
        driver.connect({})
    assert not driver.no_room(caught.value)


def test_a_refusal_reaches_the_user_as_djangos_error(refused, django_databases):
    entry = {
        "ENGINE": "carpool.oracle",
        "NAME": "x",
        "HOST": "127.0.0.1",
        "PORT": str(refused),
        "USER": "a",
        "PASSWORD": "b",
        "OPTIONS": {"pool": {"timeout": 5}},
    }
    connection = django_databases(default=entry)["default"]
    try:
        with pytest.raises(OperationalError, match="DPY-6005"):
            connection.cursor()
    finally:
        connection.close_pool()


REFUSED = b"(DESCRIPTION=(ERR=12516)(ERROR_STACK=(ERROR=(CODE=12516)(EMFI=4))))"
# Length, checksum, REFUSE, flags, checksum of the head, two reasons, length of the text, the text
REFUSAL = struct.pack(">HHBBHBBH", 12 + len(REFUSED), 0, 4, 0, 0, 34, 0, len(REFUSED)) + REFUSED


def test_a_listeners_refusal_and_the_socket_it_comes_through(listener):
    """There is no connection without a server; but one being opened has its socket already."""
    driver = OracleDriver(user="a", password="b", dsn=f"127.0.0.1:{listener.getsockname()[1]}/x")
    errors = []

    def connect():
        try:
            driver.connect({})
        except oracledb.Error as error:
            errors.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    peer, address = listener.accept()
    with peer:
        assert peer.recv(1000)  # the driver's first words: it has its socket
        compiled = [each for each in gc.get_objects() if type(each).__name__ == "ThinConnImpl"]
        found = [each.getsockname() for each in map(_socket_below, compiled) if each]
        assert address in found
        peer.sendall(REFUSAL)
        thread.join()
    assert "DPY-6000" in str(errors[0])
    assert driver.no_room(errors[0])


def _socket_below(compiled):
    """Find the socket of a connection that holds such an object, as an open one does."""
    return socket_of(SimpleNamespace(compiled=compiled))
