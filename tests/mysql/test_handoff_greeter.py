"""The server's part of a login, without a server."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carpool.host.handoff import Shell, Visitor
from carpool.mysql import greeter as g
from carpool.mysql.framing import read_column

FLAGS = g.NEEDED | g.LENENC_AUTH | g.CONNECT_WITH_DB | g.SESSION_TRACK
FACTS = g.Facts("10.11.6-MariaDB", 0x81FFF7FE, g.EXTENDED_METADATA, FLAGS, 45, autocommit=True)


def packet(sequence, body):
    return len(body).to_bytes(3, "little") + bytes([sequence]) + body


def response(
    user=g.SHELL_USER,
    *,
    flags=FLAGS,
    extended=None,
    plugin=g.PLUGIN,
    password=b"p" * 20,
    charset=45,
):
    """A client's response to the greeting."""
    extended = FACTS.extended if extended is None else extended
    length = bytes([len(password)]) + password
    if not flags & (g.LENENC_AUTH | g.SECURE_CONNECTION):
        length = password + b"\0"
    body = struct.pack("<IIB19xI", flags, 1 << 24, charset, extended)
    body += user.encode() + b"\0" + length
    body += b"shop\0" if flags & g.CONNECT_WITH_DB else b""
    body += plugin + b"\0" if flags & g.PLUGIN_AUTH else b""
    return packet(1, body + b"\x04attr")


def greeted(data, facts=FACTS):
    """Return who has been told `data` at once, and the answer."""
    greeter = g.MySQLGreeter(facts, 1)
    greeter.hello()
    return greeter, greeter.receive(data)


OK = packet(2, bytes.fromhex("00 0000 0200 0000"))


def test_a_shell():
    greeter, answer = greeted(response())
    assert greeter.outcome == Shell()
    assert (answer, greeter.rest) == (OK, b"")


def test_a_server_without_autocommit_says_so():
    facts = g.Facts("8.0.36", FACTS.capabilities, 8, FLAGS, 45, autocommit=False)
    assert greeted(response(), facts)[1] == packet(2, bytes(7))


def test_a_visitor_may_differ_in_what_lasts_but_does_not_show():
    greeter, answer = greeted(response("me", flags=FLAGS | 2))
    assert greeter.outcome == Visitor("me", "shop")
    assert answer == OK


@pytest.mark.parametrize(
    ("user", "more"),
    [
        (g.SHELL_USER, {"flags": FLAGS | 2}),
        (g.SHELL_USER, {"flags": FLAGS & ~g.SESSION_TRACK}),
        (g.SHELL_USER, {"extended": 0}),
        ("me", {"flags": FLAGS | g.DEPRECATE_EOF}),
        ("me", {"flags": FLAGS | g.QUERY_ATTRIBUTES}),
        ("me", {"flags": FLAGS | g.OPTIONAL_METADATA}),
        ("me", {"extended": 0}),
        ("me", {"extended": g.EXTENDED_METADATA | g.CACHE_METADATA}),
        ("me", {"flags": FLAGS | g.LONG_PASSWORD}),  # then there are no extended ones
    ],
)
def test_who_would_not_understand_the_server_is_told_so(user, more):
    greeter, answer = greeted(response(user, **more))
    assert greeter.outcome is None
    assert answer[3:14] == b"\x02\xff\x51\x04#HY000c"
    with pytest.raises(ValueError, match="over"):
        greeter.receive(b"")


@pytest.mark.parametrize("charset", [45, 8])
def test_another_charset_is_one_that_a_visitor_wants(charset):
    greeter, _ = greeted(response("me", charset=charset))
    names = ("character_set_client", "character_set_results", "collation_connection")
    wanted = {} if charset == 45 else dict.fromkeys(names, "8")
    assert greeter.outcome == Visitor("me", "shop", wanted)


@pytest.mark.parametrize(
    "flags", [FLAGS & ~g.LENENC_AUTH, FLAGS & ~g.PLUGIN_AUTH, FLAGS & ~g.CONNECT_WITH_DB]
)
def test_varieties_of_a_response(flags):
    greeter, _ = greeted(response("me", flags=flags))
    assert greeter.outcome == Visitor("me", "shop" if flags & g.CONNECT_WITH_DB else "")


