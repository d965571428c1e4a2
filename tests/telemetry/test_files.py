"""Files that others may read while they are written, and that anybody may damage."""

import contextlib
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.telemetry import files
from carpool.telemetry.files import Unreadable, decode, encode

CONTENT = {"pid": 1, "pools": ["ä" * 50, [1, 2.5, None]]}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_is_written_is_read(content):
    assert decode("board", encode("board", content)) == content
    assert decode("board", encode("board", content) + b"rest of a longer one") == content


@given(st.binary() | st.binary().map(lambda data: b"carpool board " + data))
def test_garbage_is_told_from_a_board(data):
    with pytest.raises(Unreadable):
        decode("board", data)


@given(st.integers(0, len(encode("board", CONTENT)) - 1), st.integers(1, 255))
def test_one_changed_byte_is_noticed(place, change):
    data = bytearray(encode("board", CONTENT))
    data[place] ^= change
    with contextlib.suppress(Unreadable):
        assert decode("board", bytes(data)) == CONTENT  # such as 0A for 0a in the checksum


@given(st.integers(0, len(encode("board", CONTENT)) - 1))
def test_one_cut_short_is_noticed(length):
    with pytest.raises(Unreadable):
        decode("board", encode("board", CONTENT)[:length])


def test_the_reason_is_told(monkeypatch):
    with pytest.raises(Unreadable, match="cut short"):
        decode("board", encode("board", CONTENT)[:-1])
    with pytest.raises(Unreadable, match="checksum is wrong"):
        decode("board", encode("board", CONTENT)[:-1] + b"!")
    with pytest.raises(Unreadable, match="it is no board"):
        decode("board", encode("orders", CONTENT))
    newer = encode("board", CONTENT).replace(b"board 1 ", b"board 2 ")
    with pytest.raises(Unreadable, match="format 2, of another version of carpool; this one has 1"):
        decode("board", newer)


def test_a_reader_never_meets_half_of_what_is_being_written(tmp_path):
    path = tmp_path / "board"
    short, long = {"a": "x" * 10}, {"b": ["y" * 100] * 500}
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, encode("board", short), 0)
    ending = threading.Event()

    def write():
        while not ending.is_set():
            os.pwrite(descriptor, encode("board", long), 0)
            os.pwrite(descriptor, encode("board", short), 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [files.read_at("board", path) for _ in range(500)]
    finally:
        ending.set()
        writer.join()
        os.close(descriptor)
    assert all(each in (short, long) for each in seen)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "orders"
    files.replace("orders", path, {"a": 1})
    monkeypatch.setattr(files, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        files.replace("orders", path, {"a": 2})
    assert files.read_at("orders", path) == {"a": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["orders"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_that_is_not_let_go_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    with (
        files.locked(tmp_path / "lock"),
        pytest.raises(TimeoutError, match="has been locked for more than"),
        files.locked(tmp_path / "lock"),
    ):
        pass
    with files.locked(tmp_path / "lock"):
        pass
