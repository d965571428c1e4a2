"""Promise 6 for engines pooled by the recipe: parent and child share no connection."""

import json

import pytest

from tests.probing import report_of, start_program

STRICT = ["-X", "dev", "-W", "error"]
PROGRAM = """
import json, os
import django
from django.conf import settings

given = json.loads(os.environ["PARAMS"])
settings.configure(DATABASES={"default": given["entry"]}, USE_TZ=True)
django.setup()
from django.db import connection

def ask(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]

def sockets():
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return {name for name in found if name.startswith("socket:")}

def report(who, before):
    answers = [ask(f"SELECT {number}") for number in range(50)]
    line = {"who": who, "before": before, "session": ask(given["session"]),
            "right": answers == list(range(50))}
    os.write(1, (json.dumps(line) + "\\n").encode())

before = ask(given["session"])
if given["idle"]:
    connection.close()
shared = sockets()
child = os.fork()
if not child:
    assert not shared & sockets(), "the server must see the end when the parent ends"
    report("child", before)
    raise SystemExit
_, status = os.waitpid(child, 0)
assert status == 0
report("parent", before)
connection.close()
"""


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("which", ["plain", "clearing"])
def test_parent_and_child(kind, which, idle, tmp_path):
    name = f"tests.engines.{which}_{kind.name}"
    entry = json.loads(json.dumps(kind.entry())) | {"ENGINE": name}
    given = {"entry": entry, "session": kind.session, "idle": idle}
    reports = report_of(start_program(tmp_path / "program.py", PROGRAM, given, *STRICT))
    by_role = {each["who"]: each for each in reports}
    assert by_role["parent"]["right"]
    assert by_role["child"]["right"]
    before = by_role["parent"]["before"]
    assert by_role["parent"]["session"] == before
    assert by_role["child"]["session"] != before
    kind.wait_for_sessions(0)
