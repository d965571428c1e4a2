"""A PgBouncer for benchmarks, in transaction mode, reached by its Unix socket."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg

from support.os_user import run_as, temporary_folder
from support.servers.base import NotInstalled, free_port

if TYPE_CHECKING:
    from support.servers import PostgreSQL

STARTING = 10.0  # seconds


class PgBouncer:
    """In front of a server; a context manager. Raises NotInstalled where there is none."""

    def __init__(self, server: PostgreSQL, size: int) -> None:
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            raise NotInstalled("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
        self._folder = temporary_folder()
        self._port = free_port()
        given = server.params
        ini = self._folder / "pgbouncer.ini"
        ini.write_text(
            f"[databases]\n"
            f"{given['dbname']} = host={given['host']} port={given['port']} user={given['user']}\n"
            f"[pgbouncer]\nlisten_addr =\nlisten_port = {self._port}\n"
            f"unix_socket_dir = {self._folder}\nauth_type = any\npool_mode = transaction\n"
            f"default_pool_size = {size}\nmax_client_conn = 200\n"
            f"logfile = {self._folder / 'log'}\n"
        )
        ini.chmod(0o644)
        self.params: dict[str, Any] = {
            "host": str(self._folder),
            "port": self._port,
            "user": given["user"],
            "dbname": given["dbname"],
        }
        self._process = subprocess.Popen([program, "-q", str(ini)], **run_as(self._folder))
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTING
        while True:
            try:
                psycopg.connect(**self.params).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(f"PgBouncer did not start: {error}") from error
                time.sleep(0.02)
            else:
                return

    def processes(self) -> list[int]:
        """Return its process ids."""
        return [self._process.pid]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(Path(self._folder), ignore_errors=True)
