"""The greeter alone: whatever is sent, in whatever pieces."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carpool.host.handoff import Cancel, Shell, Visitor
from carpool.postgresql.greeter import FIRST_PID, MAX_PACKET, SHELL_OPTIONS, Facts, Greeter

FACTS = Facts(((b"server_version", b"18.6"), (b"TimeZone", b"UTC")))
NUMBER, SECRET = 7, b"\x01\x02\x03\x04"
WELCOME = (
    b"R\0\0\0\x08\0\0\0\0"
    b"S\0\0\0\x18server_version\x0018.6\0"
    b"S\0\0\0\x11TimeZone\0UTC\0"
    b"K\0\0\0\x0c\x40\0\0\x07\x01\x02\x03\x04"
    b"Z\0\0\0\x05I"
)
TLS, GSS = (struct.pack(">ii", 8, 80877100 + last) for last in (3, 4))


def start_up(*fields, version=(3, 0), end=b"\0"):
    body = struct.pack(">HH", *version) + b"".join(each.encode() + b"\0" for each in fields) + end
    return struct.pack(">i", 4 + len(body)) + body


def cancel(pid=FIRST_PID + NUMBER, secret=SECRET):
    return struct.pack(">iii", 12 + len(secret), 80877102, pid) + secret


VISITOR = start_up("user", "joe", "database", "shop")
SHELL = start_up("user", "joe", "options", SHELL_OPTIONS)


def greet(*pieces):
    """Return what comes of sending these pieces: answer, outcome, rest; or "refused"."""
    greeter = Greeter(FACTS, NUMBER, SECRET)
    try:
        answer = greeter.hello() + b"".join(greeter.receive(piece) for piece in pieces)
    except ValueError:
        return "refused"
    assert len(greeter._received) < 4 + MAX_PACKET
    assert greeter.outcome is None or not greeter._received
    return answer, greeter.outcome, greeter.rest


@pytest.mark.parametrize(
    ("sent", "answer", "outcome"),
    [
        (b"", b"", None),
        (TLS, b"N", None),
        (SHELL, WELCOME, Shell()),
        (VISITOR, WELCOME, Visitor("joe", "shop")),
        (start_up("user", "joe"), WELCOME, Visitor("joe", "joe")),
        (start_up("user", "jos\xe9", "database", ""), WELCOME, Visitor("jos\xe9", "jos\xe9")),
        (start_up("user", "joe", "replication", "off"), WELCOME, Visitor("joe", "joe")),
        (start_up("user", "joe", "a", "b"), WELCOME, Visitor("joe", "joe", {"a": "b"})),
        (TLS + GSS + VISITOR, b"NN" + WELCOME, Visitor("joe", "shop")),
        (GSS + cancel(), b"N", Cancel(NUMBER, SECRET)),
        (cancel(), b"", Cancel(NUMBER, SECRET)),
        (cancel(secret=b"x" * 256), b"", Cancel(NUMBER, b"x" * 256)),
        (start_up("user", "joe", version=(3, 2)), WELCOME, Visitor("joe", "joe")),
    ],
)
def test_who_is_who(sent, answer, outcome):
    assert greet(sent) == (answer, outcome, b"")


@pytest.mark.parametrize(
    ("sent", "negotiation"),
    [
        (start_up("user", "joe", version=(3, 9)), b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0"),
        (
            start_up("user", "joe", "_pq_.test", "1"),
            b"v\0\0\0\x16\0\x03\0\0\0\0\0\x01_pq_.test\0",
        ),
    ],
)
def test_who_asks_for_more_than_is_spoken_here_is_told(sent, negotiation):
    assert greet(sent) == (negotiation + WELCOME, Visitor("joe", "joe"), b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00",  # TLS without asking
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">i", -1),
        struct.pack(">i", 7),
        struct.pack(">i", 5 + MAX_PACKET),  # refused before it comes
        struct.pack(">ii", 8, 0),
        struct.pack(">ii", 8, 196608),
        start_up("user", "joe", version=(2, 0)),
        start_up("user", "joe", version=(4, 0)),
        start_up("user", "joe", end=b""),
        start_up("user", end=b"joe"),
        start_up("user", "joe", "shop", end=b""),
        start_up("user", "joe", "database"),
        start_up("user", "joe", "", "shop"),
        start_up("user", "joe", end=b"\0\0"),
        start_up("user", ""),
        start_up("database", "shop"),
        start_up(),
        start_up("user", "joe", "replication", "database"),
        struct.pack(">ii", 15, 196608) + b"user\0\xff\0",
        TLS + TLS,
        GSS + TLS + GSS,
        cancel(secret=b""),
        cancel(pid=4711),
        VISITOR + b"x" * (MAX_PACKET + 1),
    ],
)
def test_what_is_no_login_is_refused(sent):
    assert greet(sent) == "refused"


def test_the_longest_login():
    rest = MAX_PACKET - len(start_up("user", "joe", "x", "")) + 4
    longest = start_up("user", "joe", "x", "y" * rest)
    assert len(longest) == 4 + MAX_PACKET
    assert greet(longest) == (WELCOME, Visitor("joe", "joe", {"x": "y" * rest}), b"")
    assert greet(start_up("user", "joe", "x", "y" * (rest + 1))) == "refused"


def test_what_comes_after_the_login_is_kept():
    assert greet(SHELL + b"a lease, please") == (WELCOME, Shell(), b"a lease, please")
    assert greet(SHELL, b"a lease", b", please") == (WELCOME, Shell(), b"a lease, please")


TEXTS = st.sampled_from(["user", "database", "options", "replication", SHELL_OPTIONS, "_pq_.x", ""])
PACKETS = st.one_of(
    st.binary(max_size=50),
    st.sampled_from([TLS, GSS, VISITOR, SHELL, cancel(), cancel(pid=1)]),
    st.builds(
        lambda fields, version, end: start_up(*fields, version=version, end=end),
        st.lists(TEXTS | st.text(max_size=5), max_size=8),
        st.tuples(st.sampled_from([2, 3, 1234]), st.integers(0, 10)),
        st.sampled_from([b"\0", b"", b"\0\0", b"\xff"]),
    ),
    st.builds(
        lambda code, body: struct.pack(">ii", 8 + len(body), code) + body,
        st.sampled_from([196608, 80877102, 80877103, 80877104]) | st.integers(-(2**31), 2**31 - 1),
        st.binary(max_size=50),
    ),
)


@given(st.lists(PACKETS, max_size=4).map(b"".join), st.data())
def test_how_it_is_cut_up_changes_nothing(sent, data):
    whole = greet(sent)
    cut = data.draw(st.integers(0, len(sent)))
    assert greet(sent[:cut], sent[cut:]) == whole
    assert greet(*(sent[n : n + 1] for n in range(len(sent)))) == whole


@given(st.lists(st.binary(max_size=30_000), max_size=4))
@example([VISITOR, b"x" * MAX_PACKET, b"x"])
def test_no_more_is_kept_than_a_login_takes(pieces):
    greeter = Greeter(FACTS, NUMBER, SECRET)
    try:
        for piece in pieces:
            greeter.receive(piece)
            assert len(greeter._received) + len(greeter.rest) <= 4 + MAX_PACKET
    except ValueError:
        pass
