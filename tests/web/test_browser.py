"""The page in a real browser. SCREENSHOTS=1 has it take the pictures of docs/page.md anew."""

import os
import re
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.browser import browser, executable
from support.servers import NotInstalled
from tests.probing import eventually
from tests.telemetry.samples import counted, sample_pool, sample_report
from tests.web.policy import POLICY
from tests.web.running import sites
from tests.web.users import PASSWORD

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SHOP = "postgresql://shop@db.internal/shop"
STATS = "mysql://stats@stats.internal/stats"
EVIL = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"
# What tests bring about: a site that has ended, an order that makes no sense, files not served.
EXPECTED = "ERR_CONNECTION_REFUSED|status of 40[04]"
# What a process that ends makes of a request that is under way.
CUT = "ERR_CONNECTION_(RESET|CLOSED)|ERR_EMPTY_RESPONSE|ERR_CONTENT_LENGTH_MISMATCH"
EVERY = 2_000  # milliseconds between two looks
LEASE = sample_pool()["leases"][0]
SECONDS = [
    (round(4 + 4 * ((n * 7) % 11) / 11 + n / 9), max(0, n % 23 - 17), 236) for n in range(60)
]


def shop(**changes):
    """Return a pool with something of everything."""
    leases = [
        {**LEASE, "pid": 4711, "held": 12.5},
        {**LEASE, "pid": 4712, "held": 3.1, "thread": "Thread-9", "pinned": "", "now": ""},
    ]
    given = {"name": SHOP, "leased": 9, "idle": 4, "open": 13, "recent": SECONDS, "leases": leases}
    pool = sample_pool(**given | changes)
    for part, (leased, idle) in zip(pool["parts"], [(5, 2), (4, 2)], strict=True):
        part["figures"].update(leased=leased, idle=idle, open=leased + idle)
    return pool


