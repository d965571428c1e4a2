"""`carpool top` with made-up figures: what is seen, in which terminal, and what keys do."""

import asyncio
import doctest
from contextlib import asynccontextmanager

import pytest
from textual.widgets import DataTable, Input, Static

from carpool.errors import PoolError
from carpool.telemetry import top_panels
from carpool.telemetry.top import Top
from tests.telemetry.samples import NOW, sample_figures, sample_part, sample_pool, sample_report

NARROW, WIDE = (80, 24), (140, 40)
SHOP, BLOG = "shop on db.internal as shop", "blog"
CODES = "\x1b[31mred [bold]or not[/] \x07"


@pytest.fixture(autouse=True)
def _nothing_by_itself(monkeypatch):
    """Have it look when the test says so, and once at the start."""
    monkeypatch.setattr("carpool.telemetry.top.PERIOD", 3600)


class Host:
    """Says what it is told to say, and notes the orders."""

    def __init__(self, *pools):
        self.pools = list(pools) or [
            sample_pool(),
            sample_pool(name=BLOG, waiting=3, longest_wait=1.2),
        ]
        self.orders = []
        self.fault = None

    def look(self):
        if self.fault:
            raise self.fault
        return sample_report(pools=self.pools)

    def give(self, *order):
        if self.fault:
            raise self.fault
        self.orders.append(order)
        return len(self.orders)


@asynccontextmanager
async def running(host, size):
    """Run it until it has looked; gives its pilot, to press keys by."""
    app = Top(host.look, host.give)
    async with app.run_test(size=size) as pilot:
        await seen(pilot)
        yield pilot


async def seen(pilot):
    """Have it look once more, and show it all."""
    await pilot.app.look()
    await pilot.pause()


async def press(pilot, *keys):
    """Press keys, and wait until the order that they may give is given."""
    await pilot.press(*keys)
    await pilot.pause()
    orders = [each for each in pilot.app.workers if each.name != "_watch"]
    if orders:  # none means all to Textual
        await pilot.app.workers.wait_for_complete(orders)
    await pilot.pause()


def top(scenario, *pools, size=NARROW):
    """Run a scenario: an async function of a host and a pilot."""
    host = Host(*pools)

    async def main():
        async with running(host, size) as pilot:
            await scenario(host, pilot)

    asyncio.run(main())


def screen(pilot):
    """Return the lines that are seen in the terminal."""
    lines = pilot.app.screen._compositor.render_strips()
    return [line.text.rstrip() for line in lines]


def text(pilot, selector):
    return str(pilot.app.query_one(selector, Static).render())


def rows(pilot, table):
    table = pilot.app.query_one(table, DataTable)
    return [[str(cell) for cell in table.get_row_at(row)] for row in range(table.row_count)]


def test_doctests():
    found = doctest.testmod(top_panels)
    assert found.attempted
    assert not found.failed


# ------------------------------------------------------------------------- what is seen


def test_a_narrow_terminal_shows_one_panel_and_names_the_others():
    async def scenario(host, pilot):
        lines = screen(pilot)
        assert max(map(len, lines)) <= 80
        assert lines[0].strip() == "2 pools, 2 processes, healthy"
        assert lines[2].split() == [*SHOP.split(), "5/20", "3", "1", "0", "241.0", "ok"]
        assert lines[3].split() == ["blog", "5/20", "3", "1", "3", "241.0", "waits"]
        assert any("1 processes  2 times  3 leases" in line for line in lines)
        assert any("4711" in line and "gunicorn" in line for line in lines)
        assert lines[-1].split() == "d Drain p Pause r Resume s Resize ? Help q Quit".split()  # noqa: SIM905 - it reads so
        await press(pilot, "2")
        lines = screen(pilot)
        assert max(map(len, lines)) <= 80
        assert any(
            "2.5 ms ████" in line and line.rstrip("│ ").endswith("60   90%") for line in lines
        )
        assert not any("4711" in line for line in lines)
        await press(pilot, "3")
        lines = "\n".join(screen(pilot))
        assert "12.5 s, pid 4711, Thread-4, default, pinned by SET" in lines
        assert '"/srv/shop/views.py", line 12, in report' in lines

    top(scenario)


def test_a_wide_terminal_shows_all_panels():
    async def scenario(host, pilot):
        lines = "\n".join(screen(pilot))
        for part in ("1 processes", "2 times", "3 leases", "gunicorn", "2.5 ms ████", "views.py"):
            assert part in lines

    top(scenario, size=WIDE)


