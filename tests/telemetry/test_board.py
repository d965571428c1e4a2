"""What processes put up is what others read, also when processes die and files are damaged."""

import os
import resource
import signal
import stat

import pytest

from carpool.host.places import NoBroker
from carpool.telemetry import board, files, gather
from tests.probing import eventually
from tests.telemetry.samples import sample_figures


def boards(directory):
    return [each for each in (directory / "board").iterdir() if each.name[0].isdigit()]


def only(look):
    [pool] = look()["pools"]
    return pool


def told_by(look, count):
    """Wait until the boards of so many processes tell of a pool."""
    eventually(lambda: look()["pools"] and len(only(look)["parts"]) == count)


def counted(look, acquires, used):
    """Wait until so many leases have been counted, and the durations of so many."""

    def counts(pool):
        return pool["acquires"], sum(pool["use_time"]["buckets"])

    eventually(lambda: look()["pools"] and counts(only(look)) == (acquires, used))


def test_every_process_is_told_of_and_the_sums(project, look):
    first, second = project(max_size=4), project(max_size=4)
    first.do("request(3)")
    second.do("request(5)")
    second.do("ask()")
    counted(look, 9, 8)  # one is still leased
    pool = eventually(lambda: only(look) if only(look)["idle"] == 1 else None)
    assert {part["pid"] for part in pool["parts"]} == {first.pid, second.pid}
    assert (pool["open"], pool["idle"], pool["leased"], pool["capacity"]) == (2, 1, 1, 8)
    assert pool["opened"] == 2
    assert pool["aliases"] == ["default"]
    assert pool["vendor"] == "sqlite"
    assert sum(pool["use_time"]["buckets"]) == 8
    assert look()["faults"] == []


def test_a_process_that_was_killed_is_swept_out_and_its_counts_stay(project, look, directory):
    first, second = project(), project()
    first.do("request(3)")
    second.do("request(4)")
    counted(look, 7, 7)
    first.kill()
    pool = eventually(lambda: only(look) if len(only(look)["parts"]) == 1 else None)
    assert (pool["acquires"], pool["opened"]) == (7, 2)
    assert [part["pid"] for part in pool["parts"]] == [second.pid]
    assert len(boards(directory)) == 1
    assert sum(pool["use_time"]["buckets"]) == 7


def test_a_process_that_ends_takes_its_board_down(project, look, directory):
    first, second = project(), project()
    first.do("request(3)")  # less than a second before its end
    second.do("request(4)")
    eventually(lambda: len(boards(directory)) == 2)
    first.tell("raise SystemExit")
    eventually(lambda: first.state() is None)
    assert len(boards(directory)) == 1  # before anybody has swept
    assert eventually(lambda: only(look)["acquires"] == 7)


def test_a_pool_that_is_closed_leaves_its_counts(project, look):
    process = project()
    process.do("request(3)")
    process.do("connection.close_pool()")
    process.do("request(2)")
    assert eventually(lambda: only(look) if only(look)["acquires"] == 5 else None)["opened"] == 2
    assert eventually(lambda: len(only(look)["parts"]) == 1)


def test_a_board_cut_short_is_told_of_and_harms_nobody(project, look, directory):
    first, second = project(), project()
    first.do("request(3)")
    second.do("request()")
    told_by(look, 2)
    [mine] = [each for each in boards(directory) if each.name.startswith(f"{first.pid}-")]
    first.freeze()
    os.truncate(mine, 60)
    report = look()
    assert [part["pid"] for part in report["pools"][0]["parts"]] == [second.pid]
    assert report["faults"] == [f"{mine}: it is cut short"]
    first.thaw()
    eventually(lambda: look()["faults"] == [])  # it has gone on as if nothing had been
    assert eventually(lambda: only(look)["acquires"] == 4)
    first.do("request()")


def test_damage_and_other_versions_are_told_of(project, look, directory):
    process = project()
    process.do("request()")
    told_by(look, 1)
    [mine] = boards(directory)
    process.freeze()
    sound = mine.read_bytes()
    mine.write_bytes(sound.replace(b"carpool board 1 ", b"carpool board 7 "))
    assert "format 7, of another version of carpool" in look()["faults"][0]
    mine.write_bytes(b"\x00\xff garbage" * 1000)
    assert "it is no board of carpool's" in look()["faults"][0]
    mine.write_bytes(files.encode("board", {"pid": "x", "pools": 5}))
    assert "it has not the shape of a board" in look()["faults"][0]
    mine.write_bytes(files.encode("board", [[]]))
    assert "it has not the shape of a board" in look()["faults"][0]
    process.thaw()
    eventually(lambda: look()["faults"] == [])