def stats(**changes):
    """Return a paused pool for which somebody waits."""
    given = {
        "name": STATS,
        "aliases": ["stats"],
        "vendor": "mysql",
        "database": "stats",
        "mode": "session",
        "paused": True,
        "waiting": 3,
        "longest_wait": 2.4,
        "idle": 0,
        "open": 1,
        "leased": 1,
        "pinned": 0,
        "pins": {},
        "leases": [],
        "use_time": counted(),
        "recent": [(max(1, 5 - n // 4), max(0, n - 57), 5) for n in range(60)],
    }
    return sample_pool(parts=1, **given | changes) | {"capacity": 10}


@pytest.fixture(scope="module")
def chromium():
    try:
        with browser() as started:
            yield started
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def made_up(tmp_path_factory, chromium):
    with sites(tmp_path_factory.mktemp("site"), WEB_MADE_UP="1") as (site,):
        yield site


@pytest.fixture
def site(made_up):
    """A site whose figures the test makes up."""
    made_up.show(sample_report(shop(), stats()))
    made_up.answer(7)
    (made_up.folder / "orders.txt").unlink(missing_ok=True)
    return made_up


@contextmanager
def visiting(chromium, site, user, expected=EXPECTED, **more):
    """Log in and show the page; the console may complain of what is `expected` alone."""
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | more)
    context.set_default_timeout(30_000)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(site.url)
    page.get_by_label("Username:").fill(user)
    page.get_by_label("Password:").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    try:
        yield page
        assert [each for each in complaints if not re.search(expected, each)] == []
    finally:
        context.close()


@pytest.fixture
def page(chromium, site):
    with visiting(chromium, site, "chief") as page:
        page.get_by_role("heading", name="default").wait_for()
        yield page


def pool(page, title="default"):
    return page.get_by_role("region", name=f"Pool {title}")


def says(page, role, text):
    page.get_by_role(role).filter(has_text=text).wait_for()


def shown(page, folder, name):
    """Take a picture; to look at, or for the docs if that is asked for and they have one."""
    docs = IMAGES / name
    path = docs if os.environ.get("SCREENSHOTS") and docs.exists() else folder / name
    page.screenshot(path=path, full_page=True)


@pytest.mark.parametrize("width", [1280, 480])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_any_light_and_width(chromium, site, tmp_path, scheme, width):
    view = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with visiting(chromium, site, "chief", **view) as page:
        pool(page, "stats").get_by_text("PAUSED", exact=True).wait_for()
        wide, background = page.evaluate(
            "[document.documentElement.scrollWidth,"
            " getComputedStyle(document.body).backgroundColor]"
        )
        assert (wide, background) == (
            *(width, {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[scheme]),
        )
        shown(page, tmp_path, f"page-{scheme}-{width}.png")


def test_the_figures_are_there(page):
    text = pool(page).inner_text()
    for part in (SHOP, "transaction mode", "13 of 20", "9 1 pinned", "236", "12,345", "Thread-4"):
        assert part in text
    table = pool(page).get_by_role("table", name="Processes")
    assert table.get_by_role("columnheader").all_inner_texts() == [
        *("pid", "open", "in use", "waiting", "told", "command"),
    ]
    assert table.get_by_role("rowheader").all_inner_texts() == ["4711", "4712"]
    pool(page).get_by_role("img", name="13 of 20 connections are open").wait_for()
    assert pool(page).get_by_role("img", name=re.compile("^waiting: .*at most 5")).count() == 1


def test_the_admins_switch_of_themes_reaches_the_page(page):
    colour = "getComputedStyle(document.querySelector('.carpool-bar rect')).fill"
    seen = set()
    for _ in range(3):
        seen.add(page.evaluate(colour))
        page.locator("#header").get_by_role("button", name="Toggle theme").click()
    assert len(seen) == 2


def test_the_policy_is_strict_and_kept(site, page):
    assert page.reload().headers["content-security-policy"] == POLICY
    pool(page).wait_for()  # complaints of the console end the test


def test_an_order_can_be_given_with_the_keyboard_alone(site, page):
    drain = page.get_by_role("button", name="Drain default")
    for _ in range(60):
        if drain.evaluate("each => each === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Drain default?").wait_for()
    page.keyboard.press("Shift+Tab")  # from "Cancel", so that Enter, pressed twice, orders nothing
    page.keyboard.press("Enter")
    says(page, "status", "Drain default: 0 of 2 processes have carried it out.")
    assert site.orders() == [["drain", SHOP, None]]
    assert drain.evaluate("each => each === document.activeElement")
    half = shop()
    half["parts"][0]["figures"] = half["parts"][0]["figures"] | {"obeyed": 7}
    site.show(sample_report(half))
    says(page, "status", "Drain default: 1 of 2 processes have carried it out.")
    site.show(sample_report(shop(obeyed=7)))
    says(page, "status", "Drain default: 2 of 2 processes have carried it out.")


def test_news_of_an_order_leave_when_it_has_been_carried_out(site, page):
    page.clock.install()
    page.reload()
    page.get_by_role("button", name="Resume stats").click()
    says(page, "status", "Resume stats: 0 of 1 process has carried it out.")
    page.clock.run_for(60_000)
    assert "0 of 1" in page.get_by_role("status").inner_text()
    site.show(sample_report(stats(obeyed=7)))
    page.clock.run_for(EVERY)
    says(page, "status", "Resume stats: 1 of 1 process has carried it out.")
    page.clock.run_for(60_000)
    assert page.get_by_role("status").inner_text() == ""


def test_an_order_to_a_broker_is_carried_out_by_the_broker(site, page):
    site.answer(0)
    page.get_by_role("button", name="Resume stats").click()
    says(page, "status", "Resume stats: the broker has carried it out.")


@pytest.mark.parametrize("way", ["Enter", "Escape"])
def test_what_is_cancelled_is_not_ordered(site, page, way):
    page.get_by_role("button", name="Pause default").click()
    page.get_by_role("dialog", name="Pause default?").wait_for()
    page.keyboard.press(way)
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_role("button", name="Resume stats").click()
    says(page, "status", "Resume stats: 0 of 1 process has carried it out.")
    assert site.orders() == [["resume", STATS, None]]


def test_resizing_asks_for_sizes(site, page):
    page.get_by_role("button", name="Resize default").click()
    assert page.get_by_label("min_size").input_value() == "0"
    page.get_by_label("min_size").fill("2")
    page.get_by_label("max_size").fill("30")
    page.keyboard.press("Enter")
    says(page, "status", "Resize default: 0 of 2 processes have carried it out.")
    assert site.orders() == [["resize", SHOP, [2, 30]]]


def test_what_the_server_refuses_is_told(site, page):
    page.get_by_role("button", name="Resize default").click()
    page.get_by_label("min_size").fill("5")
    page.get_by_label("max_size").fill("4")
    page.get_by_role("dialog").get_by_role("button", name="Resize").click()
    says(page, "status", "Resize default: min_size is 5, above max_size, which is 4.")
    assert site.orders() == []


@pytest.mark.parametrize("own", [True, False])
def test_pausing_the_pool_that_the_page_needs_is_warned_of(site, page, own):
    needed = shop(waiting=1234, aliases=["default", "replica"])
    needed["parts"][0]["pid"] = site.process.pid if own else 1
    site.show(sample_report(needed))
    pool(page, "default, replica").get_by_text("1,234").first.wait_for()
    page.get_by_role("button", name="Pause default, replica").click()
    warning = page.get_by_role("dialog").get_by_text("manage.py carpool resume default", exact=True)
    assert warning.is_visible() == own


def test_a_button_that_changes_its_meaning_keeps_the_focus(site, page):
    button = page.get_by_role("button", name="Resume stats")
    button.press("Enter")
    site.show(sample_report(shop(), stats(paused=False)))
    page.get_by_role("button", name="Pause stats").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Pause"


def test_a_refresh_leaves_what_the_user_is_at(site, page):
    summary = pool(page).get_by_text("show", exact=True)
    summary.press("Enter")
    stack = pool(page).get_by_role("row", name="4711 Thread-4").locator("pre")
    stack.wait_for()
    other = shop(name="another", aliases=["above"], waiting=1)
    again = shop(waiting=1234)
    again["leases"].insert(0, {**LEASE, "pid": 4713, "held": 60.0, "thread": "New"})
    site.show(sample_report(other, again))
    pool(page).get_by_text("1,234").first.wait_for()
    assert stack.is_visible()
    assert page.evaluate("document.activeElement.closest('tr').dataset.key").startswith("4711 ")
    assert pool(page, "stats").count() == 0


def test_names_are_text_whatever_they_hold(site, page):
    evil = shop(name=EVIL, aliases=[EVIL], database=EVIL, last_error=EVIL, pins={EVIL: 1})
    evil["parts"][0]["command"] = EVIL
    evil["leases"][0].update(thread=EVIL, pinned=EVIL, now=EVIL)
    site.show(sample_report(evil, faults=[EVIL]))
    page.get_by_role("heading", name=EVIL, exact=True).wait_for()
    assert page.locator("#carpool :is(script, img)").count() == 0
    page.get_by_role("button", name=f"Drain {EVIL}").click()
    page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    says(page, "status", f"Drain {EVIL}: 0 of 2 processes")
    assert site.orders() == [["drain", EVIL, None]]
    assert page.evaluate("window.pwned === undefined")


def test_who_may_not_order_has_no_buttons(chromium, site):
    with visiting(chromium, site, "clerk") as page:
        pool(page).wait_for()
        assert page.locator("#carpool button").count() == 0
        lease = pool(page).get_by_role("row", name="4711 Thread-4")
        lease.get_by_role("cell", name="not yours to see").wait_for()


@pytest.mark.parametrize("served", [True, False])
def test_files_that_are_not_served_are_told_of(site, page, served):
    page.route("**/figures/", lambda route: None)  # never answered
    if not served:
        page.route("**/carpool_web/page.*", lambda route: route.fulfill(status=404))
    page.reload()
    page.get_by_text("Asking for the figures").wait_for()
    assert page.get_by_text("manage.py collectstatic").is_visible() != served


def test_faults_and_the_lack_of_processes_are_told(site, page):
    site.show(sample_report(pools=[], processes=0, faults=["board 4711 is torn"]))
    says(page, "alert", "board 4711 is torn")
    page.get_by_text("No process of this project uses a pool now.").wait_for()


def asked(page):
    """Return a list that grows with each request for figures."""
    found = []
    page.on("request", lambda request: "/figures/" in request.url and found.append(request))
    return found


def under_way(page):
    """Return a set of the requests for figures that have not ended."""
    found = set()
    page.on("request", lambda request: "/figures/" in request.url and found.add(request))
    for end in ("requestfinished", "requestfailed"):
        page.on(end, lambda request: found.difference_update([request]))
    return found


def test_a_hidden_tab_asks_for_nothing(site, page):
    page.clock.install()
    waiting = under_way(page)
    page.reload()
    pool(page).wait_for()
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    eventually(lambda: page.evaluate("document.hidden") and not waiting)
    requests = asked(page)
    page.clock.run_for(10 * EVERY)
    assert requests == []
    with page.expect_response("**/figures/"):
        page.evaluate(hide, False)


def test_the_end_of_the_session_is_told_once(site, page):
    page.context.clear_cookies()
    says(page, "alert", "Your session has ended. Log in again")
    requests = asked(page)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("link", name="Log in again").click()
    page.get_by_label("Username:").wait_for()
    assert requests == []


def test_a_server_that_is_gone_is_told_until_it_is_back(chromium, tmp_path):
    with sites(tmp_path, WEB_MADE_UP="1") as (site,):
        site.show(sample_report(shop()))
        with visiting(chromium, site, "chief", f"{EXPECTED}|{CUT}") as page:
            pool(page).wait_for()
            site.stop()
            says(page, "alert", "The server does not answer. These figures are old; asking again")
            assert pool(page).is_visible()
            page.get_by_role("button", name="Drain default").click()
            page.get_by_role("dialog").get_by_role("button", name="Drain").click()
            says(page, "status", "Drain default: The server does not answer.")
            with sites(tmp_path, port=site.port, fresh=False, WEB_MADE_UP="1"):
                page.get_by_role("alert").wait_for(state="hidden")
                page.goto("about:blank")  # so that it does not ask a server that ends


def test_a_system_without_a_browser_says_how_to_get_one(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotInstalled, match="apt-get install chromium"):
        executable()
