"""django-tenants with ORIGINAL_BACKEND = "carpool.postgresql": no tenant reaches another."""

import re

import pytest

from tests.probing import report_of, start_program

HEAD = "from tests.engines.tenancy.program import *\n\nmake_tenants()\n"
DEFAULT = '"$user", public'
ITEM = re.compile(r"/\* (\w+) \*/")


@pytest.fixture(params=[False, True], ids=["every cursor", "limited"])
def run_program(request, tmp_path, database):
    """Run a program for a project with either value of TENANT_LIMIT_SET_CALLS."""

    def run(text, pool=True):
        entry = database.django(OPTIONS={"pool": pool})
        params = {"database": entry, "limit_set_calls": request.param}
        return report_of(start_program(tmp_path / "program.py", HEAD + text, params))

    return run


def seen_by(tenant):
    return {"owners": [tenant], "raw": [tenant]}


def paths_of_queries(statements):
    """Return the pairs of a tenant's name in a query and the search_path that the session had."""
    path, pairs = {}, []
    for statement in statements:
        if statement.text == "DISCARD ALL":
            path[statement.pid] = None
        elif match := re.fullmatch("SET search_path = (.*)", statement.text):
            path[statement.pid] = match[1]
        elif match := re.search(r"\"own_item\".\"owner\" = '(\w+)'", statement.text):
            pairs.append((match[1], path.get(statement.pid)))
    return pairs


def test_requests_in_turn(run_program):
    (answers,) = run_program(
        'report([[tenant, get(tenant)] for tenant in ["red", "blue", "blue", "red"] * 3])',
        {"max_size": 1},
    )
    assert len(answers) == 12
    assert all(found == seen_by(tenant) for tenant, found in answers)


def test_requests_in_threads(run_program, database):
    answers, wrong = run_program(
        """
answers, wrong = [], []

def work(number):
    try:
        for turn in range(10):
            tenant = TENANTS[(number + turn) % 2]
            answers.append([tenant, get(tenant)])
            connection.set_schema(tenant)
            found = list(Item.objects.filter(owner=tenant).values_list("owner", flat=True))
            if found != [tenant]:
                wrong.append([tenant, found])
            if turn % 3:
                connection.close()
    except BaseException as error:
        wrong.append(repr(error))

threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
report(answers)
report(wrong)
""",
        {"max_size": 3, "timeout": 30},
    )
    assert wrong == []
    assert len(answers) == 60
    assert all(found == seen_by(tenant) for tenant, found in answers)
    pairs = paths_of_queries(database.statements())
    assert len(pairs) == 60
    assert {(tenant, path) for tenant, path in pairs} == {
        ("red", '"red","public"'),
        ("blue", '"blue","public"'),
    }, "as the server has it"


def test_psycopg_finds_no_path_of_another(run_program):
    assert (
        run_program(
            """
for tenant in TENANTS * 2:
    get(tenant)
    report(raw_path())
    connection.close()
    report(in_thread(raw_path))
""",
            {"max_size": 1},
        )
        == [DEFAULT] * 8
    )


def test_a_thread_goes_on_after_a_request(run_program):
    """The next connection is another one, or has been reset: its path is set anew."""
    reports = run_program(
        """
from django.db import close_old_connections

for tenant in TENANTS * 2:
    connection.set_schema(tenant)
    for end in (close_old_connections, connection.close, lambda: None):
        report([tenant, list(Item.objects.values_list("owner", flat=True))])
        end()
""",
        {"max_size": 1},
    )
    assert len(reports) == 12
    assert all(found == [tenant] for tenant, found in reports)


RECEIVER = """
from django.db.backends.signals import connection_created

def receive(connection, **_):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")

connection.pool.drain()
connection_created.connect(receive)

def as_tenant(tenant, function):
    connection.set_schema(tenant)
    return function()
"""


def test_what_receivers_do_for_one_is_not_left_to_another(run_program):
    """A receiver's cursor, too, puts the path of the tenant at hand into the session."""
    reports = run_program(
        RECEIVER
        + """
for _ in range(2):
    for tenant in ("red", "blue", "public"):
        report([tenant, in_thread(as_tenant, tenant, raw_path)])
        report([tenant, in_thread(as_tenant, tenant, raw_path)])
""",
        {"max_size": 1},
    )
    assert len(reports) == 12
    paths = {"red": "red, public", "blue": "blue, public", "public": "public"}
    assert all(path == paths[tenant] for tenant, path in reports)


def test_a_receiver_that_fails(run_program):
    reports = run_program(
        """
from django.db.backends.signals import connection_created

def fail(connection, **_):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection_created.disconnect(fail)
    raise RuntimeError

connection.pool.drain()
connection.set_schema("red")
connection_created.connect(fail)
try:
    connection.ensure_connection()
except RuntimeError:
    report(list(Item.objects.values_list("owner", flat=True)))
"""
    )
    assert reports == [["red"]]


def test_a_forked_child(run_program):
    reports = run_program(
        """
connection.set_schema("red")
list(Item.objects.all())
child = os.fork()
report(list(Item.objects.values_list("owner", flat=True)))
if child:
    os.waitpid(child, 0)
    connection.close()
"""
    )
    assert reports == [["red"], ["red"]]


def test_a_tenant_can_be_dropped(run_program, database):
    """Nothing of it is held by the pool's sessions."""
    run_program(
        """
get("red")
with connection.cursor() as cursor:
    cursor.execute("DROP SCHEMA red CASCADE")
report(get("blue"))
"""
    )
    assert database.query("SELECT 1 FROM pg_namespace WHERE nspname = 'red'") == []
