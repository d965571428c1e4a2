"""What the page shows of a report."""

import json

import pytest

from carpool.web import shape
from tests.telemetry.samples import counted, sample_figures, sample_pool, sample_report

LEASE = {
    "held": 12.5,
    "pid": 4711,
    "alias": "default",
    "thread": "Thread-4",
    "pinned": "SET",
    "acquired": "line 1",
    "now": "line 2",
}


def shaped(*, report=None, pid=1, needed=(), stacks=True, **changes):
    """Return what the page shows of one pool, or of a report; it must be JSON."""
    page = shape.page(report or sample_report(sample_pool(**changes)), pid, needed, stacks=stacks)
    assert json.loads(json.dumps(page)) == page
    return page if report else page["pools"][0]


def rows(pool, caption):
    (table,) = [each for each in pool["small"] + pool["large"] if each["caption"] == caption]
    assert all(len(row["cells"]) == len(table["head"]) for row in table["rows"])
    return [row["cells"] for row in table["rows"]]


def now(pool):
    return {each["name"]: (each["value"], each.get("of")) for each in pool["now"]}


def test_a_pool_is_told_by_its_aliases_and_what_it_is():
    pool = shaped(aliases=["default", "other"])
    assert pool["title"] == "default, other"
    assert pool["facts"] == [
        *("PostgreSQL", "database shop", "transaction mode", "0 to 10 in each process"),
    ]
    assert (pool["sizes"], pool["paused"], pool["error"]) == ([0, 10], False, "")


def test_a_pool_without_aliases_is_told_by_its_name():
    pool = shaped(aliases=[], name="bare", vendor="FirebirdDriver", share="host")
    assert pool["title"] == "bare"
    assert pool["facts"][0] == "FirebirdDriver"
    assert pool["facts"][-1] == "0 to 10 for the host"


def test_this_moment_is_told():
    pool = shaped(
        open=1200, waiting=3, longest_wait=0.25, recent=[(1, 0, 5)] * 50 + [(2, 3, 8)] * 9
    )
    assert now(pool) == {
        "open": ("1,200", "of 20"),
        "in use": ("3", "1 pinned"),
        "waiting": ("3", None),
        "longest wait": ("250 ms", None),
        "acquires a second": ("8", None),  # 7.7: of the last ten seconds
    }
    assert [each["name"] for each in pool["now"] if each.get("bad")] == ["waiting"]


def test_a_pool_that_has_just_begun_has_no_pace_yet():
    pool = shaped(recent=[], waiting=0)
    assert now(pool)["acquires a second"] == ("\u2013", None)
    assert not any(each.get("bad") for each in pool["now"])
    assert [each["values"] for each in pool["lines"]] == [[0] * 60] * 2


def test_the_lines_show_sixty_seconds_and_their_peak():
    use, waits = shaped(recent=[(9, 8, 0), *[(n, 0, 0) for n in range(60)], (7, 4, 0)])["lines"]
    assert (use["values"][0], use["values"][-1], len(use["values"])) == (1, 7, 60)
    assert (use["peak"], waits["peak"]) == ("59", "4")


def test_the_bar_shares_out_what_may_be_open():
    told = {each["state"]: each["percent"] for each in shaped(opening=1)["bar"]["parts"]}
    assert told == {
        "leased": 15,
        "idle": 10,
        "resetting": 0,
        "opening": 5,
        "closing": 0,
        "free": 70,
    }


@pytest.mark.parametrize("leased", [0, 40])
def test_the_bar_is_never_longer_than_itself(leased):
    report = sample_report(sample_pool(leased=leased, idle=0) | {"capacity": 0})
    parts = shaped(report=report)["pools"][0]["bar"]["parts"]
    assert sum(each["percent"] for each in parts) == (100 if leased else 0)


def test_times_are_quantiles():
    pool = shaped(wait_time=counted(), use_time=counted(*[0.004] * 99, 1.5))
    assert rows(pool, "Times")[:2] == [["wait", "\u2013", "\u2013"], ["use", "3.8 ms", "5 ms"]]


