"""What `carpool advise` recommends, and the arithmetic that it shows."""

import re
from argparse import ArgumentParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.driver import Limits
from carpool.telemetry import advise, sizing
from carpool.telemetry.limits import Answer
from carpool.telemetry.sizing import Deployment, Load
from tests.telemetry.samples import counted, sample_part, sample_pool, sample_report

DOCS = Path(__file__).parents[2] / "docs" / "sizing.md"
NAME = "shop on db.internal as shop"
SERVER = Limits(sessions=12, max_connections=100, reserved=3, in_use=40)
FAST = counted(*[0.0041] * 2000)
QUIET = {"waits": 0, "timeouts": 0, "refusals": 0, "wait_time": counted(), "pins": {}}


def steady(rate, leased=2, waiting=0, seconds=60):
    return {
        "recent": [(leased, waiting, rate)] * seconds,
        "peak_leased": leased,
        "peak_waiting": waiting,
    }


def pool_of(processes=4, threads=20, **figures):
    pool = sample_pool(processes, **{"use_time": FAST, **QUIET, **figures})
    pool["parts"] = [
        {**sample_part(4000 + each, **{**QUIET, **figures}), "threads": threads}
        for each in range(processes)
    ]
    return pool


def advice(pool, server=SERVER, **where):
    found = advise.document(sample_report(pool), {NAME: server}, Deployment(**where))["pools"][0]
    text = {}
    for each in found["text"]:
        label, _, rest = each.partition(": ")
        text.setdefault(label, rest)
    return found["recommended"], text, " ".join(found["warnings"])


# The arithmetic -----------------------------------------------------------------------------------


def test_littles_law_is_shown():
    _, text, _ = advice(pool_of(**steady(400)))
    assert text["load"] == (
        "400 acquires/s x 5 ms = 2.0 connections in use on average in the last 60 seconds, up to "
        "2 at once."
    )
    _, text, _ = advice(pool_of(recent=[(2, 0, 1)] * 59 + [(32, 1, 31)]))
    assert text["load"].startswith("1.5 acquires/s x 1.7 s = 2.5 connections in use on average in")
    assert text["load"].endswith("up to 32 at once.")
    assert advice(pool_of(recent=[(1, 0, 0)] * 9))[1]["load"] == (
        "1.0 connections in use on average in the last 9 seconds, up to 1 at once; nobody acquired "
        "one."
    )
    assert advice(pool_of(recent=[]))[1]["load"] == "No second of it has been recorded yet."


def test_what_was_long_ago_does_not_make_the_present_impossible():
    """Uses of 2.3 s in the past, and 38 acquires in the busiest second now, with 16 threads."""
    pool = pool_of(
        2,
        threads=8,
        use_time=counted(*[2.3] * 2000),
        recent=[(1, 0, 10)] * 59 + [(3, 0, 38)],
        peak_leased=8,
        peak_waiting=393,
    )
    sizes, text, _ = advice(pool)
    assert "= 1.0 connections" in text["load"]
    assert "Up to 8 were wanted at once in one process, with headroom 8." in text["advice"]
    assert sizes["min_size"] == 0
    crowded = pool | {"share": "host", "recent": [(8, 393, 10)] * 60}
    assert (
        "Up to 16 were wanted at once in one host, with headroom 16."
        in (advice(crowded)[1]["advice"])
    )


def test_waits_are_told():
    pool = pool_of(
        acquires=10_000, waits=210, timeouts=3, wait_time=counted(*[0.004] * 200, *[2.0] * 10)
    )
    _, text, warnings = advice(pool)
    assert text["waits"].startswith("210 of 10,000 acquires (2.1%) had to wait, 95% of these for ")
    assert text["waits"].endswith("; 3 gave up after 10.0 s.")
    assert "3 acquires got no connection: 3 in time, 0 refused at once." in warnings
    assert advice(pool_of())[1]["waits"] == "None of 12,345 acquires had to wait."


