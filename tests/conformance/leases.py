"""Whether Django holds a connection: another thread may have it, or not."""

from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from django.db import connections

import carpool
from tests.conformance.asking import in_thread, value

AT_ONCE = 0.01  # seconds; enough for one that is idle


def connect(use, subject, aliases=("default",), **more):
    """Return Django's connection to a database with a pool of one, which is open."""
    pool = {"min_size": 1, "max_size": 1}
    connection = use(subject, pool, aliases, **more)
    connection.pool.wait()
    return connection


def is_free():
    """Tell whether another thread can have the pool's only connection, and use it."""
    pool = connections["default"].pool
    if pool.snapshot().leased:
        return in_thread(_is_idle, pool)
    return in_thread(_use_it)  # it may still be on its way back, through a reset


def _is_idle(pool):
    try:
        pool.release(pool.acquire(AT_ONCE))
    except carpool.PoolTimeout:
        return False
    return True


def _use_it():
    try:
        return value(connections["default"], "SELECT 1") == 1
    finally:
        connections["default"].close()


@contextmanager
def impatient(pool):
    """Let who asks for a connection through Django, in vain, wait for 0.05 s only."""
    with mock.patch.object(pool, "options", replace(pool.options, timeout=0.05)):
        yield


def committed(subject):
    """Count the notes that others see."""
    return subject.ask("SELECT count(*) FROM note")
