"""The broker of a site whose connections the host shares."""

from carpool import __version__
from carpool.host import control, lock
from tests.host.brokers import log_of, wait_for_end
from tests.probing import eventually


def ask(place, want):
    """Return the broker's answer to a command."""
    return control.ask(place, {"version": __version__, "want": want}, 10)


def in_use(place):
    """Count the connections in use of all pools, and those who wait for one."""
    return sum(each["leased"] + each["waiting"] for each in ask(place, "status")["pools"])


def quit_broker(place):
    """Have the broker quit when its last client has gone, who may not have left anything in use."""
    eventually(lambda: ask(place, "status")["broker"]["clients"] == 0)
    assert in_use(place) == 0
    pid = lock.holder(place)
    ask(place, "stop")
    wait_for_end(pid)
    assert "Traceback" not in log_of(place), log_of(place)