def test_the_servers_room_is_shown():
    _, text, warnings = advice(pool_of(max_size=5), hosts=3)
    assert text["server"] == (
        "max_connections 100 - 3 reserved - 28 of others = 69 for this pool on all hosts."
    )
    assert text["now"] == "3 hosts x 4 processes x max_size 5 = 60 of 69."
    assert "cannot fit" not in warnings
    _, text, warnings = advice(pool_of(max_size=6), hosts=3)
    assert text["now"] == "3 hosts x 4 processes x max_size 6 = 72 of 69."
    assert "The sum cannot fit: 72 connections may be opened, 69 can be had." in warnings
    assert "cannot fit" not in advice(pool_of(max_size=60, share="host"), hosts=1)[2]
    assert "cannot fit" in advice(pool_of(max_size=60, share="host"), hosts=2)[2]


@pytest.mark.parametrize(
    ("server", "room"),
    [
        (SERVER, 69),
        (SERVER._replace(in_use=None), 97),
        (SERVER._replace(role_limit=20), 20),
        (SERVER._replace(database_limit=15, role_limit=20), 15),
        (SERVER._replace(in_use=200), 0),
    ],
)
def test_whichever_limit_is_the_tightest_counts(server, room):
    assert sizing.room(server) == room
    assert f"= {room} for this pool" in advice(pool_of(), server)[1]["server"]


def test_limits_of_user_and_database_are_named():
    text = advice(pool_of(), SERVER._replace(role_limit=20, database_limit=15))[1]["server"]
    assert "at most 20 for the user, at most 15 for the database" in text


def test_a_server_that_tells_nothing():
    _, text, warnings = advice(pool_of(), "cannot connect: refused")
    assert "It does not say how many sessions it allows: cannot connect: refused." in text["server"]
    assert "fit" not in warnings
    assert advice(pool_of(), None)[1]["server"].endswith("it allows.")


# What is recommended ------------------------------------------------------------------------------


def test_what_was_wanted_at_once_and_headroom():
    sizes, text, _ = advice(pool_of(2, **steady(400, leased=6, waiting=2)))
    assert sizes["max_size"] == 10
    assert "Up to 8 were wanted at once in one process, with headroom 10." in text["advice"]
    assert text["advice"].endswith("1 host x 2 processes x max_size 10 = 20 of 69.")


def test_a_host_needs_what_one_process_has_wanted():
    lately = {"recent": [(1, 0, 100)] * 60, "peak_leased": 7, "peak_waiting": 4}
    assert advice(pool_of(4, share="host", **lately))[0]["max_size"] == 14
    assert advice(pool_of(4, threads=8, share="host", **lately))[0]["max_size"] == 10
    both = lately | {"recent": [(9, 7, 100)] * 60}
    assert advice(pool_of(4, share="host", **both))[0]["max_size"] == 20


def test_no_process_can_use_more_than_it_has_threads():
    assert advice(pool_of(2, threads=7, **steady(400, 6, 5)))[0]["max_size"] == 7
    two = pool_of(2, threads=7, **steady(400, 6, 5), aliases=["default", "other"])
    assert advice(two)[0]["max_size"] == 14


def test_what_is_busy_on_average_stays_open():
    assert advice(pool_of(2, **steady(1500, 6)))[0]["min_size"] == 3
    assert advice(pool_of(2, **steady(1500, 6), min_size=9))[0]["min_size"] == 3
    assert advice(pool_of(2, **steady(1500, 6), min_size=2))[0]["min_size"] == 2
    assert advice(pool_of(2, **steady(10, 2)))[0]["min_size"] == 0


def test_a_good_size_is_left_as_it_is():
    for size in (8, 9, 10, 12, 13):
        pool = pool_of(2, **steady(400, 8), max_size=size, min_size=3)
        sizes, text, warnings = advice(pool)
        assert sizes == {"min_size": 3, "max_size": size, "mode": "transaction", "share": "process"}
        assert "(as it is)" in text["advice"]
        assert warnings == ""
    for size in (7, 14):
        assert advice(pool_of(2, **steady(400, 8), max_size=size))[0]["max_size"] == 10


