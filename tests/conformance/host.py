"""The databases again, with `share: host`: a broker has the sessions, and lends them.

It keeps the sessions of a process that ends; so who wants to see that none is left has it end
first, which ends what it has and nothing else.
"""

from contextlib import contextmanager

import pytest

from support import brokers
from tests.conformance.subject import ServerSubject
from tests.mysql.subject import Mysqlclient
from tests.postgresql.subject import Psycopg


class SharedByTheHost(ServerSubject):
    """Goes before the class of a database."""

    runs_hooks = False  # the broker, which opens the connections, runs no code of the project's

    @classmethod
    @contextmanager
    def fresh(cls, request, **more):
        """See `Subject`."""
        directory = request.getfixturevalue("broker_directory")
        with super().fresh(request, **more) as subject:
            subject.pool_options = {"share": "host", "broker_dir": directory}
            yield subject

    def wait_for_sessions(self, count):
        """See `Subject`."""
        if count == 0 and self.sessions():
            brokers.end_broker(self.pool_options["broker_dir"])
        super().wait_for_sessions(count)


@pytest.fixture(scope="session")
def broker_directory():
    """The directory of a broker for these tests, which must end when it is told to."""
    with brokers.broker_directory() as directory:
        yield directory


class PsycopgOfTheHost(SharedByTheHost, Psycopg):
    def recipe(self):
        """See `Subject`; without prepared statements, as through Django."""
        path, arguments = super().recipe()
        return path, arguments | {"prepare_threshold": None}


class MysqlclientOfTheHost(SharedByTheHost, Mysqlclient):
    pass
