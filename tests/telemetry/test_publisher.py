"""The thread that puts figures up: what it tells of leases, and that it disturbs nobody."""

import json
import sys

import pytest

from carpool.telemetry import own, publisher
from tests.probing import eventually, finish, start_program
from tests.telemetry.conftest import PROJECT, named_by


def test_old_leases_are_told_of_with_what_their_threads_are_at(project, look):
    process = project()
    process.do("ready = threading.Event()")
    process.do("def somewhere_in_a_view():\n    ask()\n    ready.wait()")
    process.do(
        "threading.Thread(target=somewhere_in_a_view, name='request 7', daemon=True).start()"
    )
    [lease] = eventually(lambda: look()["pools"] and look()["pools"][0]["leases"])
    assert (lease["pid"], lease["alias"], lease["thread"]) == (process.pid, "default", "request 7")
    assert lease["held"] >= own.OLD
    assert "in somewhere_in_a_view" in lease["now"]
    assert lease["acquired"] == ""
    process.do("ready.set()")
    eventually(lambda: look()["pools"][0]["leases"] == [])


def test_where_leaks_are_watched_the_stack_that_acquired_is_told(project, look):
    process = project(leak_warning=60)
    process.do("def somewhere_in_a_view():\n    ask()")
    process.do("somewhere_in_a_view()")
    [lease] = eventually(lambda: look()["pools"] and look()["pools"][0]["leases"])
    assert "in somewhere_in_a_view" in lease["acquired"]
    assert lease["held"] >= own.OLD


def test_pins_are_told_while_they_last(project, look, database):
    postgresql = {
        "ENGINE": "carpool.postgresql",
        **named_by(database.params),
        "OPTIONS": {"pool": {"mode": "transaction"}},
    }
    process = project({"default": postgresql})
    process.do("connection.cursor().execute('SET search_path TO public') and None")
    pool = eventually(
        lambda: look()["pools"] and look()["pools"][0]["pinned"] and look()["pools"][0]
    )
    assert pool["pins"] == {"SET": 1}
    process.do("connection.close()")
    assert eventually(lambda: look()["pools"][0]["pinned"] == 0)
    process.do("ask() and None")
    assert look()["pools"][0]["pins"] == {"SET": 1}


def test_seconds_are_remembered(project, look):
    process = project()
    process.do("ask()")
    eventually(lambda: look()["pools"] and look()["pools"][0]["recent"])
    assert eventually(lambda: look()["pools"][0]["recent"][-1][:2] == (1, 0))
    process.do("connection.close(); request(3)")
    eventually(lambda: sum(each[2] for each in look()["pools"][0]["recent"]) == 4)
    assert look()["pools"][0]["peak_leased"] == 1


def test_a_pool_that_is_not_used_puts_nothing_up(project, directory, look):
    process = project()
    process.do("connection.pool and None")
    assert look()["processes"] == 0
    assert not process.do("[each.name for each in threading.enumerate() if 'carpool' in each.name]")


PROGRAM = (
    PROJECT
    + """
import warnings
from carpool.pool import fork
fork.AT_EXIT = 30  # seconds; it ends no sooner for that
request(2)
{act}
"""
)


@pytest.mark.parametrize(
    "act",
    [
        "",
        "ask()",
        "os.fork() or request()",
        "os.fork(); request(); os.fork(); request()",
        "gather.gather(); connection.close_pool()",
        "threading.Thread(target=request, daemon=True).start()",
    ],
)
def test_programs_end_at_once_and_without_a_word(tmp_path, directory, act):
    databases = {"default": {"ENGINE": "carpool.sqlite3", "NAME": str(tmp_path / "db")}}
    text = PROGRAM.replace("{act}", act).format(directory=str(directory), databases=databases)
    program = start_program(tmp_path / "program.py", text, {}, "-W", "error")
    assert finish(program) == ("", "")
    assert program.returncode == 0
    eventually(
        lambda: {each.name for each in (directory / "board").iterdir()} == {"departed", "lock"}
    )


def test_durations_are_handed_to_listeners_outside_of_requests(project):
    process = project()
    process.do("heard = []")
    process.do(
        "def hear(pool, kind, seconds):\n"
        "    heard.append((kind, len(seconds), threading.current_thread().name))\n"
        "publisher.listeners.append(hear)"
    )
    process.do("publisher.listeners.insert(0, lambda *_: 1 / 0)")  # another's fault is not ours
    process.do("request(3)")
    process.do(
        "eventually(lambda: sum(number for kind, number, _ in heard if kind == 'use_time') == 3)"
    )
    assert {tuple(each)[2] for each in process.do("heard")} <= {"carpool board", "MainThread"}


