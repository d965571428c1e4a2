"""The panel in the real toolbar: what it says of requests whose queries are known."""

import html
import json
import re
import threading
from contextlib import ExitStack

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core import checks
from django.db import connection, connections
from django.db.utils import OperationalError
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path

from carpool.pool import hooks
from tests.django.asking import run
from tests.django.site import get

APPS = ["django.contrib.staticfiles", "debug_toolbar", "carpool"]
PAGE = "<html><body>a page</body></html>"
LISTENED_TO = ("acquired", "released", "pinned", "reset", "exhausted")
COLUMNS = ("database", "mode", "acquires", "waited", "held", "pins", "resets", "here", "without")


def listening():
    return [name for name in LISTENED_TO if getattr(hooks, name)]


def execute(request):
    """Execute the statements of the query string; "close" closes the connection."""
    for sql in request.GET.getlist("sql"):
        if sql == "close":
            connection.close()
        else:
            run(connection, sql)
    return HttpResponse(PAGE)


async def execute_asynchronously(request):
    return await sync_to_async(execute)(request)


def hold(request):
    meeting.wait()
    execute(request)
    meeting.wait()
    return HttpResponse(PAGE)


meeting = threading.Barrier(2, timeout=20)


def elsewhere(request):
    """Have another thread, which is no request, use the pool."""
    execute(request)

    def work():
        run(connection, "SELECT 1")
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return HttpResponse(PAGE)


def ask_in_vain(request):
    connection.pool.acquire(timeout=0.0)


def who_listens(request):
    return HttpResponse(json.dumps(listening()))


def fail(request):
    raise LookupError("on purpose")


urlpatterns = (
    *(path(each.__name__.replace("_", "-"), each) for each in (execute, hold, elsewhere, fail)),
    path("ask-in-vain", ask_in_vain),
    path("who-listens", who_listens),
    path("execute-asynchronously", execute_asynchronously),
)
SETTINGS = {
    "ALLOWED_HOSTS": ["*"],
    "DEBUG": True,
    "DEBUG_PROPAGATE_EXCEPTIONS": True,
    "INTERNAL_IPS": ["127.0.0.1"],
    "STATIC_URL": "static/",
    "MIDDLEWARE": ["debug_toolbar.middleware.DebugToolbarMiddleware"],
    "TEMPLATES": [
        {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True},
    ],
    "DEBUG_TOOLBAR_PANELS": [
        "debug_toolbar.panels.history.HistoryPanel",
        "carpool.toolbar.PoolPanel",
    ],
}


@pytest.fixture(autouse=True)
def toolbar():
    with override_settings(**SETTINGS), override_settings(INSTALLED_APPS=APPS):
        from debug_toolbar.toolbar import debug_toolbar_urls  # noqa: PLC0415 - as an installed app

        with override_settings(ROOT_URLCONF=(*urlpatterns, *debug_toolbar_urls())):
            yield
    assert listening() == []


class Panel:
    """What a page's panel shows: `subtitle`, `rows` of the table by its columns, all as `text`."""

    def __init__(self, body):
        (request_id,) = re.findall(r'data-request-id="(\w+)"', body)
        (subtitle,) = re.findall(r"Pools\s*(?:<br>)?\s*<small>([^<]*)</small>", body)
        self.subtitle = subtitle
        query = {"request_id": request_id, "panel_id": "PoolPanel"}
        status, content = get("__debug__/render_panel/", **query)
        assert status == 200
        self.html = json.loads(content)["content"]
        self.text = words(self.html)
        found = re.findall(r"<tr>(.*?)</tr>", self.html, re.DOTALL)[1:]
        cells = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in found]
        self.rows = [dict(zip(COLUMNS, map(words, row), strict=True)) for row in cells]

    @property
    def row(self):
        (row,) = self.rows
        return row


def words(markup):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def panel_of(url, **query):
    status, body = get(url, **query)
    assert status == 200
    return Panel(body)


# ------------------------------------------------------------------- the figures


def test_session_mode(use, database):
    use({"name": "shop"})
    first = panel_of("execute", sql=["SELECT 1", "SELECT 2"])
    second = panel_of("execute", sql=["SELECT 1", "SELECT 2"])
    for each in (first, second):
        assert each.row["database"] == "default shop"
        assert (each.row["mode"], each.row["acquires"]) == ("session", "1")
        assert re.fullmatch(r"\d+\.\d\d ms", each.row["waited"])
        assert re.fullmatch(r"\d+\.\d\d ms 1 still held", each.row["held"])
        assert (each.row["pins"], each.row["resets"]) == ("none", "0")
        assert re.fullmatch(r"1 acquire, \d+\.\d ms waited", each.subtitle)
    assert (first.row["here"], first.row["without"]) == ("1", "1")
    assert (second.row["here"], second.row["without"]) == ("0", "1")
    assert float(first.row["waited"].split()[0]) > 0