def test_another_size_of_the_terminal_is_another_layout():
    async def scenario(host, pilot):
        await pilot.resize_terminal(*WIDE)
        await seen(pilot)
        assert "views.py" in "\n".join(screen(pilot))
        await pilot.resize_terminal(*NARROW)
        await seen(pilot)
        assert "views.py" not in "\n".join(screen(pilot))

    top(scenario)


def test_trends_begin_at_nothing_and_end_at_what_is_possible():
    pool = sample_pool(recent=[(10, 0, 100)] * 70)
    leased, waiting, acquires = top_panels.trends(pool, 80)
    assert leased == f"leased   {'▄' * 42}  3 of 20"
    assert waiting == f"waiting  {' ' * 42}  0"
    assert acquires == f"acquires {'█' * 42}  100.0/s"


def test_arrows_choose_a_pool_whose_figures_are_shown_from_then_on():
    async def scenario(host, pilot):
        await press(pilot, "down")
        await seen(pilot)
        assert "for up to 1.2 s" in text(pilot, "#trends")
        host.pools.insert(0, sample_pool(name="another"))
        await seen(pilot)
        assert "for up to 1.2 s" in text(pilot, "#trends")
        assert pilot.app.query_one("#pools", DataTable).cursor_row == 2
        await press(pilot, "up")
        assert pilot.app.query_one("#trends").border_title == SHOP

    top(scenario)


def test_a_pool_that_vanishes_gives_way_to_another():
    async def scenario(host, pilot):
        await press(pilot, "down")
        del host.pools[1]
        await seen(pilot)
        assert pilot.app.query_one("#trends").border_title == SHOP
        host.pools.clear()
        await seen(pilot)
        assert "No process of this user has a pool open" in screen(pilot)[0]
        await press(pilot, "r")
        assert text(pilot, "#message") == "There is no pool to give an order to"
        assert rows(pilot, "#processes") == []
        host.pools.append(sample_pool())
        await seen(pilot)
        assert pilot.app.query_one("#trends").border_title == SHOP

    top(scenario)


def test_who_has_scrolled_down_stays_there():
    many = {**sample_pool(), "parts": [sample_part(pid) for pid in range(1000, 1050)]}

    async def scenario(host, pilot):
        table = pilot.app.query_one("#processes", DataTable)
        await press(pilot, "tab", "pagedown")
        table.scroll_to(y=20, animate=False)
        await seen(pilot)
        await seen(pilot)
        assert table.scroll_y == 20
        assert any("1020" in line for line in screen(pilot))

    top(scenario, many)


def test_what_others_have_named_is_neither_markup_nor_codes():
    pool = sample_pool(name=CODES, aliases=[CODES], last_error=CODES, open=0)
    pool["parts"][0]["command"] = CODES
    pool["leases"] = [{**pool["leases"][0], "thread": CODES, "now": CODES}]

    async def scenario(host, pilot):
        for key in ("1", "2", "3"):
            await press(pilot, key)
            lines = screen(pilot)
            assert all(line.isprintable() for line in lines)
            assert all("[bold]or not[/]" in line for line in lines[2:4])  # row and title
        await press(pilot, "d")
        assert "[bold]or not[/]" in "\n".join(screen(pilot))

    top(scenario, pool)


def test_what_was_seen_last_stays_while_nothing_can_be_seen():
    async def scenario(host, pilot):
        host.fault = PoolError("the directory is gone")
        await seen(pilot)
        assert text(pilot, "#message") == "cannot look: the directory is gone"
        assert rows(pilot, "#pools")[0][0] == SHOP
        host.fault = None
        await seen(pilot)
        assert text(pilot, "#message") == ""

    top(scenario)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"paused": True}, "PAUSED"),
        ({"open": 0, "last_error": "refused"}, "AWAY"),
        ({"waiting": 1}, "waits"),
        ({}, "ok"),
    ],
)
def test_the_state_of_a_pool(changes, state):
    assert top_panels.state(sample_pool(**changes), NOW) == state
    assert top_panels.state(sample_pool(**changes), NOW + 60) == (
        "STALE" if state in ("waits", "ok") else state
    )


def test_a_pool_that_has_done_nothing_is_drawn_too():
    empty = sample_pool(recent=[], leases=[], waits=0)
    nothing = {"sum": 0.0, "buckets": [0] * len(empty["wait_time"]["buckets"])}
    empty |= {"wait_time": nothing, "use_time": nothing}

    async def scenario(host, pilot):
        lines = "\n".join(screen(pilot))
        assert lines.count("none yet") == 2
        assert top_panels.NO_LEASES in lines

    top(scenario, empty, size=WIDE)