@pytest.mark.parametrize(
    "thin",
    [
        {"use_time": counted(*[0.01] * 999)},
        {"recent": [(1, 0, 9)] * 29},
        {"recent": [(0, 0, 0)] * 59 + [(1, 0, 59)], "peak_leased": 1, "peak_waiting": 0},
    ],
)
def test_too_little_to_conclude_from(thin):
    sizes, text, _ = advice(pool_of(min_size=2, **{**steady(400, 9, 3), **thin}), hosts=1)
    assert (sizes["min_size"], sizes["max_size"]) == (2, 10)
    assert "Too little has happened for more advice" in text["advice"]
    assert "(as it is)" in text["advice"]
    assert advice(pool_of(**{**steady(400, 9, 3), **thin}), hosts=4)[0]["max_size"] == 4


def test_an_idle_site_is_advised_from_what_it_has_seen():
    idle = {"recent": [(0, 0, 0)] * 60, "peak_waiting": 0}
    assert advice(pool_of(2, peak_leased=1, **idle))[0]["max_size"] == 10
    assert advice(pool_of(2, peak_leased=4, **idle))[0]["max_size"] == 5
    assert advice(pool_of(2, **steady(1, leased=1)))[0]["max_size"] == 2


def test_what_does_not_fit_is_said():
    tight = SERVER._replace(role_limit=9)
    sizes, text, _ = advice(pool_of(2, vendor="oracle", **steady(400, 6, 2)), tight)
    assert sizes["max_size"] == 4
    assert "Only 4 fit, so some will wait." in text["advice"]
    sizes, _, warnings = advice(pool_of(8, vendor="oracle", **steady(4, 1)), tight, hosts=2)
    assert sizes["max_size"] == 1
    assert "Not even one connection for each fits: 16 are needed, 9 can be had." in warnings


def test_many_processes_that_use_little_share():
    idle = pool_of(8, **steady(100, leased=3))
    sizes, text, _ = advice(idle)
    assert (sizes["share"], sizes["max_size"]) == ("host", 4)
    assert "the processes of a host have one pool together" in text["advice"]
    assert text["advice"].endswith("1 host x max_size 4 = 4 of 69.")
    assert advice(pool_of(8, vendor="oracle", **steady(100, leased=3)))[0]["share"] == "process"
    assert advice(pool_of(3, **steady(100, leased=3)))[0]["share"] == "process"


def test_processes_that_do_not_fit_share():
    assert advice(pool_of(2, **steady(100, leased=8)), hosts=3)[0]["share"] == "process"
    assert advice(pool_of(2, **steady(100, leased=8)), hosts=4)[0]["share"] == "host"
    assert advice(pool_of(2, **steady(100, leased=8)), hosts=1, processes=8)[0]["share"] == "host"


SLOW = counted(*[0.18] * 2000)


def test_long_sessions_and_few_connections_ask_for_transaction_mode():
    scarce = {"mode": "session", "acquires": 1000, "waits": 10, **steady(22, 4)}
    sizes, text, _ = advice(pool_of(2, **scarce))
    assert sizes["mode"] == "transaction"
    assert "A connection is held for 182 ms on average; in transaction mode only" in text["advice"]
    assert advice(pool_of(2, **scarce | {"waits": 9}))[0]["mode"] == "session"
    assert advice(pool_of(2, **scarce | steady(100, 4)))[0]["mode"] == "session"
    now_and_then = scarce | {"recent": [(0, 0, 0)] * 59 + [(4, 0, 4)]}
    assert advice(pool_of(2, **now_and_then))[0]["mode"] == "session"
    assert advice(pool_of(2, **now_and_then, use_time=SLOW))[0]["mode"] == "transaction"
    assert advice(pool_of(2, **scarce | {"vendor": "sqlite"}))[0]["mode"] == "session"


def test_pins_by_the_dozen_are_told():
    pinned = {"acquires": 1000, "pins": {"SET": 90, "temporary table": 11}}
    warnings = advice(pool_of(**pinned))[2]
    assert "101 of 1,000 leases were pinned" in warnings
    assert "(SET 90, temporary table 11)" in warnings
    assert "pinned" not in advice(pool_of(**pinned | {"pins": {"SET": 99}}))[2]
    assert "pinned" not in advice(pool_of(**pinned | {"mode": "session"}))[2]


