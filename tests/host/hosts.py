"""A host under test: a broker's place, a database whose server sets limits, and processes."""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil

from carpool import __version__
from carpool.host import control, lock
from support.databases import fresh_database
from tests.host.brokers import log_of, own_place
from tests.probing import STUCK, eventually

SOON = 10.0  # seconds: by then is over what waits for no timeout; machines may be slow


class Host:
    """What all hosts under test share; see `OnPostgreSQL` for a whole one.

    The server itself lets nobody have more than `max_size` sessions.
    """

    driver: str  # a class' dotted path
    sleeps: str  # a statement that takes a minute
    sleeps_shortly: str
    session_id: str  # a statement that tells the session's number
    leaves_traces: str  # a statement after which a session is to be reset

    def __init__(self, nursery, place, database, max_size, **options):
        self.nursery, self.place, self.database = nursery, place, database
        self.max_size = max_size
        self.options = {
            "max_size": max_size,
            "broker_dir": str(place.root),
            "timeout": STUCK,
        } | options
        self.user = f"worker_{database.name}"
        self.processes = []
        self.make_role()

    def params(self):
        """Return the driver's arguments."""
        return self.database.params | {"user": self.user, "password": "secret"}

    def start(self, *, params=None, **options):
        """Start a process whose pool is `pool`."""
        process = self.nursery.start()
        self.processes.append(process)
        given = (self.driver, self.params() | (params or {}), self.options | options)
        process.do(f"pool = open_pool(*{given!r}); driver = pool.driver")
        return process

    def sessions(self, **where):
        """Return the server's sessions of this host."""
        return self.database.sessions(user=self.user, **where)

    def ids(self):
        """Return the sessions' numbers."""
        return {each.pid for each in self.sessions()}

    # -------------------------------------------------------------- the broker

    @property
    def broker(self):
        """The broker's process, once there is one."""
        return psutil.Process(eventually(lambda: lock.holder(self.place)))

    def ask(self, want, **more):
        """Return the broker's answer to a command."""
        return control.ask(self.place, {"version": __version__, "want": want, **more}, 10)

    def status(self):
        """Return what the broker says of the one pool."""
        (pool,) = self.ask("status")["pools"]
        return pool

    def waiting(self, count):
        """Wait until that many wait for a connection; the broker may be on its way."""

        def as_many():
            try:
                return self.status()["waiting"] == count
            except (OSError, ValueError):
                return False

        eventually(as_many)

    def kill_broker(self, how=signal.SIGKILL):
        """End the broker; returns when it is no more."""
        pid = eventually(lambda: lock.holder(self.place))
        os.kill(pid, how)
        eventually(lambda: lock.holder(self.place) != pid)

    def log(self):
        """Return what the brokers have said."""
        return log_of(self.place) if self.place.log.exists() else ""

    def descriptors(self):
        """Return what the broker has open, as a sorted list."""
        found = []
        for each in Path(f"/proc/{self.broker.pid}/fd").iterdir():
            try:
                found.append(kind_of(str(each.readlink())))
            except FileNotFoundError:  # closed meanwhile
                continue
        return sorted(found)

    # ----------------------------------------------------------------- the end

    def check(self):
        """See that the server has never been asked for more sessions than there may be."""
        assert self.refusals() == 0
        assert "Traceback" not in self.log(), self.log()

    def close(self):
        """End all processes."""
        for each in self.processes:
            each.close()


def kind_of(link):
    """Return what a descriptor leads to, without its number."""
    kind, _, _ = link.partition(":")
    return (
        kind if kind in ("socket", "pipe", "anon_inode") else Path(link).suffix or Path(link).name
    )


class OnPostgreSQL(Host):
    driver = "carpool.postgresql.driver:PsycopgDriver"
    sleeps = "SELECT pg_sleep(60)"
    sleeps_shortly = "SELECT pg_sleep(0.3)"
    session_id = "SELECT pg_backend_pid()"
    leaves_traces = "SET statement_timeout = 59000"

    def make_role(self):
        self._mark = self.database.mark()
        self.database.server.create_role(self.user, "secret")
        self.limit_to(self.max_size)
        self.database.query(f'ALTER DATABASE "{self.database.name}" OWNER TO "{self.user}"')

    def limit_to(self, count):
        self.limit = count
        self.database.query(f'ALTER ROLE "{self.user}" CONNECTION LIMIT {count}')

    def set_password(self, password):
        self.database.query(f"""ALTER ROLE "{self.user}" PASSWORD '{password}'""")

    def params(self):
        return super().params() | {"autocommit": True, "prepare_threshold": None}

    def working(self):
        """Return the sessions that are in a statement or a transaction."""
        return [each for each in self.sessions() if each.state != "idle"]

    def refusals(self):
        log = self.database.server.statement_log.read_bytes()[self._mark :].decode()
        return log.count(f'too many connections for role "{self.user}"')


class OnMariaDB(Host):
    driver = "carpool.mysql.driver:MysqlclientDriver"
    sleeps = "SELECT SLEEP(60)"
    sleeps_shortly = "SELECT SLEEP(0.3)"
    session_id = "SELECT CONNECTION_ID()"
    leaves_traces = "SET @mine = 1"

    def make_role(self):
        self.database.server.create_role(self.user, "secret")
        # One more, as MySQL knows no other way to cancel than to log in once more.
        self.limit_to(self.max_size + 1)

    def limit_to(self, count):
        self.limit = count
        self.database.query(f"ALTER USER `{self.user}` WITH MAX_USER_CONNECTIONS {count}")

    def set_password(self, password):
        self.database.query(f"ALTER USER `{self.user}` IDENTIFIED BY '{password}'")

    def params(self):
        return super().params() | {"autocommit": True}

    def working(self):
        """Return the sessions that are in a statement or a transaction."""
        busy = [each for each in self.sessions() if each.command != "Sleep"]
        return busy + self.database.query(
            "SELECT t.* FROM information_schema.INNODB_TRX t JOIN information_schema.PROCESSLIST p"
            " ON p.ID = t.trx_mysql_thread_id WHERE p.USER = %s",
            [self.user],
        )

    def refusals(self):
        return self.log().count("max_user_connections")


HOSTS = {"postgresql": ("postgres", OnPostgreSQL), "mysql": ("mariadb", OnMariaDB)}


@contextmanager
def host_on(kind, request, max_size, server=None, **options):
    """Give a host whose database and broker are its own.

    `kind` is one of `HOSTS`, `server` the name of a fixture.
    """
    usual, host_class = HOSTS[kind]
    server = server or usual
    nursery = request.getfixturevalue("nursery")
    with own_place() as place, fresh_database(request.getfixturevalue(server)) as database:
        host = host_class(nursery, place, database, max_size, **options)
        try:
            yield host
            host.check()
        finally:
            sys.stdout.write(host.log())  # of a failure
            host.close()