def test_session_mode_with_a_close_in_between(use, database):
    use()
    get("execute", sql="SELECT 1")
    row = panel_of("execute", sql=["SET work_mem = '5MB'", "close", "SELECT 2"]).row
    assert (row["acquires"], row["resets"]) == ("2", "1")
    assert (row["here"], row["without"]) == ("0", "2")
    assert re.fullmatch(r"\S+ ms longest \S+ ms", row["waited"])


def test_transaction_mode(use, database):
    use({"mode": "transaction"})
    get("execute", sql="SELECT 1")
    panel = panel_of("execute", sql=["SELECT 1", "SELECT 2", "SELECT 3"])
    assert (panel.row["mode"], panel.row["acquires"]) == ("transaction", "3")
    assert (panel.row["pins"], panel.row["resets"]) == ("none", "0")
    assert re.fullmatch(r"\d+\.\d\d ms", panel.row["held"])  # it has all been given back
    assert (panel.row["here"], panel.row["without"]) == ("0", "1")
    assert re.fullmatch(r"3 acquires, \d+\.\d ms waited", panel.subtitle)


def test_pins(use, database):
    use({"mode": "transaction"})
    row = panel_of(
        "execute",
        sql=[
            *("SELECT 1", "SET work_mem = '5MB'", "SELECT 2", "close"),
            *("SET work_mem = '6MB'", "close"),
            *("CREATE TEMP TABLE x (y int)", "SELECT 3"),
        ],
    ).row
    assert row["pins"] == "SET (2 times), temporary table"
    assert row["resets"] == "2"
    assert row["acquires"] == "4"
    assert row["held"].endswith(" ms 1 still held")


def test_in_vain(use, database):
    use({"max_size": 1, "timeout": 5})
    with pytest.raises(OperationalError):
        get("ask-in-vain")
    holder = connection.pool.acquire()
    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=False):
        status, body = get("ask-in-vain")
    connection.pool.release(holder)
    assert status == 500
    assert Panel(body).row["acquires"] == "0 1 in vain"


def test_several_databases(use, database, django_databases):
    entry = database.django(ENGINE="carpool.postgresql", OPTIONS={"pool": {"name": "shop"}})
    other = database.django(ENGINE="carpool.postgresql", OPTIONS={"pool": {"name": "archive"}})
    django_databases(default=entry, again=entry, archive=other)
    try:
        for alias in ("default", "again", "archive"):
            run(connections[alias], "SELECT 1")
            connections[alias].close()
        found = panel_of("execute", sql="SELECT 1")
        assert found.row["database"] == "again, default shop"
    finally:
        for alias in ("default", "archive"):
            connections[alias].close_pool()


def test_no_query(use, database):
    use()
    panel = panel_of("execute")
    assert panel.text == "This request has acquired no connection from a pool."
    assert panel.subtitle == "0 acquires, 0.0 ms waited"


# --------------------------------------------------- of this request, and no other


def test_nobody_listens_where_no_toolbar_is_shown(use, database):
    use()
    assert sorted(json.loads(get("who-listens")[1])) == sorted(LISTENED_TO)
    with override_settings(INTERNAL_IPS=[]):
        assert get("who-listens") == (200, "[]")


def test_another_threads_use_is_not_shown(use, database):
    use()
    assert panel_of("elsewhere", sql="SELECT 1").row["acquires"] == "1"


def test_two_requests_at_once(use, database, in_thread):
    use({"mode": "transaction"})
    panels = {}

    def ask(name, statements):
        panels[name] = panel_of("hold", sql=statements)

    queries = {"one": ["SELECT 1"], "three": ["SELECT 1", "SELECT 2", "SELECT 3"]}
    threads = [threading.Thread(target=ask, args=each) for each in queries.items()]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert panels["one"].row["acquires"] == "1"
    assert panels["three"].row["acquires"] == "3"


def test_an_asynchronous_view(use, database):
    use({"mode": "transaction"})
    query = {"sql": ["SELECT 1", "SELECT 2"]}
    with ExitStack() as stack:
        stack.callback(connection.close)
        client = AsyncClient(REMOTE_ADDR="127.0.0.1")
        response = async_to_sync(client.get)("/execute-asynchronously", query)
    assert Panel(response.content.decode()).row["acquires"] == "2"


def test_a_view_that_fails(use, database):
    use()
    with pytest.raises(LookupError):
        get("fail")
    assert listening() == []


# -------------------------------------------------------------------- installing


def test_without_the_app_a_check_says_so():
    def told():
        return [each.id for each in checks.run_checks() if "carpool" in each.id]

    # Those of auth are looked at as well, where another test has imported it.
    auth = ["django.contrib.auth", "django.contrib.contenttypes"]
    with override_settings(INSTALLED_APPS=[*auth, *APPS]):
        assert "carpool.E101" not in told()
    with override_settings(INSTALLED_APPS=[*auth, *APPS[:-1]]):
        assert "carpool.E101" in told()