def test_another_plugin_is_changed_for_ours_and_any_password_will_do():
    greeter, answer = greeted(response(plugin=b"caching_sha2_password"))
    assert greeter.outcome is None
    scramble = greeter._scramble
    assert answer == packet(2, b"\xfemysql_native_password\0" + scramble + b"\0")
    assert scramble[8:] + b"\0mysql_native_password\0" in greeter.hello()
    assert greeter.receive(packet(3, b"anything")) == packet(4, OK[4:])
    assert greeter.outcome == Shell()


def test_capabilities_that_lead_elsewhere_are_not_offered():
    everything = g.Facts("8.0.36", 0xFFFFFFFF, 0, g.DEPRECATE_EOF, 45, autocommit=True)
    offered = g.offered(everything)
    assert not offered & (g.SSL | g.COMPRESS | g.ZSTD | g.QUERY_ATTRIBUTES | g.OPTIONAL_METADATA)
    assert offered & g.DEPRECATE_EOF


@pytest.mark.parametrize(
    "data",
    [
        packet(0, b"x" * 40),  # out of order
        packet(1, b"x" * 31),
        b"\1\0\1\1",  # of more than LIMIT bytes, none of which are here yet
        response(flags=FLAGS & ~g.PROTOCOL_41),
        packet(1, response(flags=FLAGS | g.SSL)[4:36]),
        packet(1, response()[4:60]),
        packet(1, response("me\xff")[4:].replace("ÿ".encode(), b"\xff")),
        packet(1, response(flags=FLAGS)[4:46] + b"\0\xfe\1"),
        packet(1, response(flags=FLAGS)[4:49] + b"\xfb"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_login_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        greeted(data)


def fed(pieces):
    """Return what a greeter makes of pieces: its answer, the outcome, what is left, or an error."""
    greeter, answer = g.MySQLGreeter(FACTS, 1), b""
    greeter._scramble = b"s" * 20
    for at, piece in enumerate(pieces):
        try:
            answer += greeter.receive(piece)
        except ValueError as error:
            return answer, str(error)
        assert len(greeter._buffer) <= g.LIMIT + g.HEADER + len(piece)
        if greeter.outcome:
            return answer, greeter.outcome, greeter.rest + b"".join(pieces[at + 1 :])
        if greeter._refused:  # of one that is turned away nothing is read any more
            break
    return answer, None, b""


bodies = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda user, flags, extended, plugin, password: response(
            user, flags=flags, extended=extended, plugin=plugin, password=password
        )[4:],
        st.sampled_from([g.SHELL_USER, "me", "\xff", ""]),
        st.sampled_from([FLAGS, FLAGS & ~g.LENENC_AUTH, FLAGS | g.SSL, 0])
        | st.integers(0, 0xFFFFFFFF),
        st.sampled_from([FACTS.extended, 0]),
        st.sampled_from([g.PLUGIN, b"other", b""]),
        st.binary(max_size=40),
    ),
)
packets = st.builds(packet, st.sampled_from([0, 1, 1, 1, 3]), bodies)
streams = st.one_of(
    st.binary(max_size=200),
    st.builds(b"".join, st.lists(packets, max_size=3)),
    st.builds(lambda first, rest: first + rest, packets, st.binary(max_size=40)),
)


@given(streams, st.lists(st.integers(0, 300), max_size=8))
@example(response() + b"rest", [1, 40, 80])
@example(response(plugin=b"other") + packet(3, b"x") + b"rest", [1, 90])
@example(response("me", extended=0) + b"rest", [30])
@example(b'"\0\0\x01\0\x02' + bytes(34), [38])
def test_no_stream_raises_anything_else_and_pieces_do_not_matter(stream, cuts):
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    whole, parts = fed([stream]), fed(pieces)
    if len(whole) == len(parts) == 2:  # what was answered before the error came is lost with it
        assert whole[1] == parts[1]
    else:
        assert whole == parts


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_column_of_any_bytes_raises_nothing_else(count, column):
    try:
        extended, charset = read_column(count, column)
    except (ValueError, struct.error):
        return
    assert extended in {0, g.EXTENDED_METADATA, g.CACHE_METADATA, g.EXTENDED_FRAMING}
    assert 0 <= charset < 1 << 16
