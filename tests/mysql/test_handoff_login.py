"""What a worker tells a broker to log in with."""

import json

import pytest
from MySQLdb.constants import CLIENT

from carpool.host.handoff import NotShareable
from carpool.mysql.driver import MysqlclientDriver
from carpool.mysql.pymysql import PyMySQLDriver

VARIABLES = ("MYSQL_PWD", "MYSQL_UNIX_PORT", "MYSQL_TCP_PORT")
BASE = {"host": "db", "user": "shop", "password": "secret", "database": "shop"}

SET_UP = {
    "charset": "utf8mb4",
    "collation": "utf8mb4_bin",
    "autocommit": True,
    "init_command": "SET @a = 1",
    "isolation_level": "read committed",
    "sql_mode": "ANSI",
    "settings": {"sql_auto_is_null": False},
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def login(**params):
    return MysqlclientDriver(**params).login()


def test_a_login_is_json_and_leads_to_an_equal_driver():
    params = BASE | SET_UP | {"port": 3307, "client_flag": 2, "connect_timeout": 3}
    told = json.loads(json.dumps(login(**params)))
    first, second = MysqlclientDriver.from_login(told), MysqlclientDriver.from_login(told)
    worker = MysqlclientDriver(**params)
    assert first.key == second.key == worker.key
    assert first.name == worker.name
    assert first._set_up == worker._set_up
    assert MysqlclientDriver.from_login(login(**params | {"password": "x"})).key != first.key
    assert first.login() == told


def test_what_only_the_worker_has_a_use_for_is_left_out():
    mine = {"conv": {}, "cursorclass": list, "use_unicode": True, "read_timeout": 5}
    assert login(**BASE, **mine) == login(**BASE)


def test_old_names_tell_the_same():
    old = {"host": "db", "user": "shop", "passwd": "secret", "db": "shop"}
    assert login(**old) == login(**BASE)


def test_paths_do_not_depend_on_the_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of-somebody")
    told = login(
        unix_socket="a/socket",
        charset="utf8mb4",
        read_default_file="~/my.cnf",
        local_infile_dir="data",
        server_public_key_path="key.pem",
        ssl={"ca": "ca.pem", "cert": "/etc/cert.pem", "cipher": "ECDHE"},
    )
    assert told["unix_socket"] == f"{tmp_path}/a/socket"
    assert told["read_default_file"] == "/home/of-somebody/my.cnf"
    assert told["local_infile_dir"] == f"{tmp_path}/data"
    assert told["server_public_key_path"] == f"{tmp_path}/key.pem"
    ca = f"{tmp_path}/ca.pem"
    assert told["ssl"] == {"ca": ca, "cert": "/etc/cert.pem", "cipher": "ECDHE"}


@pytest.mark.parametrize(
    ("params", "variable", "told"),
    [
        ({"host": "db"}, "MYSQL_PWD", {"password": "7"}),
        ({"host": "db", "password": ""}, "MYSQL_PWD", {"password": "7"}),
        ({"host": "db", "password": "x"}, "MYSQL_PWD", {"password": "x"}),
        ({"host": "db"}, "MYSQL_TCP_PORT", {"port": 7}),
        ({"host": "db", "port": 1}, "MYSQL_TCP_PORT", {"port": 1}),
        ({"host": "db"}, "MYSQL_UNIX_PORT", {"unix_socket": None}),
        ({}, "MYSQL_UNIX_PORT", {"unix_socket": "/7"}),
        ({"host": "localhost"}, "MYSQL_UNIX_PORT", {"unix_socket": "/7"}),
        ({"unix_socket": "/s"}, "MYSQL_UNIX_PORT", {"unix_socket": "/s"}),
        ({}, "MYSQL_TCP_PORT", {"port": None}),
        ({"read_default_file": "/f", "charset": "utf8mb4"}, "MYSQL_PWD", {"password": None}),
    ],
)
def test_what_the_environment_tells_is_told(monkeypatch, params, variable, told):
    monkeypatch.setenv(variable, "/7" if variable == "MYSQL_UNIX_PORT" else "7")
    found = login(**params)
    assert {name: found.get(name) for name in told} == told


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"compress": True}, "compress"),
        ({"client_flag": CLIENT.COMPRESS}, "compress"),
        ({"read_default_file": "/etc/my.cnf"}, "give `charset` as well"),
        ({"read_default_group": "client"}, "give `charset` as well"),
        ({"ssl": {"ca": object()}}, "cannot be told to a broker"),
        ({"password": b"secret"}, "cannot be told to a broker"),
    ],
)
def test_what_cannot_be_shared_is_refused_by_its_reason(params, reason):
    with pytest.raises(NotShareable, match=reason):
        login(**params)


def test_another_client_library_is_refused_by_its_version():
    told = login(**BASE)
    with pytest.raises(NotShareable, match=r"version .* this process 1\.2\.3; restart the broker"):
        MysqlclientDriver.from_login(told | {"library": "1.2.3"})


def test_tls_is_told():
    tls = {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": "/ca.pem"}}
    assert tls.items() <= login(**BASE, **tls).items()


def test_pymysql_does_not_hand_over():
    assert not hasattr(PyMySQLDriver, "login")