def test_damaged_counts_of_the_departed_begin_anew(project, look, directory):
    (directory / "board").mkdir(mode=0o700)
    (directory / "board" / "departed").write_bytes(b"garbage")
    process = project()
    process.do("request(2)")
    report = look()
    assert "the counts of ended processes begin anew" in report["faults"][0]
    assert look()["faults"] == []
    eventually(lambda: only(look)["acquires"] == 2)


def test_whoever_cleans_up_makes_no_process_fail(project, look, directory):
    process = project()
    process.do("request(2)")
    told_by(look, 1)
    process.freeze()  # lest it puts a new board there meanwhile
    for each in (directory / "board").iterdir():
        each.unlink()
    (directory / "board").rmdir()
    process.thaw()
    process.do("request()")
    eventually(lambda: look()["pools"] and only(look)["acquires"] == 3)


def test_a_disk_without_room_stops_no_request(project, look, directory):
    process = project()
    process.do("import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)")
    process.do("import logging; told = []")
    process.do(
        "logging.getLogger('carpool.telemetry').addFilter("
        "lambda record: told.append(record.getMessage()) or True)"
    )
    process.do("ask()")  # SQLite has made its file
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    process.do(f"resource.setrlimit(resource.RLIMIT_FSIZE, (8, {most}))")
    assert process.do("publisher.publisher.wake() or eventually(lambda: told)")
    process.do("connection.close()")
    assert process.do("ask()") == 1
    assert "cannot see what this one's pools do: [Errno 27]" in process.do("told[0]")
    process.do("publisher.publisher._tick()")
    assert process.do("len(told)") == 1  # not each second
    process.do(f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))")
    eventually(lambda: look()["pools"] and look()["faults"] == [])


def test_a_directory_that_cannot_be_used_stops_no_request(project, tmp_path, directory):
    directory.rmdir()
    directory.write_text("not a directory")
    process = project()
    assert process.do("request(2)") is None
    with pytest.raises(NoBroker, match=r"carpool's directory cannot be made|cannot use"):
        gather.gather(str(directory))


def test_only_this_user_can_look(project, directory):
    process = project()
    process.do("request()")
    eventually(lambda: boards(directory))
    for each in [directory / "board", *(directory / "board").iterdir()]:
        assert stat.S_IMODE(each.stat().st_mode) & 0o077 == 0, each


def test_who_holds_the_lock_too_long_is_told_of(directory, look, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    folder = board.directory(str(directory))
    with files.locked(folder / "lock"):
        report = look()
    assert "has been locked for more than" in report["faults"][0]
    assert report["pools"] == []


def test_no_more_of_the_departed_are_kept_than_is_sensible(directory, monkeypatch):
    monkeypatch.setattr(board, "MOST_DEPARTED", 3)
    folder = board.directory(str(directory))
    for number in range(5):
        board.depart(folder, [sample_figures(name=f"pool {number}")])
    _, departed, faults = board.look(folder)
    assert set(departed) == {"pool 2", "pool 3", "pool 4"}
    assert not faults


FORK = """
child = os.fork()
if not child:
    request(3)
    threading.Event().wait()
"""


def test_a_child_has_a_board_of_its_own(project, look):
    process = project()
    process.do("request(2)")
    process.do(FORK)
    child = process.do("child")
    try:
        eventually(lambda: look()["processes"] == 2)
        assert {part["pid"] for part in only(look)["parts"]} == {process.pid, child}
        assert eventually(lambda: only(look)["acquires"] == 5)
        # The parent has no thread that writes before it needs a connection; what it wrote holds.
        assert all(look()["at"] - part["at"] < 5 for part in only(look)["parts"])
        process.kill()  # whose board the child must not keep alive
        eventually(lambda: look()["processes"] == 1)
        assert [part["pid"] for part in only(look)["parts"]] == [child]
    finally:
        os.kill(child, signal.SIGKILL)
    eventually(lambda: look()["processes"] == 0)
