"""What may be looked back at, as a request goes from session to session."""

from types import SimpleNamespace

import pytest

from carpool.errors import NotTheSameSession
from carpool.mysql.looking import looks_back
from carpool.wrapper.trail import Trail, reader


class Pool:
    driver = SimpleNamespace(looks_back=looks_back)


class Request:
    """A request that executes statements on sessions, as the wrapper would."""

    def __init__(self):
        self.trail, self.look = Trail(), reader(Pool())

    def lease(self, session, *statements):
        """Execute statements in one lease."""
        connection = session.connection
        self.trail.enter(connection)
        for sql in statements:
            note = self.look(sql)
            if note is not None and note.looks_back:
                self.trail.check(note.looks_back)
            self.trail.fresh = False
            if note is not None and note.makes_keys:
                self.trail.made_keys()
        self.trail.leave(connection)
        connection.session.lease += 1


class Connection:
    def __init__(self):
        self.session = SimpleNamespace(lease=0)


class Session:
    def __init__(self):
        self.connection = Connection()

    def used_by_somebody_else(self):
        self.connection.session.lease += 1


INSERT, KEY, COUNT = "INSERT INTO a VALUES ()", "SELECT LAST_INSERT_ID()", "SELECT ROW_COUNT()"
UPDATE, SELECT = "UPDATE a SET n = 1", "SELECT 1"


@pytest.fixture
def request_():
    return Request()


def refused(request_, session, *statements):
    with pytest.raises(NotTheSameSession, match="atomic"):
        request_.lease(session, *statements)


def test_in_the_same_session_it_may(request_):
    one = Session()
    request_.lease(one, INSERT)
    request_.lease(one, KEY, COUNT)


@pytest.mark.parametrize("asked", [KEY, COUNT])
def test_as_the_first_statement_it_may_not(request_, asked):
    """What it would get is another request's."""
    refused(request_, Session(), asked)


@pytest.mark.parametrize("asked", [KEY, COUNT])
def test_in_another_session_it_may_not(request_, asked):
    request_.lease(Session(), INSERT)
    refused(request_, Session(), asked)


@pytest.mark.parametrize("asked", [KEY, COUNT])
def test_nor_if_others_have_used_it_since(request_, asked):
    one = Session()
    request_.lease(one, INSERT)
    one.used_by_somebody_else()
    refused(request_, one, asked)


def test_a_read_elsewhere_does_not_make_a_key_ones_own(request_):
    other = Session()
    request_.lease(Session(), INSERT)
    request_.lease(other, SELECT)
    refused(request_, other, KEY)


def test_nor_does_a_read_before_it_in_the_same_lease(request_):
    request_.lease(Session(), INSERT)
    refused(request_, Session(), SELECT, KEY)


def test_nor_if_the_pool_has_let_somebody_check_it(request_):
    one = Session()
    request_.lease(one, INSERT)
    request_.trail.lose()
    refused(request_, one, KEY)


def test_a_new_key_does(request_):
    request_.lease(Session(), INSERT)
    request_.lease(Session(), INSERT, KEY)


def test_what_is_about_the_last_statement_needs_no_more_than_that(request_):
    request_.lease(Session(), INSERT)
    request_.lease(Session(), UPDATE, COUNT)


def test_back_where_the_key_was_made_it_is_not_looked_for(request_):
    """The first session may have seen others meanwhile; who has been away does not go by it."""
    one = Session()
    request_.lease(one, INSERT)
    request_.lease(Session(), SELECT)
    refused(request_, one, KEY)


def test_texts_without_any_of_that_are_not_noted(request_):
    assert request_.look(SELECT) is None
    assert request_.look("SELECT 1 FOR UPDATE") is None
    assert request_.look(INSERT).makes_keys
