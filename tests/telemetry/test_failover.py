"""A pause is for moving a database: no request fails, however long that takes within `timeout`."""

import pytest

from carpool.telemetry import orders
from tests.probing import eventually
from tests.telemetry.conftest import named_by

LOAD = """
done, errors, ending = [0], [], threading.Event()

def work():
    while not ending.is_set():
        try:
            ask()
            done[0] += 1
        except Exception as error:
            errors.append(repr(error))
        finally:
            connection.close()

threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
for each in threads:
    each.start()
"""


@pytest.mark.parametrize("share", ["process", "host"])
def test_a_server_that_restarts_in_a_pause_fails_no_request(
    project, look, directory, own_postgres, share
):
    settings = {
        "ENGINE": "carpool.postgresql",
        **named_by(own_postgres.params),
        "OPTIONS": {
            "pool": {"max_size": 3, "timeout": 60, "share": share, "broker_linger": 0},
        },
    }
    workers = [project({"default": settings}) for _ in range(2)]
    for each in workers:
        each.do(LOAD)
    eventually(lambda: all(each.do("done[0]") > 10 for each in workers))
    eventually(lambda: [len(each["parts"]) for each in look()["pools"]] == [len(workers)])
    [pool] = look()["pools"]
    number = orders.give(str(directory), "pause", pool["name"])
    eventually(lambda: look()["pools"][0]["obeyed"] >= number)
    eventually(lambda: look()["pools"][0]["leased"] == 0)
    own_postgres.restart()
    orders.give(str(directory), "resume", pool["name"])
    before = [each.do("done[0]") for each in workers]
    eventually(
        lambda: all(
            each.do("done[0]") > was + 10 for each, was in zip(workers, before, strict=True)
        )
    )
    for each in workers:
        each.do("ending.set()")
        each.do("[each.join(30) for each in threads] and None")
        assert each.do("errors") == []
    assert look()["pools"][0]["timeouts"] == 0