def test_counts_are_told_with_reasons():
    pool = shaped(pins={"SET": 4, "LISTEN": 4, "temporary table": 1000})
    assert ["in all", "12,345"] in rows(pool, "Acquires")
    assert ["timed out", "2"] in rows(pool, "Acquires")
    assert rows(pool, "Connections")[-2:] == [["closed: idle", "3"], ["closed: lifetime", "1"]]
    assert rows(pool, "Pins") == [["temporary table", "1,000"], ["LISTEN", "4"], ["SET", "4"]]
    assert rows(shaped(pins={}), "Pins") == []


def test_processes_are_told_those_in_need_first():
    total = sample_pool(parts=3)
    total["parts"][2]["figures"] = sample_figures(waiting=2, paused=True)
    total["parts"][1]["at"] -= 3
    (pool,) = shaped(report=sample_report(total))["pools"]
    assert [row[0] for row in rows(pool, "Processes")] == ["4713", "4711", "4712"]
    assert rows(pool, "Processes")[0][1:] == [
        *("5", "3", "2", "0 s ago", "python gunicorn -w 4 shop.wsgi (paused)"),
    ]
    assert rows(pool, "Processes")[2][4] == "3 s ago"


def test_leases_are_told_with_their_stacks():
    bare = {**LEASE, "alias": "", "thread": "", "pinned": "", "acquired": "", "now": ""}
    assert rows(shaped(leases=[LEASE, bare]), "Oldest leases") == [
        [
            *("12.5 s", "4711", "Thread-4", "default", "SET"),
            {"stacks": [["acquired at", "line 1"], ["now at", "line 2"]]},
        ],
        ["12.5 s", "4711", *["\u2013"] * 4],
    ]


def test_stacks_can_be_held_back():
    pool = shaped(stacks=False, leases=[LEASE, {**LEASE, "acquired": "", "now": ""}])
    assert [row[-1] for row in rows(pool, "Oldest leases")] == ["not yours to see", "\u2013"]
    assert "line 2" not in json.dumps(pool)


def test_what_the_broker_counts_is_told():
    broker = {"leases": 5000, "steals": 12, "relayed": 0, "errors": 1}
    (pool,) = shaped(report=sample_report(sample_pool(broker=broker)))["pools"]
    assert [each[1] for each in rows(pool, "Broker")] == ["5,000", "12", "0", "1"]


def test_the_pool_that_serves_the_page_is_known_and_how_to_resume_it():
    assert shaped(pid=4711, needed={"default"})["way_out"] == "manage.py carpool resume default"
    assert not shaped(pid=4711, needed={"users"})["way_out"]
    assert not shaped(pid=1, needed={"default"})["way_out"]  # another process'


def test_the_way_out_of_a_pause_names_one_alias_of_this_process():
    total = sample_pool(aliases=["default", "replica"])
    total["parts"][1]["figures"] = sample_figures(aliases=["my database", "default"])
    (pool,) = shaped(report=sample_report(total), pid=4712, needed={"default"})["pools"]
    assert pool["way_out"] == "manage.py carpool resume 'my database'"


def test_how_many_have_obeyed_can_be_counted():
    total = sample_pool()
    total["parts"][1]["figures"] = sample_figures(obeyed=7)
    assert shaped(report=sample_report(total))["pools"][0]["obeyed"] == [0, 7]


def test_the_host_is_told_in_a_sentence():
    broker = {"pid": 99, "uptime": 130.0, "clients": 2}
    told = shaped(report=sample_report(broker=broker))["summary"]
    here, broker = told.split("; ")
    assert here == "1 pool in 2 processes of this project on this host"
    assert broker == "broker 99, up for 2 min 10 s, 2 clients"


def test_of_a_host_what_is_the_projects_is_kept():
    shared = sample_pool(name="ours", parts=2)
    lone = sample_pool(name="ours too", parts=1)  # in the first of the same processes
    report = sample_report(shared, lone, sample_pool(name="theirs", parts=3), processes=3)
    kept = shape.only(report, {"ours", "ours too"})
    assert [each["name"] for each in kept["pools"]] == ["ours", "ours too"]
    assert kept["processes"] == 2
    assert shape.only(report, None) == report


def test_a_host_without_processes_says_so():
    told = shape.page(sample_report(processes=0, pools=[]), 1, (), stacks=True)
    assert told["summary"].startswith("No process of this project uses a pool now.")
    assert told["pools"] == []
