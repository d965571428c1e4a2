"""Who may see the page and give orders, what they get, and what the app leaves alone."""

import json
import logging
import re
import struct
from copy import deepcopy
from io import StringIO
from itertools import accumulate, chain

import pytest
from django import VERSION
from django.contrib.admin import AdminSite
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from carpool.errors import PoolError, PoolTimeout
from tests.telemetry.samples import sample_pool, sample_report
from tests.web.settings import MIDDLEWARE, TEMPLATES

PAGE = "/admin/carpool_web/pool/"
FIGURES = f"{PAGE}figures/"
ORDER = f"{PAGE}order/"
POOL = sample_pool()["name"]
DRAIN = {"verb": "drain", "pool": POOL}


def test_the_index_of_the_admin_leads_to_the_page(browse):
    assert f'href="{PAGE}"' in browse("clerk").get("/admin/").text
    assert "Connection pools" not in browse("guest").get("/admin/").text


def test_the_page_has_buttons_for_those_alone_who_may_order(browse):
    assert "data-may-order" in browse("chief").get(PAGE).text
    clerks = browse("clerk").get(PAGE)
    assert clerks.status_code == 200
    assert "data-may-order" not in clerks.text
    assert "<dialog" not in clerks.text


@pytest.mark.parametrize("url", [PAGE, FIGURES])
def test_whoever_may_not_view_pools_sees_nothing(browse, host, url):
    assert browse("guest").get(url).status_code == 403
    answer = browse().get(url)
    assert (answer.status_code, answer.url) == (302, f"/admin/login/?next={url}")


@pytest.mark.parametrize("name", ["clerk", "guest"])
def test_orders_need_the_permission_to_change_pools(browse, host, name):
    answer = browse(name).post(ORDER, DRAIN)
    assert answer.status_code == 403
    assert answer.json()["error"] == (
        "You may not give orders: you lack the permission “change pool”."
    )
    assert browse().post(ORDER, DRAIN).status_code == 302
    assert host.orders == []


def test_orders_need_post_and_the_token_against_forgery(browse, host):
    assert browse("chief").get(ORDER, DRAIN).status_code == 405
    assert browse("chief", enforce_csrf_checks=True).post(ORDER, DRAIN).status_code == 403
    assert host.orders == []


@pytest.mark.parametrize("url", [PAGE, FIGURES])
def test_the_page_and_its_figures_change_nothing(browse, host, url):
    assert browse("chief").post(url, DRAIN).status_code == 405


@pytest.mark.parametrize(
    ("form", "given"),
    [
        (DRAIN, ("drain", POOL, None)),
        ({"verb": "pause", "pool": POOL}, ("pause", POOL, None)),
        ({"verb": "resume", "pool": POOL}, ("resume", POOL, None)),
        (
            {"verb": "resize", "pool": POOL, "min_size": " 2", "max_size": "30"},
            ("resize", POOL, (2, 30)),
        ),
    ],
)
def test_an_order_is_given_and_logged(browse, host, caplog, form, given):
    from django.contrib.admin.models import LogEntry  # noqa: PLC0415 - needs the apps

    client = browse("chief")
    with caplog.at_level(logging.INFO, "carpool.web"):
        answer = client.post(ORDER, form)
    assert answer.json() == {"number": 1, "pool": POOL, "verb": given[0]}
    assert host.orders == [given]
    (record,) = caplog.records
    assert (record.user, record.verb, record.pool) == ("chief", given[0], POOL)
    assert POOL in record.getMessage()
    assert LogEntry.objects.first().get_change_message().startswith(f"Ordered: {given[0]}")
    assert POOL in client.get("/admin/").text  # its "Recent actions"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"verb": "explode"}, "There is no order “explode”. There are: drain, pause, resume, "),
        ({"verb": ""}, "There is no order “”."),
        ({"pool": "<script>"}, f"There is no pool “<script>”. There are: {POOL}."),
        ({"pool": "x" * 5000}, f"There is no pool “{'x' * 100}”."),
        ({"min_size": ""}, "min_size is “”; allowed: 0 to 100,000."),
        ({"max_size": "many"}, "max_size is “many”; allowed: 1 to 100,000."),
        ({"max_size": "0"}, "max_size is “0”; allowed: 1 to 100,000."),
        ({"max_size": "-3"}, "max_size is “-3”"),
        ({"max_size": "1e3"}, "max_size is “1e3”"),
        ({"max_size": "9" * 5000}, f"max_size is “{'9' * 100}”"),
        ({"max_size": "100001"}, "max_size is “100001”"),
        ({"min_size": "5", "max_size": "4"}, "min_size is 5, above max_size, which is 4."),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(browse, host, change, says):
    form = {"verb": "resize", "pool": POOL, "min_size": "1", "max_size": "2"}
    answer = browse("chief").post(ORDER, form | change)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert host.orders == []