def test_who_else_is_there():
    crowd = SERVER._replace(sessions=41, in_use=60)
    assert (
        "The server has 41 sessions of ours, but 1 host can have 40" in advice(pool_of(), crowd)[2]
    )
    assert "sessions of ours" not in advice(pool_of(), crowd, hosts=2)[2]
    behind = SERVER._replace(pooler="ProxySQL")
    assert advice(pool_of(), behind)[2].startswith("ProxySQL stands between")


load = st.builds(
    Load,
    rate=st.floats(0, 1e5),
    busy=st.floats(0, 1e4),
    most=st.integers(0, 5000),
    use=st.floats(0, 100),
    leased_in_one=st.integers(0, 500),
    waiting_in_one=st.integers(0, 500),
    together=st.integers(0, 5000),
    threads=st.integers(0, 300),
    processes=st.integers(0, 64),
    seconds=st.integers(30, 60),
    uses=st.integers(1_000, 10**9),
)
deployment = st.builds(Deployment, st.integers(1, 50), st.none() | st.integers(1, 64))
share = st.sampled_from(["process", "host"])
fits = st.integers(0, 5000)

GROWS = ("rate", "busy", "use", "leased_in_one", "waiting_in_one", "together")


@given(load, share, deployment, fits)
def test_never_more_than_fits_and_never_none(load, share, deployment, fits):
    size = sizing.max_size(load, share, deployment, fits)
    hosts, processes = deployment.hosts, deployment.processes or max(1, load.processes)
    units = hosts if share == "host" else hosts * processes
    assert size >= 1
    assert size * units <= max(fits, units)


@given(load, share, deployment, st.none() | fits, st.data())
def test_more_load_never_means_fewer(load, share, deployment, fits, data):
    grown = {name: data.draw(st.one_of(st.just(0), st.integers(1, 500)), name) for name in GROWS}
    more = load._replace(**{name: getattr(load, name) + by for name, by in grown.items()})
    before = sizing.max_size(load, share, deployment, fits)
    assert sizing.max_size(more, share, deployment, fits) >= before


@given(load, deployment, st.none() | fits, st.sampled_from(["postgresql", "oracle"]))
def test_the_whole_advice_holds_to_it(load, deployment, fits, vendor):
    for thin in (load, load._replace(uses=0)):
        pool = sample_pool(vendor=vendor)
        found = sizing.sizes(pool, thin, deployment, fits)
        units = sizing.units(found.share, thin, deployment)
        assert 0 <= found.min_size <= found.max_size
        assert fits is None or found.max_size * units <= max(fits, units)


# Pools of one server ------------------------------------------------------------------------------


def answer(name, said=SERVER, place="db.internal"):
    told = Answer(*said)
    told.login = f"postgresql://shop@{place}/{name}"
    return told


def several(servers, hosts=1, **figures):
    """Return what is advised of pools of 5 processes, and the warnings, by name."""
    pools = [pool_of(5, name=name, **{**steady(400, 8), **figures}) for name in servers]
    found = advise.document(sample_report(*pools), servers, Deployment(hosts))["pools"]
    return {each["name"]: (each["recommended"], " ".join(each["text"])) for each in found}


FREE = SERVER._replace(in_use=12)


def test_pools_of_one_server_are_added_up():
    found = several({name: answer(name, FREE) for name in ("shop", "reports")}, max_size=12)
    for name, (_, text) in found.items():
        other = {"shop": "reports", "reports": "shop"}[name]
        assert "= 60 of 97." in text
        assert f"on all hosts. Together with its other pools ({other}): 97." in text
        assert (
            "WARNING: The pools of this server cannot fit together: 120 connections may be opened "
            f"({name} 60, {other} 60), 97 can be had."
        ) in text


