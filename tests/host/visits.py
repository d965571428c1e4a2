"""Clients that are none of ours: the programs that come with the databases, and plain drivers."""

import os
import shlex
import signal
import subprocess

import MySQLdb
import psycopg
from MySQLdb import _mysql

from carpool.host import urls
from carpool.mysql.greeter import as_packet
from carpool.postgresql.greeter import message
from tests.probing import STUCK

PROGRAMS = []  # that have been started, for who has to see that they end


class OfPostgreSQL:
    """psql, and psycopg without a pool."""

    lock, unlock = "SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"
    who_sleeps = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    sets = "SET application_name = 'mine'"
    look = "SELECT current_setting('application_name') = 'mine'"
    many_rows = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, {})) TO STDOUT"
    interrupted = "canceling statement due to user request"
    load = "COPY heap FROM STDIN"
    encodings = ("client_encoding", "SHOW client_encoding", "LATIN1")
    database = "dbname"
    Error = psycopg.Error

    def __init__(self, host):
        self._host = host

    def command(self, *arguments):
        """Return the words of a command: as `carpool broker url` says, and more."""
        url = urls.command_for(self._host.status())
        return [self._host.database.server._bin() / "psql", "-XAtq", *arguments, url]

    def script(self, *statements):
        """Return the words that execute statements, one after the other."""
        return self.command("-v", "ON_ERROR_STOP=1", *(f"-c{each}" for each in statements))

    def connect(self, **params):
        """Return a connection of the plain driver."""
        status = self._host.status()
        place = {"host": status["path"], "dbname": status["database"], "user": status["user"]}
        return psycopg.connect(**place | params, autocommit=True)

    @staticmethod
    def words(statement):
        """Return what a client says for a statement."""
        return message(b"Q", statement.encode() + b"\0")


class OfMariaDB:
    """mariadb's command line, and mysqlclient without a pool."""

    lock, unlock = "SELECT GET_LOCK('it', 60)", "SELECT RELEASE_LOCK('it')"
    who_sleeps = "SELECT ID FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'"
    sets = "SET @mine = 1"
    look = "SELECT @mine IS NOT NULL"
    many_rows = "SELECT repeat('x', 1000) FROM seq_1_to_{}"
    interrupted = "Query execution was interrupted"
    load = "LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE heap"
    encodings = ("charset", "SELECT @@character_set_client", "latin1")
    database = "database"
    Error = MySQLdb.Error

    def __init__(self, host):
        self._host = host

    def command(self, *arguments):
        """As above."""
        program, *words = shlex.split(urls.command_for(self._host.status()))
        return [program, "--no-defaults", *words, "--batch", "--skip-column-names", *arguments]

    def script(self, *statements):
        """As above."""
        return self.command("--quick", "--local-infile", f"--execute={'; '.join(statements)}")

    def connect(self, **params):
        """As above."""
        return MySQLdb.connect(**self._place() | params, autocommit=True)

    def connect_silently(self):
        """Log in without a statement."""
        return _mysql.connect(**self._place())

    def _place(self):
        status = self._host.status()
        place = {"unix_socket": f"{status['path']}/mysql.sock", "host": "localhost"}
        place |= {"database": status["database"], "user": status["user"]}
        return place

    @staticmethod
    def words(statement):
        """As above."""
        return as_packet(0, b"\3" + statement.encode())


CLIENTS = {"postgresql": OfPostgreSQL, "mysql": OfMariaDB}


def start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **env):
    """Start a program."""
    program = subprocess.Popen(
        words,
        env={name: each for name, each in os.environ.items() if not name.startswith("PG")} | env,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    PROGRAMS.append(program)
    return program


def end_of(program):
    """Let it end; return its exit code, output and errors."""
    try:
        out, err = program.communicate(timeout=STUCK)
    except subprocess.TimeoutExpired:
        program.kill()
        raise AssertionError(f"it hangs: {program.communicate()}") from None
    return program.returncode, out, err


def kill(program):
    """End it as nobody wants to be."""
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=STUCK)


def end_all():
    """End what a test has left."""
    for program in PROGRAMS:
        if program.poll() is None:
            kill(program)
    PROGRAMS.clear()