def test_figures_of_this_process_are_told_without_a_file():
    assert isinstance(publisher.figures(), list)


def test_of_a_stack_the_projects_own_frames_are_told():
    def view():
        return own.stack(sys._getframe())

    def through_a_library():
        found = []
        json.loads("{}", object_hook=lambda _: found.append(view()) or {})
        return found[0]

    told = through_a_library()
    assert "in view" in told
    assert "in through_a_library" in told
    assert "decoder.py" not in told


def test_of_a_stack_without_any_all_frames_are_told(monkeypatch):
    monkeypatch.setattr(own, "_is_own", lambda _: False)
    assert "in test_of_a_stack_without_any" in own.stack(sys._getframe())
    assert own.stack(None) == ""


def test_a_child_tells_of_its_own_doings_alone(project, look):
    process = project()
    process.do("request(10)")
    eventually(lambda: look()["pools"] and look()["pools"][0]["acquires"] == 10)
    process.do(
        """
read, write = os.pipe()
child = os.fork()
if not child:
    [told] = publisher.figures()
    os.write(write, b"%d %d" % (told["acquires"], sum(told["use_time"]["buckets"])))
    os._exit(0)
"""
    )
    assert process.do("os.read(read, 100).decode()") == "0 0"


def test_a_pool_that_ended_is_counted_once_at_any_moment(project, directory, look):
    process = project()
    process.do("request(5)")
    eventually(lambda: look()["pools"] and look()["pools"][0]["acquires"] == 5)
    process.do(
        """
from carpool.telemetry import board
seen = []
write, depart = board.Board.write, publisher.depart
def told():
    return [sum(each["acquires"] for each in gather.totals(*board.look(board.directory())[:2], []))]
def write_and_look(*given):
    write(*given)
    seen.append(told())
def depart_and_look(*given):
    depart(*given)
    seen.append(told())
board.Board.write, publisher.depart = write_and_look, depart_and_look
connection.close_pool()
request()
eventually(lambda: publisher.publish() or len(publisher.publisher._pools) == 1)
publisher.publish()  # which waits for the thread if that is at it
"""
    )
    assert all(number[0] <= 6 for number in process.do("seen"))
    assert process.do("told()") == [6]


def test_a_directory_that_was_removed_is_not_made_again_for_nothing(project, directory, look):
    process = project()
    process.do("request()")
    eventually(lambda: look()["pools"])
    process.do(
        "import shutil\n"
        "with publisher.publisher._writing:\n"
        "    connection.close_pool()\n"
        "    shutil.rmtree(os.environ['CARPOOL_DIR'])\n"
        "publisher.publish()"
    )
    assert not directory.exists()
    process.do("request()")
    process.do("publisher.publish()")
    assert [each["acquires"] for each in look()["pools"]] == [1]


def test_a_disk_that_hangs_stops_no_request_and_no_fork(project, tmp_path):
    process = project()
    process.do("request()")
    process.do(
        """
from carpool.telemetry import board
hanging, ending = threading.Event(), threading.Event()
def hang(*_):
    hanging.set()
    ending.wait()
board.Board.write = hang
hanging.wait(10)
in_thread = threading.Thread(target=request)
in_thread.start()
in_thread.join(5)
served = not in_thread.is_alive()
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
ending.set()
"""
    )
    assert process.do("hanging.is_set() and served")


def test_a_log_in_the_database_is_no_deadlock(project, directory):
    process = project()
    process.do("request()")
    process.do(
        """
import logging
lock = threading.RLock()
told = []
class ToTheDatabase(logging.Handler):
    def emit(self, record):
        with lock:
            request()
            told.append(record.getMessage())
logging.getLogger("carpool.telemetry").addHandler(ToTheDatabase())
from carpool.telemetry import board
def refuse(*_):
    with publisher.publisher._lock:  # nobody else may have it while this is logged
        raise OSError("no room")
board.Board.write = refuse
def first_query():
    with lock:
        request()
eventually(lambda: told)
"""
    )
    assert process.do("told[0]").endswith("no room")


def test_secrets_of_command_lines_are_not_put_up():
    told = publisher.unsecret(
        "work.py --password=hunter2 --api-key sk-1 -e DB_PASSWORD=x --url=mysql://me:pw@db/shop"
    )
    assert told == (
        "work.py --password=... --api-key ... -e DB_PASSWORD=... --url=mysql://me:...@db/shop"
    )
