"""What `carpool status` prints of made-up figures."""

import doctest
import json
import re

import pytest

from carpool.driver import Limits
from carpool.telemetry import health, orders, progress, status, text
from tests.telemetry.samples import NOW, sample_part, sample_pool, sample_report

NAME = "shop on db.internal as shop"
LIMITS = Limits(11, 100, reserved=3, role_limit=50, in_use=40)
AWAY = "connection refused"
CODES = "\x1b[31mred\x1b]0;title\x07\nand more"


def printed(*pools, servers=None, **changes):
    return "\n".join(status.lines(sample_report(*pools, **changes), servers or {}))


@pytest.mark.parametrize("module", [orders, status, progress, text])
def test_doctests(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


# ------------------------------------------------------------------ what is printed


def test_a_pool_in_full():
    assert printed(sample_pool(), servers={NAME: LIMITS}).splitlines() == [
        "1 pool in 2 processes (/run/user/1000/carpool)",
        "",
        "shop on db.internal as shop",
        "  postgresql database shop, alias default, mode transaction, share process",
        "  min 0, max 10 in each of 2 processes: at most 20 connections",
        "  OPEN  IDLE  LEASED  PINNED  WAITING  RESETTING  OPENING  CLOSING",
        "     5     2       3       1        0          0        0        0",
        "  acquires   12,345, 241.0/s; 67 waited, 2 timed out, 1 refused",
        "  waits      50% < 1.8 ms, 95% < 38 ms, 99% < 48 ms",
        "  uses       50% < 3.9 ms, 95% < 19 ms, 99% < 24 ms",
        "  connects   50% < 3.8 ms, 95% < 4.9 ms, 99% < 5 ms",
        "  opened     9, 1 failed",
        "  closed     4: idle 3, lifetime 1",
        "  pins       5: SET 4, temporary table 1",
        "  resets     21; 1 leak",
        "  most       7 leased, 4 waiting, at once",
        "  server     11 sessions of ours, 40 of all clients",
        "             room for 50: max_connections 100 less 3 reserved, 50 for the user",
        "       PID   OPEN  LEASED  WAITING     ACQUIRES  COMMAND",
        "      4711      5       3        0       12,345  python gunicorn -w 4 shop.wsgi",
        "      4712      5       3        0       12,345  python gunicorn -w 4 shop.wsgi",
        "",
        "healthy",
    ]


def test_a_pool_of_the_broker():
    broker = {"pid": 88, "version": "0.1.0", "uptime": 60.0, "linger": 300.0, "clients": 2}
    out = printed(sample_pool(share="host"), broker=broker)
    assert out.startswith("1 pool in 2 processes and the broker with pid 88 (")
    assert "  min 0, max 10 in all processes together\n" in out


def test_a_pool_of_one_process():
    out = printed(sample_pool(parts=1) | {"capacity": 10})
    assert "  min 0, max 10 in 1 process: at most 10 connections\n" in out


def test_who_waits_and_what_came_back_broken_is_told():
    out = printed(sample_pool(waiting=3, longest_wait=1.24, returns_bad=2))
    assert "  waiting    3 now, for up to 1.2 s\n" in out
    assert "  resets     21; 1 leak; 2 came back broken\n" in out


def test_without_any_process_it_says_so():
    out = printed(servers={}, pools=[], processes=0)
    assert out == (
        "No process of this user has a pool open (/run/user/1000/carpool)\n\nnothing to tell of"
    )


def test_a_server_whose_pool_nobody_uses_is_told_of_too():
    out = printed(servers={"reports": LIMITS})
    assert "\nreports, which no process uses now\n  server     11 sessions of ours" in out


def test_servers_whose_pools_nobody_uses_come_by_name():
    names = ["stock", "reports", "blog", "audit", "shop"]
    out = printed(servers=dict.fromkeys(names, LIMITS))
    assert re.findall("^(.*), which no process uses now$", out, re.MULTILINE) == sorted(names)


def test_what_stands_between_is_named():
    out = printed(servers={NAME: Limits(1, 10, pooler="PgBouncer 1.18")})
    assert "  server     1 session of ours, behind PgBouncer 1.18\n" in out
    assert "             room for 10: max_connections 10\n" in out


@pytest.mark.parametrize("width", [80, 132])
def test_all_but_faults_fits_the_width_and_sends_no_codes_to_the_terminal(width):
    pool = sample_pool(
        name=CODES * 5, database=CODES, aliases=[CODES] * 9, last_error=CODES * 9, open=0
    )
    pool["parts"][0]["command"] = "/bin/python " + CODES * 9
    servers = {CODES: CODES, "x" * 200: "y" * 200}
    report = sample_report(pool, directory=CODES, faults=[CODES])
    for show in (status.lines, status.watched):
        lines = list(show(report, servers, width))
        assert all(line.isprintable() for line in lines)
        blocks = [line for line in lines if not line.startswith("unhealthy: ")]
        assert max(map(len, blocks)) <= width


def test_processes_in_need_of_a_look_come_first():
    pool = sample_pool()
    for pid, changes in ((1, {}), (2, {"leased": 9}), (3, {"waiting": 1})):
        pool["parts"].append(sample_part(pid, **changes))
    pids = re.findall(r"^ +(\d+) +5 ", printed(pool), re.MULTILINE)
    assert pids == ["3", "2", "1", "4711", "4712"]


def test_watched_has_what_is_wrong_above_what_may_not_fit():
    lines = list(status.watched(sample_report(sample_pool(paused=True)), {}))
    assert re.match(r"\d\d:\d\d:\d\d  1 pool in 2 processes", lines[0])
    assert lines[1] == f"unhealthy: {NAME}: paused; `carpool resume` ends that"


# ---------------------------------------------------------------------------- health


def stale_pool():
    pool = sample_pool()
    pool["parts"][1]["at"] = NOW - 7.5
    return pool


def paused_in_one_process():
    pool = sample_pool()
    pool["parts"][1]["figures"]["paused"] = True
    return pool


LONG_WAITS = (
    "3 acquires waiting, for up to 5.0 s of 10.0 s (1 timeout so far);"
    " `carpool advise` tells of sizes"
)
WRONG = [
    (sample_pool(paused=True), "paused; `carpool resume` ends that"),
    (paused_in_one_process(), "paused; `carpool resume` ends that"),
    (sample_pool(broker={"paused": True}), "paused; `carpool resume` ends that"),
    (sample_pool(open=0, last_error=AWAY), f"the server cannot be reached: {AWAY}"),
    (
        sample_pool(waiting=3, longest_wait=5.0, timeouts=1),
        LONG_WAITS,
    ),
    (stale_pool(), "process 4712 has told nothing for 7.5 s: it is stopped, or hangs"),
]


@pytest.mark.parametrize(("pool", "reason"), WRONG)
def test_what_is_wrong(pool, reason):
    report = sample_report(pool)
    found = health.problems(report, {})
    assert found == [f"{NAME}: {reason}"]
    assert health.exit_status(report, found) == 1
    assert printed(pool).endswith(f"\n\nunhealthy: {NAME}: {reason}")


@pytest.mark.parametrize(
    "pool",
    [
        sample_pool(),
        sample_pool(last_error=AWAY),  # others are open still
        sample_pool(open=0),
        sample_pool(waiting=3, longest_wait=4.9),  # a wait is no fault, it is what pools are for
    ],
)
def test_what_is_not(pool):
    report = sample_report(pool)
    assert health.problems(report, {}) == []
    assert health.exit_status(report, []) == 0


def test_faults_and_servers_that_are_away_are_wrong_even_without_pools():
    report = sample_report(pools=[], faults=["board 12: truncated"])
    found = health.problems(report, {NAME: LIMITS, "other": AWAY})
    assert found == ["board 12: truncated", f"other: the server does not answer: {AWAY}"]
    assert health.exit_status(report, found) == 1


def test_no_pools_is_a_status_of_its_own():
    assert health.exit_status(sample_report(pools=[]), []) == 3


# ------------------------------------------------------------------------------ JSON


def test_json_has_the_report_the_servers_and_the_health():
    report = sample_report(sample_pool(paused=True))
    told = json.loads(json.dumps(status.document(report, {NAME: LIMITS, "other": AWAY})))
    assert told["pools"][0]["acquires"] == 12_345
    assert told["server"] == {NAME: {**LIMITS._asdict(), "room": 50}, "other": {"error": AWAY}}
    assert told["health"] == {
        "exit_status": 1,
        "problems": health.problems(report, {"other": AWAY}),
    }
