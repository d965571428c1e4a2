"""The broker's loop waits for what is far off, or never comes: `--linger inf`."""

import math
import threading

import pytest

from carpool.host.loop import Loop


@pytest.mark.parametrize("seconds", [math.inf, 1e12])
def test_a_timer_that_is_far_off(seconds):
    loop, waits = Loop(), threading.Event()
    loop.later(seconds, lambda: None)
    loop.later(0, waits.set)
    thread = threading.Thread(target=loop.run)
    thread.start()
    waits.wait(10)
    loop.post(loop.stop)
    thread.join(10)
    assert not thread.is_alive()
    assert waits.is_set()
    loop.close()
