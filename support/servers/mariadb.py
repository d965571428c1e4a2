"""MariaDB, from the packages of the system."""

from __future__ import annotations

import collections
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any, ClassVar

from support.servers.base import STARTING, NotInstalled, Server, ServerError, Statement
from support.servers.general_log import GeneralLog

if TYPE_CHECKING:
    from pathlib import Path

    import pymysql

_NO_SUCH_THREAD = 1094
_HISTORY = "performance_schema.events_statements_history_long"
_UNLOGGED = "'statement/com/Ping', 'statement/com/Reset connection'"


class MariaDB(Server):
    """A MariaDB from Debian's `mariadb-server-core` or its like, for local use by its root.

    Its user `root` needs no password, the roles made by `create_role` must give theirs. `settings`
    are MariaDB's. Nothing is flushed to disk: the data survive `kill`, but not the loss of power.
    What is not set is as the server was built, whatever the machine's configuration says: latin1
    is its character set, so a session that has lost the one Django asked for is noticed.
    """

    title = "MariaDB"
    os_user = "mysql"
    stop_signal = signal.SIGTERM
    MAIN, DBNAME = "main", "database"
    LOG_STATEMENTS: ClassVar = {
        "general_log": "ON",
        "performance_schema": "ON",
        "performance_schema_consumer_events_statements_current": "ON",
        "performance_schema_consumer_events_statements_history_long": "ON",
    }
    _SYSTEM_USERS = ("system user", "event_scheduler", "unauthenticated user", Server.ADMIN)
    _DEFAULTS: ClassVar[dict[str, object]] = {
        "bind_address": "127.0.0.1",
        "skip_name_resolve": "ON",
        "max_connections": 200,
        "feedback": "OFF",
        "debug_no_sync": "ON",
        "innodb_flush_method": "nosync",
        "innodb_flush_log_at_trx_commit": 2,
        "innodb_log_file_size": "16M",
        "innodb_buffer_pool_size": "64M",
    }

    def __init__(self, folder: Path | None, settings: dict[str, object]) -> None:
        super().__init__(folder, settings)
        self.statement_log = self.folder / "general.log"
        self._general_log = GeneralLog(self.statement_log)

    # Where it is

    @property
    def params(self) -> dict[str, Any]:
        """The arguments of `MySQLdb.connect` and `pymysql.connect`."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "password": "",
            "database": self.MAIN,
        }

    @property
    def unix_params(self) -> dict[str, Any]:
        """The same by way of the Unix socket; Django's HOST is `unix_params["unix_socket"]`."""
        address = {"host": "localhost", "unix_socket": str(self.folder / "socket")}
        return {key: value for key, value in self.params.items() if key != "port"} | address

    # What its administrator does

    def admin(self, dbname: str | None = None) -> pymysql.Connection[Any]:
        """Open an autocommit connection that is left out of every count."""
        import pymysql  # noqa: PLC0415 - whoever only starts a server needs no driver

        who = {"user": self.ADMIN, self.DBNAME: dbname or self.MAIN}
        return pymysql.connect(**self.params | who, autocommit=True)

    def query(self, sql: str, args: Any = None, dbname: str | None = None) -> list[Any]:
        """Run one statement on a connection of its own; return the rows as named tuples."""
        with self.admin(dbname) as connection, connection.cursor() as cursor:
            cursor.execute(sql, args)
            if not cursor.description:
                return []
            names = [column[0] for column in cursor.description]
            row = collections.namedtuple("Row", names, rename=True)  # type: ignore[misc] # noqa: PYI024 - the names are the server's
            return [row(*values) for values in cursor.fetchall()]

    def create_database(self, name: str) -> None:
        """Create an empty database, in utf8mb4."""
        self.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and the sessions in it, which could hold locks there."""
        self.kill_sessions(dbname=name)
        self.query(f"DROP DATABASE IF EXISTS `{name}`")

    def create_role(self, name: str, password: str) -> None:
        """Create a user that may do everything but has to log in with this password."""
        self.query(f"CREATE USER `{name}` IDENTIFIED BY %s", [password])
        self.query(f"GRANT ALL ON *.* TO `{name}`")

    # What it shows of its sessions

    def sessions(self, **where: object) -> list[Any]:
        """Return the rows of PROCESSLIST for the sessions of clients, oldest first.

        Their columns: pid, dbname, user, query, and PROCESSLIST's own in lower case.
        """
        columns = {"pid": "ID", "dbname": "DB"}
        tests = "".join(f" AND {columns.get(name, name)} = %({name})s" for name in where)
        return self.query(
            "SELECT ID AS pid, DB AS dbname, USER AS user, INFO AS query, HOST AS host,"
            " COMMAND AS command, TIME_MS / 1000 AS time, STATE AS state"
            f" FROM information_schema.PROCESSLIST WHERE USER NOT IN {self._SYSTEM_USERS}{tests}"
            " ORDER BY ID",
            where,
        )

    def kill_sessions(self, **where: object) -> int:
        """End sessions as an administrator would, return how many, when they are gone."""
        pids = [session.pid for session in self.sessions(**where)]
        for pid in pids:
            self._kill(pid)
        deadline = time.monotonic() + STARTING
        while {session.pid for session in self.sessions()} & set(pids):
            if time.monotonic() > deadline:
                raise ServerError(f"killed sessions are still there: {self.sessions()}")
            time.sleep(0.005)
        return len(pids)

    def _kill(self, pid: int) -> None:
        from pymysql.err import OperationalError  # noqa: PLC0415 - see above

        try:
            self.query("KILL %s", [pid])
        except OperationalError as error:
            if error.args[0] != _NO_SUCH_THREAD:  # it may have ended by itself
                raise

    # What its general log shows; a statement is there before the client has its answer

    def statements(self, since: int = 0, **where: object) -> list[Statement]:
        """Return the statements that clients sent since a mark, oldest first.

        `where` selects by pid, dbname, user. Needs `LOG_STATEMENTS` at the start. Other commands
        are there by their names: "Change user root@127.0.0.1 on shop", "Init DB shop", "Quit"; but
        for those that MariaDB does not log, see `unlogged`.
        """
        return [s for s in self._entries(since, where) if not s.text.startswith("Connect ")]

    def connections(self, since: int = 0, **where: object) -> int:
        """Count the logins of clients since a mark; `where` selects by dbname, user."""
        tries = [s for s in self._entries(since, where) if s.text.startswith("Connect ")]
        refused = sum(s.text.startswith("Connect Access denied") for s in tries)
        return len(tries) - 2 * refused  # the refusal is an entry of its own

    def clock(self) -> int:
        """Return the time of the latest command, for `unlogged`."""
        return int(self.query(f"SELECT MAX(TIMER_START) AS latest FROM {_HISTORY}")[0].latest or 0)

    def unlogged(self, since: int, **where: object) -> list[str]:
        """Return the commands since a `clock` that no log shows: "Ping", "Reset connection".

        `where` selects by dbname alone. Needs `LOG_STATEMENTS` at the start.
        """
        self._wait_for_history()
        rows = self.query(
            f"SELECT EVENT_NAME AS event, CURRENT_SCHEMA AS dbname FROM {_HISTORY} WHERE EVENT_NAME"
            f" IN ({_UNLOGGED}) AND TIMER_START > %s ORDER BY TIMER_START",
            [since],
        )
        chosen = (row for row in rows if where.items() <= {"dbname": row.dbname}.items())
        return [row.event.removeprefix("statement/com/") for row in chosen]

    def _wait_for_history(self) -> None:
        """Wait until what was answered is written down, which comes a moment later."""
        counts = (
            "SELECT VARIABLE_VALUE - (SELECT SUM(COUNT_STAR)"
            " FROM performance_schema.events_statements_summary_global_by_event_name"
            f" WHERE EVENT_NAME IN ({_UNLOGGED}, 'statement/com/Change user')) AS missing"
            " FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Com_admin_commands'"
        )
        while self.query(counts)[0].missing > 0:
            time.sleep(0.001)

    def _entries(self, since: int, where: dict[str, object]) -> list[Statement]:
        if self.settings.get("general_log") != "ON":
            raise ServerError('start the server with general_log="ON" to see its statements')
        return [
            entry
            for entry in self._general_log.since(since)
            if entry.user not in {self.ADMIN, ""} and where.items() <= entry._asdict().items()
        ]

    # How it is made and run

    @classmethod
    def check_installed(cls) -> None:
        """Raise NotInstalled unless this machine has the server."""
        for name in ("mariadbd", "mariadb-install-db"):
            cls._program(name)

    def _prepare(self) -> None:
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS `{self.ADMIN}`;\n"
            f"GRANT ALL ON *.* TO `{self.ADMIN}` WITH GRANT OPTION;\n"
            f"CREATE DATABASE IF NOT EXISTS `{self.MAIN}` CHARACTER SET utf8mb4;\n"
        )
        if (self.folder / "data").exists():
            return
        self._run(
            *(self._program("mariadb-install-db"), *self._options(), "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )

    def _command(self) -> list[str]:
        return [
            *(self._program("mariadbd"), *self._options()),
            *(f"--{name}={value}" for name, value in self.settings.items()),
        ]

    def _options(self) -> list[str]:
        files = {
            "datadir": "data",
            "socket": "socket",
            "pid_file": "pid",
            "init_file": "init.sql",
            "general_log_file": "general.log",
        }
        options = self._DEFAULTS | {"tmpdir": self.folder, "port": self.port}
        options |= {name: self.folder / file for name, file in files.items()}
        return ["--no-defaults", *(f"--{name}={value}" for name, value in options.items())]

    def _ready(self) -> bool:
        return "ready for connections" in self._log_since_start()

    @staticmethod
    def _program(name: str) -> str:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
        if found := shutil.which(name, path=path):
            return found
        raise NotInstalled("MariaDB is not installed: apt-get install mariadb-server-core")


class MariaDBWithTLS(MariaDB):
    """The same with TLS, by a certificate of its own for localhost: `ca` is the file to trust."""

    @classmethod
    def check_installed(cls) -> None:
        """Raise NotInstalled unless this machine has the server, and openssl."""
        super().check_installed()
        if not shutil.which("openssl"):
            raise NotInstalled("openssl, which makes the certificate for TLS, is not installed")

    @property
    def ca(self) -> Path:
        """The certificate, in a file that only the server's user and root can read."""
        return self.folder / "certificate.pem"

    def _prepare(self) -> None:
        super()._prepare()
        self._run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(self.folder / "key.pem"), "-out", str(self.ca)),
        )

    def _command(self) -> list[str]:
        files = (f"--ssl_cert={self.ca}", f"--ssl_key={self.folder / 'key.pem'}")
        return [*super()._command(), *files]
