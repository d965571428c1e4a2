"""Orders reach every process that has the pool; a pause also those that start later."""

import pytest

from carpool.errors import OptionsError
from carpool.telemetry import files, gather, orders
from tests.probing import eventually
from tests.telemetry.samples import sample_pool, sample_report


@pytest.fixture
def give(directory, look):
    """Give an order for the only pool; returns when all its processes have carried it out."""

    def give(verb, sizes=None):
        [pool] = look()["pools"]
        number = orders.give(str(directory), verb, pool["name"], sizes=sizes)
        assert number > 0
        return eventually(lambda: obeyed(number))

    def obeyed(number):
        [pool] = look()["pools"]
        return pool if pool["obeyed"] >= number else None

    return give


def started(look, many):
    eventually(lambda: look()["pools"] and len(look()["pools"][0]["parts"]) == many)


def test_a_drain_replaces_every_connection_of_every_process(project, look, give):
    processes = [project(), project()]
    for each in processes:
        each.do("ask()")
        each.do("first = id(connection.connection); connection.close()")
    started(look, 2)
    give("drain")
    pool = eventually(lambda: look()["pools"][0] if look()["pools"][0]["open"] == 0 else None)
    assert pool["closed"] == {"drained": 2}
    for each in processes:
        assert each.do("ask()") == 1
    # Who comes later has nothing that would have to be drained.
    third = project()
    third.do("request()")
    started(look, 3)
    assert eventually(lambda: look()["pools"][0]["opened"] == 5)
    assert look()["pools"][0]["closed"] == {"drained": 2}


def test_a_pause_holds_for_all_until_it_ends(project, look, give):
    busy, idle = project(timeout=30), project(timeout=30)
    busy.do("ask()")
    idle.do("request()")
    started(look, 2)
    pool = give("pause")
    assert pool["paused"]
    assert eventually(lambda: look()["pools"][0]["open"] == 1)  # the one in use
    busy.do("connection.close()")
    assert eventually(lambda: look()["pools"][0]["open"] == 0)
    late = project(timeout=30)
    late.tell("ask()")
    eventually(lambda: look()["pools"][0]["waiting"] == 1)
    busy.tell("ask()")
    eventually(lambda: look()["pools"][0]["waiting"] == 2)
    assert look()["pools"][0]["longest_wait"] > 0
    assert not give("resume")["paused"]
    assert (busy.answer(), late.answer()) == (1, 1)


def test_new_sizes_hold_for_the_processes_of_now(project, look, give):
    project(max_size=4).do("request()")
    started(look, 1)
    pool = give("resize", (2, 3))
    assert (pool["min_size"], pool["max_size"], pool["capacity"]) == (2, 3, 3)
    assert eventually(lambda: look()["pools"][0]["open"] == 2)
    project(max_size=4).do("request()")
    started(look, 2)
    assert [part["figures"]["max_size"] for part in look()["pools"][0]["parts"]] == [3, 4]


def one_waits_after_a_timeout(pools):
    return next((each for each in pools if (each["timeouts"], each["waiting"]) == (1, 1)), None)


def test_a_pause_can_come_before_the_first_process(project, directory, look, tmp_path):
    name = f"sqlite:{tmp_path / 'db.sqlite3'}"
    first = orders.give(str(directory), "pause", name)
    process = project(timeout=30)
    with pytest.raises(Exception, match="PAUSED"):
        process.do("connection.pool.acquire(0.05)")
    process.tell("ask()")
    pool = eventually(lambda: one_waits_after_a_timeout(look()["pools"]))
    assert pool["paused"]
    second = orders.give(str(directory), "resume", name)
    assert second > first
    eventually(lambda: look()["pools"][0]["obeyed"] == second)
    assert process.answer() == 1


def test_other_pools_are_left_alone(project, directory, look):
    process = project()
    process.do("request()")
    started(look, 1)
    orders.give(str(directory), "pause", "another")
    number = orders.give(str(directory), "drain", look()["pools"][0]["name"])
    eventually(lambda: look()["pools"][0]["obeyed"] == number)
    assert not look()["pools"][0]["paused"]


