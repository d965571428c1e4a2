"""Adding up: what processes tell, what those did that have ended, what the broker says."""

from carpool.telemetry import gather
from carpool.telemetry.figures import BY_REASON, COUNTS, HISTOGRAMS
from tests.telemetry.samples import NOW, counted, sample_figures


def process(*pools, pid=1, started=NOW):
    return {
        "pid": pid,
        "command": "gunicorn",
        "version": "0.1.0",
        "settings": "shop.settings",
        "started": started,
        "at": NOW,
        "threads": 4,
        "asleep": False,
        "pools": list(pools),
    }


def counts_of(figures):
    return {key: figures[key] for key in (*COUNTS, *BY_REASON, *HISTOGRAMS)}


def test_counts_are_added_up_with_those_of_the_departed():
    one = sample_figures(acquires=10, pins={"SET": 1}, use_time=counted(0.5, 2.0))
    two = sample_figures(acquires=5, pins={"SET": 2, "LISTEN": 1}, use_time=counted(0.5))
    gone = counts_of(sample_figures(acquires=100, pins={"LISTEN": 7}, use_time=counted(0.25)))
    departed = {one["name"]: gone, "another": gone}
    [total] = gather.totals([process(one), process(two, pid=2)], departed, [])
    assert total["acquires"] == 115
    assert total["pins"] == {"SET": 3, "LISTEN": 8}
    assert total["use_time"] == counted(0.5, 0.5, 0.25, 2.0)
    assert total["use_time"]["sum"] == 3.25


def test_what_is_of_now_is_that_of_the_living():
    one = sample_figures(leased=2, open=4, waiting=3, longest_wait=0.5, obeyed=4, paused=True)
    two = sample_figures(leased=1, open=1, waiting=0, longest_wait=0.1, obeyed=3, max_size=5)
    gone = counts_of(one)
    [total] = gather.totals([process(one), process(two, pid=2)], {one["name"]: gone}, [])
    assert (total["leased"], total["open"], total["waiting"]) == (3, 5, 3)
    assert (total["longest_wait"], total["obeyed"], total["paused"]) == (0.5, 3, True)
    assert total["capacity"] == 15
    assert [part["pid"] for part in total["parts"]] == [1, 2]


def test_options_are_those_of_the_process_that_started_last():
    old, new = sample_figures(max_size=10), sample_figures(max_size=4)
    [total] = gather.totals(
        [process(new, pid=2, started=NOW), process(old, started=NOW - 60)], {}, []
    )
    assert total["max_size"] == 4
    assert total["capacity"] == 14


def test_seconds_are_added_up_from_the_newest_one_back():
    one = sample_figures(recent=[[1, 0, 10], [2, 0, 20], [3, 1, 30]])
    two = sample_figures(recent=[[5, 5, 5]])
    [total] = gather.totals([process(one), process(two, pid=2)], {}, [])
    assert total["recent"] == [(1, 0, 10), (2, 0, 20), (8, 6, 35)]


def test_the_oldest_leases_of_all_come_first():
    lease = sample_figures()["leases"][0]
    one = sample_figures(leases=[lease | {"held": 2.0}, lease | {"held": 1.0}])
    two = sample_figures(leases=[lease | {"held": 1.5}])
    [total] = gather.totals([process(one), process(two, pid=2)], {}, [])
    assert [each["held"] for each in total["leases"]] == [2.0, 1.5, 1.0]


def test_the_database_called_default_comes_first():
    pools = [sample_figures(name=name, aliases=[name]) for name in ("a", "z", "b")]
    pools[1]["aliases"] = ["default"]
    found = gather.totals([process(*pools)], {}, [])
    assert [each["name"] for each in found] == ["z", "a", "b"]


def broker(**changes):
    return {
        "id": "p1",
        "name": "shop",
        "kind": "postgresql",
        "database": "shop",
        "max_size": 8,
        "min_size": 1,
        **dict.fromkeys(("idle", "leased", "pinned", "resetting", "closing"), 1),
        "opening": 0,
        "waiting": 2,
        "longest_wait": 0.25,
        "paused": False,
        "last_error": "",
        "counts": {"opened": 9, "open_errors": 1, "closed": {"idle": 5}, "create_time": counted(1)},
    } | changes


def test_connections_of_a_host_are_the_brokers_to_tell_of():
    figures = sample_figures(name="shop", share="host", max_size=8, acquires=10)
    [total] = gather.totals([process(figures), process(figures, pid=2)], {}, [broker()])
    assert (total["open"], total["leased"], total["capacity"]) == (4, 1, 8)
    assert (total["opened"], total["closed"]) == (9, {"idle": 5})
    assert (total["waiting"], total["longest_wait"]) == (2, 0.25)
    assert total["acquires"] == 20
    assert total["broker"]["id"] == "p1"


def test_a_pool_that_only_the_broker_has_is_told_of():
    [total] = gather.totals([], {}, [broker()])
    assert (total["name"], total["parts"], total["share"]) == ("shop", [], "host")
    assert (total["open"], total["opened"], total["acquires"]) == (4, 9, 0)


def test_a_broker_of_another_version_tells_what_it_can():
    told = broker()
    del told["counts"]
    [total] = gather.totals([], {}, [told])
    assert total["opened"] == 0