def test_what_is_advised_fits_together():
    tight = FREE._replace(max_connections=63)
    for vendor, size in (("oracle", 6), ("postgresql", 10)):
        said = {name: answer(name, tight) for name in ("shop", "reports")}
        found = several(said, max_size=12, vendor=vendor)
        assert [sizes["max_size"] for sizes, _ in found.values()] == [size, size], vendor
    (_, text), _ = several(said, max_size=12, vendor="oracle").values()
    assert "Only 6 fit, so some will wait." in text
    assert "= 30 of 30." in text
    assert several({"shop": said["shop"]}, vendor="oracle")["shop"][0]["max_size"] == 10


def test_other_servers_are_not_added():
    said = {"shop": answer("shop", FREE), "reports": answer("reports", FREE, "db2.internal")}
    assert "together:" not in str(several(said, max_size=12))
    unknown = {"shop": answer("shop", FREE), "reports": FREE}
    assert "together:" not in str(several(unknown, max_size=12))
    assert "together:" not in str(several({name: answer(name, FREE) for name in "ab"}, max_size=9))


def test_sessions_of_the_pools_are_no_others_but_count_once():
    one, two = answer("a", SERVER._replace(sessions=10)), answer("b", SERVER._replace(sessions=5))
    assert sizing.room_of_all([one, two]) == 100 - 3 - (40 - 15)
    assert sizing.room_of_all([one, one]) == 100 - 3 - (40 - 10)
    few = answer("a", SERVER._replace(role_limit=20))
    assert sizing.room_of_all([few, answer("b", SERVER._replace(role_limit=20))]) == 20
    assert sizing.room_of_all([few, two]) == 100 - 3 - (40 - 17)


# How it is told -----------------------------------------------------------------------------------


def test_it_fits_a_terminal_and_names_what_it_is_about():
    pools = [pool_of(**steady(400, 9, 30)), pool_of(name="x\x1b[31m" * 30, aliases=["a" * 60])]
    report = sample_report(*pools, faults=["board 12: truncated"])
    told = list(advise.lines(report, {NAME: SERVER}, Deployment(9)))
    assert told[0] == f"{NAME} (default)"
    assert max(map(len, told)) <= 80
    assert all(line.isprintable() for line in told)
    assert told[-1] == "Left out: board 12: truncated"
    assert any(line.startswith("  WARNING   The sum cannot fit") for line in told)


def test_the_docs_show_what_it_prints():
    shown = re.search(r"```\n(shop on .*?)\n```", DOCS.read_text(), re.DOTALL)
    pool = pool_of(
        8,
        threads=12,
        mode="session",
        acquires=61_204,
        waits=480,
        wait_time=counted(*[0.002] * 470, *[0.02] * 10),
        recent=[(2, 0, 405)] * 59 + [(4, 1, 640)],
        peak_leased=4,
        peak_waiting=1,
    )
    told = advise.lines(sample_report(pool), {NAME: SERVER}, Deployment(2))
    assert list(told) == shown[1].splitlines()


def test_one_process_is_told_as_one():
    _, text, _ = advice(pool_of(1, **steady(400, 3)))
    assert text["peaks"] == (
        "At the worst 3 in use and 0 waiting in one process, which has had up to 20 threads; "
        "lately up to 3 at once in all."
    )
    assert text["now"] == "1 host x 1 process x max_size 10 = 10 of 69."


def test_nothing_runs():
    told = " ".join(advise.lines(sample_report(pools=[]), {}, Deployment()))
    assert told.startswith("No process of this user has a pool open")


def test_the_arguments():
    parser = ArgumentParser()
    advise.add_arguments(parser)
    assert advise.deployment(parser.parse_args([])) == Deployment(1, None)
    given = parser.parse_args(["--hosts", "3", "--processes", "8"])
    assert advise.deployment(given) == Deployment(3, 8)


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5", "²"])
def test_wrong_arguments_are_named(wrong, capsys):
    parser = ArgumentParser()
    advise.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--hosts={wrong}"])
    assert re.search(
        "argument --hosts: .* is no whole number of at least 1", capsys.readouterr().err
    )
