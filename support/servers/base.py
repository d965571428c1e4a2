"""What all servers share."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import psutil

from support import guard
from support.os_user import own, run_as, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STARTING, STOPPING = 60.0, 30.0  # seconds after which a server counts as stuck


class ServerError(RuntimeError):
    """A server did not do as told; the text ends with the last lines of its log."""


class NotInstalled(ServerError):
    """A server is not on this machine; the text says how to get it."""


class Statement(NamedTuple):
    """One statement, or other command, in the server's log."""

    pid: int
    dbname: str
    application_name: str  # PostgreSQL's alone
    text: str
    user: str = ""


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


def read_from(log: Path, offset: int) -> str:
    """Return what a log holds from an offset in bytes on."""
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


class Server:
    """What all servers share: a folder, a process, a guard. See `PostgreSQL` for a whole one."""

    title: ClassVar[str]
    os_user: ClassVar[str] = "postgres"  # whom the server of root runs as, if there is such a user
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    ADMIN: ClassVar[str] = "support-admin"  # marks our own sessions, which no count includes
    MAIN: ClassVar[str]  # the database that is there from the start
    DBNAME: ClassVar[str]  # the driver's keyword for the database
    LOG_STATEMENTS: ClassVar[Mapping[str, object]]  # the settings that `statements` needs

    def __init__(self, folder: Path | None, settings: dict[str, object]) -> None:
        self.temporary = folder is None
        self.folder = own(folder, self.os_user) if folder else temporary_folder(self.os_user)
        self.log = self.folder / "log"
        self.statement_log = self.log
        self.settings = settings
        self.port = free_port()
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._log_at_start = 0
        self._guard = self._start_guard()
        atexit.register(self.stop)

    # What a database answers for itself

    @classmethod
    def check_installed(cls) -> None:
        """Raise NotInstalled unless this machine has the server."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Fill the folder with an empty database."""
        raise NotImplementedError

    def _command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        raise NotImplementedError

    def _ready(self) -> bool:
        """Tell whether the server accepts connections."""
        raise NotImplementedError

    @property
    def params(self) -> dict[str, Any]:
        """The arguments of the driver's `connect`, by way of TCP, to the database `MAIN`."""
        raise NotImplementedError

    @property
    def unix_params(self) -> dict[str, Any]:
        """The same by way of the Unix socket."""
        raise NotImplementedError

    def query(self, sql: str, args: Any = None, dbname: str | None = None) -> list[Any]:
        """Run one statement as the administrator, unseen by every count; return named tuples."""
        raise NotImplementedError

    def create_database(self, name: str) -> None:
        """Create an empty database."""
        raise NotImplementedError

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and the sessions in it."""
        raise NotImplementedError

    def create_role(self, name: str, password: str) -> None:
        """Create a role that has to log in with this password."""
        raise NotImplementedError

    def sessions(self, **where: object) -> list[Any]:
        """Return the sessions of clients, oldest first: pid, dbname, user and the server's own.

        `where` selects by pid, dbname, user.
        """
        raise NotImplementedError

    def kill_sessions(self, **where: object) -> int:
        """End sessions as an administrator would, return how many, when they are gone."""
        raise NotImplementedError

    def statements(self, since: int = 0, **where: object) -> list[Statement]:
        """Return the statements that clients sent since a mark, oldest first.

        `where` selects by pid, dbname, user. Needs `LOG_STATEMENTS` at the start.
        """
        raise NotImplementedError

    def connections(self, since: int = 0, **where: object) -> int:
        """Count the logins of clients since a mark; `where` selects by dbname, user."""
        raise NotImplementedError

    def clock(self) -> int:
        """Return the server's present time, for `unlogged`."""
        return 0

    def unlogged(self, since: int, **where: object) -> list[str]:  # noqa: ARG002 - for others
        """Return the commands since a `clock` that `statements` cannot show: none, if it shows all.

        `where` selects by dbname.
        """
        return []

    # What follows from these

    def django(self, **more: object) -> dict[str, object]:
        """Return an entry of Django's DATABASES, but for ENGINE; `more` is added."""
        names = {"NAME": self.DBNAME, "USER": "user", "PASSWORD": "password", "HOST": "host"}
        params = self.params
        return {key: params[name] for key, name in names.items()} | {"PORT": self.port} | more

    def wait_for_sessions(self, count: int, timeout: float = 10, **where: object) -> list[Any]:
        """Wait until there are that many sessions: a closed one takes the server a moment."""
        deadline = time.monotonic() + timeout
        while len(found := self.sessions(**where)) != count:
            if time.monotonic() > deadline:
                listed = "".join(f"\n  {row}" for row in found)
                raise AssertionError(f"{len(found)} sessions, not {count}:{listed}")
            time.sleep(0.01)
        return found

    def mark(self) -> int:
        """Return the present end of the log of statements, for `since`."""
        return self.statement_log.stat().st_size

    # The verbs

    @classmethod
    def start(cls, folder: str | Path | None = None, **settings: object) -> Self:
        """Start a new server, ready for connections.

        `folder` is made and kept if named, else temporary; `settings` are the server's own.
        Raises ServerError with the end of the server's log, NotInstalled before anything is made.
        """
        cls.check_installed()
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
            self._log_at_start = log.tell()
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for the owner to handle
                **run_as(self.folder, self.os_user),
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
            guard.kill_tree(self._process.pid)
        self._ended()

    def processes(self) -> Iterator[psutil.Process]:
        """Yield the server's processes; the parent first, so that no child is missed."""
        parent = psutil.Process(self.pid)
        yield parent
        yield from parent.children(recursive=True)

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing is answered."""
        still = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
        for process in self.processes():  # the parent stands still before its children are listed
            with contextlib.suppress(psutil.NoSuchProcess):  # a child that has ended meanwhile
                process.suspend()
                while process.status() not in still:
                    time.sleep(0.001)  # the signal does not wait for the threads to heed it

    def resume(self) -> None:
        """Let a paused server go on."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # a child that has ended meanwhile
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
        command = [sys.executable, guard.__file__, str(self.folder)]
        if self.temporary:
            command.append("--remove")
        # It shares our standard output: who reads that to its end waits for the cleaning too.
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _tell_guard(self, pid: object) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{pid}\n".encode())
        self._guard.stdin.flush()

    def _run(self, *command: str, given: str = "") -> None:
        """Run a program as the server's user, with the text `given` as its standard input."""
        done = subprocess.run(
            command,
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            **run_as(self.folder, self.os_user),
        )
        self.log.write_bytes(done.stdout)
        if done.returncode:
            raise self._error(f"could not be set up: {command[0]} failed")

    def _log_since_start(self) -> str:
        return read_from(self.log, self._log_at_start)

    def _error(self, what: str) -> ServerError:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        return ServerError(f"{self.title} {what}\n{tail}")
