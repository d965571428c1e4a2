"""Promise 9: which parameters make another pool; what is told of them, and what is added."""

import doctest
import os
import socket

import pytest

from carpool.mysql import params
from tests.mysql.probing import id_of

CHANGES = [
    *({"user": "other"}, {"password": "other"}, {"host": "other"}, {"port": 1}),
    *({"database": "other"}, {"charset": "latin1"}, {"collation": "utf8mb4_bin"}),
    *({"autocommit": False}, {"isolation_level": "serializable"}, {"sql_mode": "ANSI"}),
    *({"init_command": "SET @a = 1"}, {"settings": {"time_zone": "+01:00"}}, {"ssl": {"ca": "x"}}),
    {"conv": {}},
]
GIVEN = {"user": "u", "password": "never shown", "host": "h", "port": 3306, "database": "d"}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_change_makes_another_pool(driver_class, change):
    given = GIVEN | {"autocommit": True}
    assert driver_class(**given).key == driver_class(**dict(given)).key
    assert driver_class(**given).key != driver_class(**given | change).key


def test_old_names_are_the_same_parameters(driver_class):
    old = dict(GIVEN)
    old["db"], old["passwd"] = old.pop("database"), old.pop("password")
    assert driver_class(**old).key == driver_class(**GIVEN).key


def test_the_name_has_no_secret(driver_class):
    assert driver_class(**GIVEN).name == "mysql://u@h:3306/d"
    assert driver_class(unix_socket="/run/s", user="u").name == "mysql://u@local/"


def test_doctests():
    found = doctest.testmod(params)
    assert found.attempted
    assert not found.failed


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="no such option on this system")
def test_tcp_keepalive(make_pool):
    with make_pool().connection() as connection:
        assert id_of(connection)
        with socket.socket(fileno=os.dup(connection.session.descriptor)) as same:
            assert same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_a_server_that_never_answers_a_login(driver_class):
    """The drivers would wait for it as long as the system does, or for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = {"host": "127.0.0.1", "port": silent.getsockname()[1], "user": "u"}
        assert driver_class(**where)._params["connect_timeout"] == 10
        with pytest.raises(driver_class.module_error):
            driver_class(**where, connect_timeout=1).connect({})
