"""How a visitor's conversation is followed, however its bytes are cut; without servers."""

import doctest
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.host.handoff import Visitor
from carpool.host.relaying import Kill
from carpool.mysql.conversation import Conversation as OfMySQL
from carpool.mysql.greeter import as_packet
from carpool.postgresql import conversation
from carpool.postgresql.conversation import Conversation as OfPostgreSQL
from carpool.postgresql.greeter import message
from carpool.postgresql.messages import Messages

READY = message(b"Z", b"I")
WELCOME = message(b"R", bytes(4)) + message(b"K", b"12345678") + READY
QUERY, SYNC, PARSE, TERMINATE = (
    message(each, b"x\0" * (each in b"QP")) for each in (b"Q", b"S", b"P", b"X")
)
ROW, DONE = message(b"D", b"row"), message(b"C", b"SELECT 1\0")


def cut(data, places):
    """Return data in pieces."""
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


pieces = st.lists(st.integers(0, 1 << 16), max_size=8)
kinds = st.binary(min_size=1, max_size=1)
streams = st.lists(st.builds(message, kinds, st.binary(max_size=30)), max_size=8)


def test_doctests():
    assert doctest.testmod(conversation).failed == 0


# --------------------------------------------------------------------- PostgreSQL


@given(streams, st.binary(max_size=8), pieces)
def test_messages_are_found_however_they_are_cut(stream, more, places):
    finder, passed, kinds_found = Messages(), b"", []
    for piece in cut(b"".join(stream), places):
        data, found = finder.take(piece)
        for kind, at in found:
            kinds_found.append(kind)
            assert data[at : at + 1] == kind
            assert len(data) - at >= min(6, 1 + struct.unpack_from(">I", data, at + 1)[0])
        passed += data
    assert passed == b"".join(stream)
    assert kinds_found == [each[:1] for each in stream]
    assert finder.complete


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_nonsense_is_a_value_error_or_passed_on(stream):
    finder, passed = Messages(), b""
    try:
        for piece in stream:
            passed += finder.take(piece)[0]
            assert len(finder._head) < 6
    except ValueError:
        return
    assert passed + finder._head == b"".join(stream)


def let_in(**settings):
    talk = OfPostgreSQL(Visitor("me", "shop", settings), WELCOME)
    talk.begin(b"")
    assert talk.needs_server
    assert not talk.listening
    assert not talk.to_client
    talk.connected()
    return talk


def test_without_settings_it_is_let_in_at_once():
    talk = let_in()
    assert (talk.to_client, talk.to_server, talk.listening) == (WELCOME, b"", True)
    assert talk.idle


@given(pieces)
def test_the_set_up_is_not_seen_but_for_what_it_changes(places):
    talk = let_in(application_name="psql")
    assert talk.to_server == message(
        b"Q", b"SELECT pg_catalog.set_config(E'application_name', E'psql', false)\0"
    )
    talk.to_server.clear()
    changed = message(b"S", b"application_name\0psql\0")
    answer = message(b"T", b"columns") + ROW + DONE + changed + READY
    for piece in cut(answer + message(b"N", b"later"), places):
        assert not talk.listening or not piece or talk.to_client.startswith(WELCOME[:-6])
        talk.server_said(piece)
    assert talk.to_client == WELCOME[:-6] + changed + READY + message(b"N", b"later")
    assert talk.idle


def test_an_error_of_the_set_up_is_the_answer_to_the_login():
    talk = let_in(nonsense="1")
    error = message(b"E", b"SERROR\0\0")
    talk.to_server.clear()
    talk.server_said(error + READY)
    assert (talk.to_client, talk.over, talk.idle) == (error, True, True)


def test_who_is_refused_hears_nothing_else():
    talk = OfPostgreSQL(Visitor("me", "shop"), WELCOME)
    talk.refuse("no room")
    assert talk.to_client == message(b"E", b"SFATAL\0VFATAL\0C08004\0Mcarpool: no room\0\0")
    assert talk.over


def said(*words):
    """Have client and server say things; what they say is passed on at once."""
    talk = let_in()
    for who, what in words:
        (talk.client_said if who == "client" else talk.server_said)(what)
        talk.to_server.clear()
    return talk


@pytest.mark.parametrize(
    ("idle", "words"),
    [
        (True, [("client", QUERY), ("server", ROW + DONE + READY)]),
        (True, [("client", QUERY + QUERY), ("server", READY), ("server", READY)]),
        (True, [("client", PARSE + SYNC), ("server", READY)]),
        (True, [("client", message(b"F", b"call")), ("server", READY)]),
        (True, [("client", QUERY), ("server", READY), ("client", message(b"d", b"late"))]),
        (True, [("client", TERMINATE)]),
        (True, [("server", message(b"N", b"notice"))]),
        (False, [("client", QUERY)]),
        (False, [("client", QUERY + TERMINATE)]),
        (False, [("client", QUERY), ("server", ROW + DONE)]),
        (False, [("client", QUERY), ("server", READY[:5])]),
        (False, [("client", QUERY), ("server", message(b"Z", b"T"))]),
        (False, [("client", QUERY), ("server", message(b"Z", b"E"))]),
        (False, [("client", QUERY + QUERY), ("server", READY)]),
        (False, [("client", QUERY), ("server", READY), ("client", PARSE)]),
        (False, [("client", QUERY), ("server", READY), ("client", QUERY[:3])]),
        (False, [("client", QUERY), ("server", READY + ROW[:4])]),
        (False, [("client", PARSE)]),
        (False, [("client", PARSE + TERMINATE)]),
    ],
)
def test_when_others_may_go_on(idle, words):
    assert said(*words).idle is idle


