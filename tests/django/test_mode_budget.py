"""What a statement costs more in transaction mode, in calls, whatever the machine."""

import pytest
from django.db import transaction

from tests.probing import calls_of, value

MORE, MORE_IN_ATOMIC = 20, 5


def cost(connection):
    """Return how many calls a statement makes, Python's and C's."""

    def statement():
        value(connection, "SELECT 1")

    statement()
    statement()
    return sum(calls_of(statement).values())


@pytest.fixture
def session_mode(use):
    connection = use({"mode": "session"})
    calls = cost(connection)
    connection.close()
    return calls


def test_outside_of_transactions(use, session_mode):
    assert cost(use({"mode": "transaction"})) - session_mode <= MORE


def test_within_a_transaction(use, session_mode):
    connection = use({"mode": "transaction"})
    with transaction.atomic():
        assert cost(connection) - session_mode <= MORE_IN_ATOMIC