def test_what_took_longer_than_the_last_bound_is_drawn():
    buckets = [0] * 16 + [2]
    (line,) = top_panels.bars({"sum": 40.0, "buckets": buckets}, 40)
    assert line == f"  > 10 s {'█' * 16}       2  100%"


# ------------------------------------------------------------------------------ orders


@pytest.mark.parametrize(("key", "verb"), [("d", "drain"), ("p", "pause")])
def test_drain_and_pause_ask_first(key, verb):
    async def scenario(host, pilot):
        for no in ("n", "escape"):
            await press(pilot, key)
            assert f"{verb.title()} {SHOP}?" in "\n".join(screen(pilot))
            await press(pilot, no)
            assert len(pilot.app.screen_stack) == 1
        assert host.orders == []
        await press(pilot, key, "y")
        assert host.orders == [(verb, SHOP, None)]
        assert text(pilot, "#message") == f"{verb} {SHOP}: order given"

    top(scenario)


def test_the_progress_of_an_order_is_told():
    parts = [sample_part(pid, obeyed=0) for pid in range(1, 5)]
    pool = {**sample_pool(), "parts": parts}

    async def scenario(host, pilot):
        await press(pilot, "p", "y")
        for part in parts[:3]:
            part["figures"] = sample_figures(obeyed=1, paused=True, leased=1)
        await seen(pilot)
        told = f"pause {SHOP}: 3 of 4 processes told, waiting for 4"
        assert text(pilot, "#message") == told
        parts[3]["figures"] = sample_figures(obeyed=1, paused=True, leased=0, open=0)
        await seen(pilot)
        assert text(pilot, "#message") == (
            f"pause {SHOP}: waiting for 3 connections in use in 3 processes"
        )
        for part in parts:
            part["figures"] |= {"leased": 0, "open": 0}
        await seen(pilot)
        assert text(pilot, "#message").startswith(f"Paused: no connection of {SHOP} is open")
        await press(pilot, "r")
        assert host.orders[1:] == [("resume", SHOP, None)]

    top(scenario, pool)


def test_an_order_for_a_pool_that_vanishes_is_over():
    async def scenario(host, pilot):
        await press(pilot, "r")
        del host.pools[0]
        await seen(pilot)
        assert text(pilot, "#message") == f"{SHOP} is gone"

    top(scenario)


def test_a_pause_that_somebody_ends_is_over():
    pool = {**sample_pool(), "parts": [sample_part(1, obeyed=2)]}

    async def scenario(host, pilot):
        await press(pilot, "p", "y")
        await seen(pilot)
        assert text(pilot, "#message") == f"somebody has resumed {SHOP}: pid 1"

    top(scenario, pool)


def test_an_order_that_cannot_be_given():
    async def scenario(host, pilot):
        host.fault = PoolError("no room")
        await press(pilot, "r")
        assert text(pilot, "#message") == f"cannot resume {SHOP}: no room"

    top(scenario)


def test_resize_takes_sizes_that_can_be_and_no_others():
    async def scenario(host, pilot):
        await press(pilot, "s")
        fields = pilot.app.screen.query(Input)
        assert [each.value for each in fields] == ["0", "10"]
        fields.first().value = "11"
        await press(pilot, "enter")
        assert "'min_size' is 11, above 'max_size', which is 10" in "\n".join(screen(pilot))
        fields.first().value = ""
        await press(pilot, "enter")
        assert "both must be whole numbers" in "\n".join(screen(pilot))
        assert host.orders == []
        fields.first().value = "2"
        await press(pilot, "tab", "enter")
        assert host.orders == [("resize", SHOP, (2, 10))]

    top(scenario)


def test_resize_may_be_left():
    async def scenario(host, pilot):
        await press(pilot, "s", "escape")
        assert len(pilot.app.screen_stack) == 1
        assert host.orders == []

    top(scenario)


@pytest.mark.parametrize("size", [NARROW, WIDE, (40, 12)])
@pytest.mark.parametrize("back", ["escape", "question_mark", "q"])
def test_help_tells_the_keys(size, back):
    async def scenario(host, pilot):
        await press(pilot, "question_mark")
        assert any("drain" in line for line in screen(pilot))
        await press(pilot, back)
        assert len(pilot.app.screen_stack) == 1
        assert pilot.app.is_running

    top(scenario, size=size)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_q_and_ctrl_c_end_it(key):
    async def scenario(host, pilot):
        await pilot.press(key)
        await pilot.pause()
        assert pilot.app.return_code == 0
        assert not pilot.app.is_running

    top(scenario)
