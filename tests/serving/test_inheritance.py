"""What a forked process has of a parent whose connections the host shares: nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.serving import test_gunicorn, test_uwsgi
from tests.serving.programs import program
from tests.serving.server import Site, running

FILES = (".lock", ".tether")


def sockets_and_locks(pid="self"):
    """Return a process' sockets, by number, and the files in the broker's folder, by path."""
    open_now = (each for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink())
    links = [str(each.readlink()) for each in open_now]
    return [each for each in links if each.startswith("socket:") or each.endswith(FILES)]


IN_CHILD = """
from tests.serving.test_inheritance import sockets_and_locks


def in_child(function, *arguments):
    "Call a function in a forked child; return what it says."
    here, there = os.pipe()
    if not (pid := os.fork()):
        os.write(there, json.dumps(function(*arguments)).encode())
        os._exit(0)
    os.close(there)
    with open(here) as told:
        answer = told.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(answer)


"""
STATES = {
    "idle": ("connection.close()", ""),
    "in use": ("", ""),
    "in a transaction": ("begin_by_hand('mine')", "run('COMMIT')"),
}


@pytest.mark.parametrize(("state", "end"), STATES.values(), ids=STATES)
def test_a_child_of_a_parent_with_a_connection(postgres, mode, tmp_path, state, end):
    text = f"""
run("SELECT 1")
own = sockets_and_locks()
assert {{Path(each).suffix for each in own}} == {{"", ".lock", ".tether"}}, own
{state}
report(sorted(set(own) & set(in_child(sockets_and_locks))))
report(in_child(write, "child")["after"])
{end}
report(write("after")["after"])
"""
    head = "from pathlib import Path\n" + IN_CHILD
    path = tmp_path / "program.py"
    with program(postgres, mode, path, head + text, size=2, limit=2, share="host") as told:
        reports, shown = told
        assert reports == [[], ["child"], ["after"]]
        assert ("mine" in shown.tokens()) == ("mine" in state)


SITES = {
    "gunicorn --preload": lambda: replace(test_gunicorn.KINDS["preload"], max_size=3),
    "uWSGI": lambda: test_uwsgi.kind("forked", max_size=3),
}


@pytest.mark.parametrize("kind", SITES.values(), ids=SITES)
def test_workers_of_a_master_with_a_connection_in_use(postgres, kind):
    with running(Site, replace(kind(), share="host"), "session", postgres) as site:
        master, *workers = (each.pid for each in site.processes())
        assert list(site.holders().values()) == [{master}]
        own = sockets_and_locks(master)
        assert [each for each in own if each.endswith(FILES)]
        for pid in workers:
            assert not [each for each in sockets_and_locks(pid) if each.endswith(FILES)]