def test_what_cannot_be_ordered_is_not_logged_as_ordered(browse, host, monkeypatch):
    tries = []

    def fail(*given, **_):
        tries.append(given)
        raise PoolError("the disk is full; make room")

    from django.contrib.admin.models import LogEntry  # noqa: PLC0415 - needs the apps

    monkeypatch.setattr("carpool.telemetry.orders.give", fail)
    before = LogEntry.objects.count()
    answer = browse("chief").post(ORDER, DRAIN)
    assert (answer.status_code, answer.json()["error"]) == (503, "the disk is full; make room")
    assert len(tries) == 1  # though a PoolError is also a database's, it is not the log's
    assert LogEntry.objects.count() == before


@pytest.fixture
def unlogged(browse):
    """A client of the chief's, whom the admin's log has no room for."""
    from django.contrib.admin.models import LogEntry  # noqa: PLC0415 - needs the apps

    client = browse("chief")
    table = LogEntry._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
    yield client
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE elsewhere RENAME TO {table}")


def test_an_order_is_given_even_if_the_admin_cannot_log_it(unlogged, host, caplog):
    with caplog.at_level(logging.INFO, "carpool.web"):
        answer = unlogged.post(ORDER, {"verb": "resume", "pool": POOL})
    assert (answer.status_code, answer.json()["number"]) == (200, 1)
    assert host.orders == [("resume", POOL, None)]
    told, given = caplog.records
    assert told.levelname == "WARNING"
    assert "no such table" in told.getMessage()
    assert (told.verb, given.verb, given.user) == ("resume", "resume", "chief")


def test_an_order_is_given_while_the_pool_of_the_log_is_paused(browse, host, monkeypatch):
    from carpool.web.admin import PoolAdmin  # noqa: PLC0415 - needs the apps

    def wait_in_vain(*_):
        raise PoolTimeout("no connection within 10 s: the pool is paused")

    client = browse("chief")
    monkeypatch.setattr(PoolAdmin, "log_change", wait_in_vain)
    assert client.post(ORDER, {"verb": "resume", "pool": POOL}).status_code == 200
    assert host.orders == [("resume", POOL, None)]


def test_a_host_that_cannot_be_looked_at_is_told(browse, host):
    host.error = PoolError("carpool's directory cannot be made; name another")
    answer = browse("clerk").get(FIGURES)
    assert (answer.status_code, answer.json()) == (503, {"error": str(host.error)})


def test_the_figures_are_of_all_pools(browse, host):
    host.report = sample_report(sample_pool(), sample_pool(name="other"), faults=["4711 is torn"])
    told = browse("clerk").get(FIGURES).json()
    assert [each["name"] for each in told["pools"]] == [POOL, "other"]
    assert told["faults"] == ["4711 is torn"]


def test_stacks_are_for_those_alone_who_may_order(browse, host):
    secret = "token = 'hush'"
    lease = {**sample_pool()["leases"][0], "acquired": secret, "now": secret}
    host.report = sample_report(sample_pool(leases=[lease]))
    assert secret in browse("chief").get(FIGURES).text
    told = browse("clerk").get(FIGURES).text
    assert secret not in told
    assert "not yours to see" in told


def two_projects(host):
    """Have a pool of this project and one of another's in the host's report."""
    pools = sample_pool(parts=1), sample_pool(parts=2, name="another project's")
    host.report, host.names = sample_report(*pools, processes=3), {POOL}


def test_the_figures_are_of_this_project_alone(browse, host):
    two_projects(host)
    told = browse("clerk").get(FIGURES).json()
    assert [each["name"] for each in told["pools"]] == [POOL]
    assert told["summary"] == "1 pool in 1 process of this project on this host"
    assert "another" not in json.dumps(told)


def test_another_projects_pool_takes_no_orders(browse, host):
    two_projects(host)
    answer = browse("chief").post(ORDER, {"verb": "pause", "pool": "another project's"})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(f"There are: {POOL}.")
    assert host.orders == []


