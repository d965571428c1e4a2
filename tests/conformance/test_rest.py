"""What a driver tells a pool's user who would give the connection back between two statements."""

import pytest

from tests.conformance.asking import run


@pytest.fixture
def pool(make_pool, subject):
    """A pool of one connection."""
    return make_pool(subject, max_size=1)


def test_what_is_over_is_at_rest(pool, subject):
    with pool.connection() as connection:
        assert pool.driver.at_rest(connection)
        run(connection, "INSERT INTO note VALUES (1)")
        assert pool.driver.at_rest(connection)
        run(connection, "SELECT n FROM note")
        assert pool.driver.at_rest(connection)
        assert pool.driver.effect(connection) is None
    assert subject.ask("SELECT count(*) FROM note") == 1


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_transaction_begun_by_hand_is_not(pool, subject, end):
    with pool.connection() as connection:
        run(connection, "BEGIN")
        run(connection, "INSERT INTO note VALUES (1)")
        assert not pool.driver.at_rest(connection)
        assert subject.ask("SELECT count(*) FROM note") == 0
        run(connection, end)
        assert pool.driver.at_rest(connection)
        assert subject.ask("SELECT count(*) FROM note") == (end == "COMMIT")


def test_a_failed_statement_leaves_no_unrest(pool):
    with pool.connection() as connection:
        with pytest.raises(Exception, match="nowhere"):
            run(connection, "SELECT * FROM nowhere")
        assert pool.driver.at_rest(connection)


def test_a_failed_transaction_is_not_at_rest(pool):
    with pool.connection() as connection:
        run(connection, "BEGIN")
        with pytest.raises(Exception, match="nowhere"):
            run(connection, "SELECT * FROM nowhere")
        assert not pool.driver.at_rest(connection)
        run(connection, "ROLLBACK")
        assert pool.driver.at_rest(connection)


def test_a_killed_session_is_not(make_pool, server_subject):
    pool = make_pool(server_subject, max_size=1)
    with pool.connection() as connection:
        run(connection, "SELECT 1")
        server_subject.kill()
        with pytest.raises(Exception):  # noqa: B017, PT011 - each module has its own
            run(connection, "SELECT 1")
        assert not pool.driver.at_rest(connection)


def test_an_attribute_set_by_the_user_is_not(pool, subject):
    name, wanted = subject.attribute
    with pool.connection() as connection:
        setattr(connection, name, wanted)
        assert not pool.driver.at_rest(connection)
    with pool.connection() as connection:
        assert pool.driver.at_rest(connection)


def test_attributes_that_configure_sets_are(make_pool, hooked_subject):
    name, wanted = hooked_subject.attribute
    pool = make_pool(
        hooked_subject, max_size=1, configure=lambda connection: setattr(connection, name, wanted)
    )
    with pool.connection() as connection:
        assert getattr(connection, name) == wanted
        assert pool.driver.at_rest(connection)


def test_an_effect_has_a_reason_until_it_is_reset(make_pool, subject, leak):
    pool = make_pool(subject, max_size=1)
    with pool.connection() as connection:
        assert pool.driver.effect(connection) is None
        run(connection, subject.leaks[leak].plant)
        reason = pool.driver.effect(connection)
        run(connection, "SELECT 1")
        assert pool.driver.effect(connection) == reason
    assert isinstance(reason, str)
    assert 0 < len(reason) < 100
    with pool.connection() as connection:
        assert pool.driver.effect(connection) is None


def test_a_cursor_of_the_connection_itself_is_told_of(pool, subject):
    for spoil in (None, next(iter(subject.leaks.values())).plant):  # without a reset, and with one
        with pool.connection() as connection:
            assert not connection.session.by_hand
            connection.cursor().close()
            assert connection.session.by_hand
            if spoil:
                run(connection, spoil)
    with pool.connection() as connection:
        assert not connection.session.by_hand


def test_cursors_of_a_set_up_or_of_the_pool_are_not(make_pool, hooked_subject):
    pool = make_pool(
        hooked_subject, max_size=1, configure=lambda connection: run(connection, "SELECT 1")
    )
    for _ in range(2):
        with pool.connection() as connection:
            assert not connection.session.by_hand
        pool.driver.ping(connection, 5)


def test_every_mode_is_served(subject):
    assert subject.driver().modes == ("session", "transaction", "statement")
