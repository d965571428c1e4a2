"""The control socket's lines of JSON: any bytes, however cut; and asking for an answer."""

import os
import socket
import threading
from contextlib import contextmanager

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.host import control

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
MESSAGES = st.dictionaries(st.text(), JSON)


def cut(data, sizes):
    """Cut bytes into pieces of the sizes, the rest in one."""
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@given(st.lists(MESSAGES), st.lists(st.integers(0, 20)))
def test_what_is_encoded_is_understood_however_it_is_cut(messages, sizes):
    data = b"".join(map(control.encode, messages))
    lines, found = control.Lines(), []
    for piece in cut(data, sizes):
        found += lines.receive(piece)
    assert found == messages


GARBAGE = st.binary() | st.text(alphabet='{}[]",:\n0123456789eE-NaInfity\\ud8').map(str.encode)


@given(st.lists(GARBAGE | MESSAGES.map(control.encode)))
def test_garbage_is_a_value_error_and_nothing_else(pieces):
    lines = control.Lines(limit=200)
    try:
        for piece in pieces:
            assert all(isinstance(each, dict) for each in lines.receive(piece))
    except ValueError:
        pass


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\xff"}',
        b'{"a":' + b"[" * 60_000,
        b'{"a":' + b"1" * 60_000 + b"}",
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_what_is_no_message(line):
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is what matters
        control.Lines().receive(line + b"\n")


def of_length(length):
    return {"a": "x" * (length - len('{"a":""}\n'))}


def test_the_longest_line():
    longest = control.encode(of_length(control.LIMIT))
    assert len(longest) == control.LIMIT
    assert control.Lines().receive(longest) == [of_length(control.LIMIT)]


def test_longer_ones_are_refused_by_both_ends():
    with pytest.raises(ValueError, match="65537 bytes, 65536 are allowed"):
        control.encode(of_length(control.LIMIT + 1))
    with pytest.raises(ValueError, match="more than 65536"):
        control.Lines().receive(control.encode(of_length(control.LIMIT + 1), limit=1 << 20))


def test_a_line_without_an_end_is_given_up_as_soon_as_it_is_too_long():
    lines = control.Lines()
    assert lines.receive(b"{" * (control.LIMIT - 1)) == []
    with pytest.raises(ValueError, match="more than 65536"):
        lines.receive(b"{")


# ------------------------------------------------------------------- asking


@contextmanager
def answering(*answer, descriptors=()):
    """Give a socket at whose other end a question is read, and pieces are sent for an answer."""
    ours, theirs = socket.socketpair()

    def reply():
        theirs.recv(65536)
        for piece in answer:
            if descriptors:
                socket.send_fds(theirs, [piece], descriptors)
            else:
                theirs.sendall(piece)
        theirs.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=reply)
    thread.start()
    try:
        yield ours
    finally:
        thread.join()
        ours.close()
        theirs.close()


def open_files():
    return psutil.Process().num_fds()


def test_an_answer_in_pieces():
    with answering(b'{"ok":', b"true}\n") as connection:
        connection.settimeout(5)
        assert control.ask_with_descriptors(connection, {"want": "x"}, 10) == ({"ok": True}, [])
        assert connection.gettimeout() == 5


def test_an_answer_longer_than_a_question_may_be():
    with answering(control.encode({"a": "x" * 200_000}, limit=1 << 20)) as connection:
        answer, _ = control.ask_with_descriptors(connection, {}, 10)
    assert len(answer["a"]) == 200_000


def test_descriptors_come_with_it_and_are_not_inherited(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    with path.open() as file, answering(b'{"ok":true}\n', descriptors=[file.fileno()]) as ours:
        answer, (descriptor,) = control.ask_with_descriptors(ours, {}, 10)
    with os.fdopen(descriptor) as received:
        assert not os.get_inheritable(descriptor)
        assert received.read() == "content"
    assert answer == {"ok": True}


@pytest.mark.parametrize(
    ("answer", "count", "error"),
    [
        ([], 0, ConnectionError),
        ([b"{"], 1, ConnectionError),
        ([b"nonsense\n"], 2, ValueError),
        ([b"{", b"}"], 2, ConnectionError),
        ([b"{}\n"], control.MOST_DESCRIPTORS + 1, OSError),
    ],
)
def test_a_bad_answer_leaves_no_descriptor_behind(answer, count, error):
    before = open_files()
    with (
        answering(*answer, descriptors=[2] * count) as connection,
        pytest.raises(error),
    ):
        control.ask_with_descriptors(connection, {}, 10)
    assert open_files() == before


def test_no_answer_in_time():
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        control.ask_with_descriptors(ours, {}, 0.01)


def test_an_answer_that_never_ends_is_not_waited_for():
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def drip():
        while not over.wait(0.001):
            theirs.sendall(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    with ours, theirs:
        with pytest.raises(TimeoutError):
            control.ask_with_descriptors(ours, {}, 0.1)
        over.set()
        thread.join()


def test_who_is_at_the_other_end():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid, uid = control.peer(ours)
    assert pid in (os.getpid(), None)
    assert uid == os.geteuid()