def test_settings_that_are_wrong_are_told(browse, host, monkeypatch):
    def fail():
        raise ImproperlyConfigured("DATABASES['stats']: 'max_size' is 'ten'")

    monkeypatch.setattr("carpool.telemetry.ours.names", fail)
    for answer in (browse("chief").get(FIGURES), browse("chief").post(ORDER, DRAIN)):
        assert answer.status_code == 503
        assert answer.json()["error"] == "DATABASES['stats']: 'max_size' is 'ten'"
    assert host.orders == []


def test_the_page_may_stand_in_another_admin_too(site):
    from carpool.web.admin import PoolAdmin  # noqa: PLC0415 - needs the apps
    from carpool.web.models import Pool  # noqa: PLC0415 - the same

    other = AdminSite(name="other")
    other.register(Pool, PoolAdmin)
    names = [each.name for each in other.get_model_admin(Pool).get_urls()]
    assert names == [f"carpool_web_pool_{each}" for each in ("changelist", "figures", "order")]


@pytest.mark.skipif(VERSION < (6, 0), reason="Django before 6.0 has no support for CSP")
def test_its_files_carry_the_nonce_of_djangos_policy(site, browse):
    from django.utils.csp import CSP  # noqa: PLC0415 - see above

    (engine,) = deepcopy(TEMPLATES)
    engine["OPTIONS"]["context_processors"].append("django.template.context_processors.csp")
    middleware = "django.middleware.csp.ContentSecurityPolicyMiddleware"
    policy = {"script-src": [CSP.NONCE], "style-src": [CSP.NONCE]}
    client = browse("clerk")
    with override_settings(
        TEMPLATES=[engine], MIDDLEWARE=[middleware, *MIDDLEWARE[1:]], SECURE_CSP=policy
    ):
        page = client.get(PAGE)
    (nonce,) = set(re.findall(r"'nonce-(.*?)'", page.headers["Content-Security-Policy"]))
    assert len(re.findall(rf'carpool_web/page\.(?:js|css)" nonce="{nonce}"', page.text)) == 2


def test_there_is_nothing_to_migrate_dump_or_complain_of(site):
    call_command("makemigrations", "carpool_web", check=True, dry_run=True, verbosity=0)
    assert "carpool_web_pool" not in connection.introspection.table_names()
    call_command("check", fail_level="WARNING")
    for more in ({}, {"use_base_manager": True}):
        dump = StringIO()
        call_command("dumpdata", "carpool_web", stdout=dump, **more)
        assert dump.getvalue().strip() == "[]"


def catalogue(folder, texts):
    """Write translations as gettext reads them: the format's docs tell of its header and tables."""
    pairs = {"": "Content-Type: text/plain; charset=utf-8\n"} | texts
    words = [text.encode() for each in (pairs.keys(), pairs.values()) for text in each]
    size = 28 + 8 * len(words)
    starts = accumulate((len(each) + 1 for each in words), initial=size)
    places = [(len(each), start) for each, start in zip(words, starts, strict=False)]
    head = (0x950412DE, 0, len(pairs), 28, 28 + 4 * len(words), 0, size)
    path = folder / "de" / "LC_MESSAGES" / "django.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(
        struct.pack(f"<7I{2 * len(words)}I", *head, *chain(*places)) + b"\0".join([*words, b""])
    )


def test_without_static_files_the_page_says_what_is_missing(browse):
    assert "manage.py collectstatic" in browse("clerk").get(PAGE).text


def test_its_names_can_be_translated(browse, tmp_path):
    texts = {"Connection pools": "Verbindungspools", "pool": "Becken", "pools": "Becken, viele"}
    catalogue(tmp_path, texts)
    client = browse("chief")
    with override_settings(LANGUAGE_CODE="de", LOCALE_PATHS=[tmp_path]):
        index, page = client.get("/admin/").text, client.get(PAGE).text
    assert "Verbindungspools" in index
    assert "Becken, viele" in index
    assert "<title>Verbindungspools" in page
    assert "Becken, viele" in page  # in its breadcrumbs, or in the sidebar
    assert "Connection pools" not in index + page


def test_the_permissions_are_those_to_view_and_to_change(site):
    from django.contrib.auth.models import Permission  # noqa: PLC0415 - needs the apps

    found = Permission.objects.filter(content_type__app_label="carpool_web")
    assert {each.codename for each in found} == {"view_pool", "change_pool"}
