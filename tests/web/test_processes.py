"""The page shows and orders about real processes with real pools on a real PostgreSQL."""

import json
import re

import pytest

from carpool.telemetry import orders
from support.browser import browser
from support.servers import NotInstalled
from tests.web.running import sites
from tests.web.test_browser import pool, says, visiting

EXPECTED = "status of 500"  # while the pool of the page is paused


@pytest.fixture
def two(database, tmp_path):
    """Two processes that serve the site from pools of their own."""
    entry = database.django(
        ENGINE="carpool.postgresql",
        OPTIONS={"pool": {"max_size": 3, "mode": "transaction", "timeout": 5}},
    )
    with sites(tmp_path, number=2, WEB_DATABASES=json.dumps({"default": entry})) as running:
        yield running


@pytest.fixture
def chromium():
    try:
        with browser() as started:
            yield started
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.fixture
def page(two, chromium):
    with visiting(chromium, two[0], "chief", EXPECTED) as page:
        context = page.context
        for site in two:  # the second process' first query makes its pool
            assert context.request.get(site.url).ok
        pool(page).wait_for()
        yield page


def processes(page):
    return pool(page).get_by_role("table", name="Processes").get_by_role("rowheader")


def test_the_page_tells_of_all_processes_and_orders_reach_them(two, database, page):
    processes(page).nth(1).wait_for()
    assert {*processes(page).all_inner_texts()} == {str(site.process.pid) for site in two}
    pool(page).get_by_role("img", name=re.compile("of 6 connections are open")).wait_for()
    before = {session.pid for session in database.sessions()}
    assert len(before) >= 2

    page.get_by_role("button", name="Drain default").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    says(page, "status", "Drain default: 2 of 2 processes have carried it out.")
    for pid in before:
        database.wait_for_sessions(0, pid=pid)

    page.get_by_role("button", name="Resize default").click()
    page.get_by_label("max_size").fill("5")
    page.keyboard.press("Enter")
    says(page, "status", "Resize default: 2 of 2 processes have carried it out.")
    pool(page).get_by_role("img", name=re.compile("of 10 connections are open")).wait_for()


def test_who_pauses_the_pool_of_the_page_is_told_the_way_out(two, page):
    page.get_by_role("button", name="Pause default").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("manage.py carpool resume default").wait_for()
    dialog.get_by_role("button", name="Pause", exact=True).click()
    command = "manage.py carpool resume default"
    says(page, "alert", f"This page needs the paused pool: {command} ends the pause.")
    orders.give(str(two[0].folder / "carpool"), "resume", pool(page).get_attribute("data-key"))
    page.get_by_role("alert").wait_for(state="hidden")


def test_the_pools_of_another_project_are_left_out(database, tmp_path, chromium):
    def project(name, fresh):
        options = {"pool": {"name": name, "mode": "transaction"}}
        entry = database.django(ENGINE="carpool.postgresql", OPTIONS=options)
        return sites(tmp_path, fresh=fresh, WEB_DATABASES=json.dumps({"default": entry}))

    with project("theirs", fresh=True) as (their,), project("ours", fresh=False) as (our,):
        for site, name in ((their, "theirs"), (our, "ours")):
            with visiting(chromium, site, "clerk") as page:
                pool(page).wait_for()
                assert pool(page).get_attribute("data-key") == name
                page.get_by_text("1 pool in 1 process of this project on this host").wait_for()
