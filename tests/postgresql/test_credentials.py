"""Promise 9, without Django: fresh credentials for every new connection."""

import pytest

from tests.postgresql.probing import pid_of
from tests.probing import value


@pytest.fixture
def role(postgres):
    postgres.create_role("renewed", "first")
    yield "renewed"
    postgres.kill_sessions(user="renewed")
    postgres.query("DROP ROLE renewed")


def rotate(postgres, role, password):
    postgres.query(f"ALTER ROLE {role} PASSWORD '{password}'")


@pytest.mark.parametrize("kind", [str, dict])
def test_a_rotated_password_serves_new_connections(make_pool, postgres, role, kind):
    current = {"password": "first"}

    def credentials():
        return current["password"] if kind is str else dict(current)

    pool = make_pool({"credentials": credentials}, user=role, password="never used")
    with pool.connection() as connection:
        pid = pid_of(connection)
    rotate(postgres, role, "second")
    with pool.connection() as connection:  # the session goes on: no login, no password
        assert pid_of(connection) == pid
    pool.drain()
    with pytest.raises(Exception, match="password authentication failed"):
        pool.acquire()
    current["password"] = "second"
    with pool.connection() as connection:
        assert value(connection, "SELECT current_user") == role


def test_a_wrong_password_is_told_but_never_shown(make_pool, role, caplog):
    pool = make_pool(user=role, password="not-this-one")
    with pytest.raises(Exception, match="password authentication failed") as caught:
        pool.acquire()
    shown = f"{caught.value} {pool!r} {pool.name} {caplog.text}"
    assert "not-this-one" not in shown