@pytest.mark.parametrize("sizes", [(-1, 3), (5, 3), (0, 0), ("a", 3), (0, 100_001), None])
def test_sizes_that_cannot_be_are_refused(directory, sizes):
    with pytest.raises(OptionsError, match=r"min_size|max_size"):
        orders.give(str(directory), "resize", "pool", sizes=sizes)
    assert not (directory / "board" / "orders").exists()


@pytest.mark.parametrize(
    "damage", [b"garbage", files.encode("orders", [1]), files.encode("orders", {"x": {}})]
)
def test_damaged_orders_stop_nobody_and_are_told_of(project, directory, look, damage):
    process = project()
    process.do("import logging; told = []")
    process.do(
        "logging.getLogger('carpool.telemetry').addFilter("
        "lambda record: told.append(record.getMessage()) or True)"
    )
    process.do("request()")
    started(look, 1)
    (directory / "board" / "orders").write_bytes(damage)
    assert "orders for this process' pools cannot be read: " in process.do(
        "eventually(lambda: told)[0]"
    )
    assert process.do("ask()") == 1
    eventually(lambda: look()["pools"][0]["leased"] == 1)  # it goes on to put up its figures
    process.do("publisher.publisher._tick()")
    assert process.do("len(told)") == 1
    late = project()
    assert late.do("ask()") == 1
    number = orders.give(str(directory), "drain", look()["pools"][0]["name"])
    eventually(lambda: look()["pools"][0]["obeyed"] == number)
    assert (directory / "board" / "orders.damaged").read_bytes() == damage


def test_an_order_undoes_only_what_an_order_did(project, look, give):
    process = project()
    process.do("request()")
    started(look, 1)
    process.do("connection.pool.pause()")
    assert give("drain")["paused"]
    assert give("resize", (0, 5))["paused"]
    give("pause")
    assert not give("resume")["paused"]


def test_a_pool_that_comes_when_all_had_been_closed_obeys_too(project, look, give):
    process = project()
    process.do("request(2)")
    started(look, 1)
    process.do("connection.close_pool()")
    process.do("eventually(lambda: not publisher.publisher._crew._threads, 20)")
    process.do("request(3)")
    assert eventually(lambda: look()["pools"] and look()["pools"][0]["acquires"] == 5)
    assert give("pause")["paused"]


def test_a_pool_that_was_filled_before_it_was_needed_obeys_too(project, look, give):
    process = project(min_size=1)
    process.do("connection.pool.wait()")
    process.do("request(3)")
    started(look, 1)
    assert process.do(
        "[each.name for each in threading.enumerate() if each.name == 'carpool board']"
    )
    assert give("pause")["paused"]


def test_a_pool_is_found_by_name_alias_or_database():
    shop = sample_pool(name="shop on a", aliases=["default"], database="shop")
    stock = sample_pool(name="stock on a", aliases=["stock", "old"], database="/srv/stock.db")
    report = sample_report(shop, stock)
    for word, found in {
        "default": shop,
        "old": stock,
        "shop": shop,
        "shop on a": shop,
        "/srv/stock.db": stock,
        "stock.db": stock,
    }.items():
        assert orders.find(report, word) is found
    with pytest.raises(LookupError, match=r"no pool 'x'; .*:\n  shop on a \(default\)\n  stock"):
        orders.find(report, "x")
    twice = sample_report(shop, stock | {"aliases": ["default"]})
    with pytest.raises(LookupError, match="2 pools are meant by 'default', name one:\n  shop on a"):
        orders.find(twice, "default")
    with pytest.raises(LookupError, match="no process with a pool is running"):
        orders.find(sample_report() | {"pools": []}, "default")
    with pytest.raises(LookupError, match=r"^the pool of 'old', 'x', is in no process; pools"):
        orders.find(report, "x", alias="old")


def test_gathering_does_not_need_a_process(directory):
    report = gather.gather(str(directory))
    assert (report["pools"], report["processes"], report["faults"]) == ([], 0, [])