def test_what_has_not_been_sent_is_not_over():
    talk = let_in()
    talk.client_said(message(b"d", b"late"))
    assert not talk.idle


@given(streams.filter(lambda each: not any(m[:1] == b"X" for m in each)), streams, pieces)
def test_all_is_passed_on_up_to_the_farewell(before, after, places):
    talk = let_in()
    for piece in cut(b"".join([*before, TERMINATE, *after]), places):
        if not talk.over:
            talk.client_said(piece)
    assert talk.over
    assert talk.to_server == b"".join(before)


# ------------------------------------------------------------------------- MySQL

OK = as_packet(2, b"\0\0\0\2\0\0\0")
PING, QUIT = as_packet(0, b"\x0e"), as_packet(0, b"\x01")
CHARSET = {"character_set_client": "8"}


def logged_in(rest=b"", **settings):
    talk = OfMySQL(Visitor("me", "shop", settings), OK)
    talk.begin(rest)
    assert talk.to_client.startswith(OK)
    talk.to_client.clear()
    return talk


@given(pieces)
def test_the_first_command_asks_for_a_server_and_waits_for_it(places):
    command = as_packet(0, b"\x03SELECT 'a long statement, but no more than what is short'")
    talk = logged_in()
    for piece in cut(command, places):
        talk.client_said(piece)
    assert (talk.needs_server, talk.listening, talk.to_server) == (True, False, b"")
    talk.connected()
    assert (talk.listening, talk.to_server) == (True, command)


@given(st.lists(st.binary(max_size=40), max_size=5), pieces)
def test_then_all_goes_through(stream, places):
    talk = logged_in(PING)
    talk.connected()
    for piece in stream:
        talk.client_said(piece)
        talk.server_said(piece)
    assert talk.to_server == PING + b"".join(stream)
    assert talk.to_client == b"".join(stream)
    assert not talk.idle


@given(pieces)
def test_the_charset_comes_first(places):
    talk = logged_in(PING, **CHARSET)
    talk.connected()
    assert talk.to_server == as_packet(0, b"\x03SET character_set_client = 8")
    talk.to_server.clear()
    for piece in cut(as_packet(1, b"\0\0\0\2\0\0\0"), places):
        assert not talk.to_server or not piece
        talk.server_said(piece)
    assert (talk.to_server, talk.to_client, talk.listening) == (PING, b"", True)


def test_a_charset_that_there_is_not():
    talk = logged_in(PING, **CHARSET)
    talk.connected()
    error = as_packet(1, b"\xff\x1b\x05#42000Unknown")
    talk.server_said(error)
    assert (talk.to_client, talk.over) == (error, True)


@pytest.mark.parametrize(
    ("statement", "kill"),
    [
        (b"KILL QUERY 268435456", Kill(268435456, all=False)),
        (b" kill\tquery 4294967295 ;", Kill(4294967295, all=False)),
        (b"KILL 7", Kill(7, all=True)),
        (b"KILL CONNECTION 7", Kill(7, all=True)),
        (b"KILL QUERY ID 7", None),
        (b"KILL QUERY 7; DROP TABLE x", None),
        (b"SELECT 'KILL 7'", None),
    ],
)
def test_to_kill(statement, kill):
    talk = logged_in(as_packet(0, b"\x03" + statement))
    assert talk.kill == kill
    assert talk.needs_server is (kill is None)


def test_who_has_killed_goes_on():
    talk = logged_in(as_packet(0, b"\x03KILL 7") + QUIT)
    assert not talk.listening
    talk.killed()
    assert (talk.kill, talk.to_client, talk.over) == (None, as_packet(1, b"\0\0\0\2\0\0\0"), True)
    assert not talk.needs_server


def test_what_means_nobody_here_goes_to_the_server():
    command = as_packet(0, b"\x03KILL 7")
    talk = logged_in(command)
    talk.not_ours()
    assert (talk.kill, talk.needs_server) == (None, True)
    talk.connected()
    assert talk.to_server == command


def test_who_only_logs_in_needs_no_server():
    talk = logged_in(QUIT)
    assert (talk.over, talk.needs_server) == (True, False)


@pytest.mark.parametrize("data", [as_packet(1, b"\x0e"), as_packet(0, b"") + b"\0"])
def test_what_is_no_command(data):
    with pytest.raises(ValueError, match="not a command"):
        logged_in(data)


def test_refused_at_the_login_and_at_the_first_command():
    talk = OfMySQL(Visitor("me", "shop"), OK)
    talk.refuse("no room")
    assert talk.to_client == as_packet(2, b"\xff\x10\x04#08004carpool: no room")
    talk = logged_in(PING)
    talk.refuse("no room")
    assert talk.to_client == as_packet(1, b"\xff\x10\x04#08004carpool: no room")
    assert talk.over


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_nonsense_is_a_value_error_or_held(stream):
    talk = OfMySQL(Visitor("me", "shop"), OK)
    talk.begin(b"")
    for piece in stream:
        try:
            talk.client_said(piece)
        except ValueError:
            return
    assert not talk.to_server
