"""PostgreSQL with PostGIS, from the packages of the system."""

from __future__ import annotations

from pathlib import Path

from support.servers.base import NotInstalled
from support.servers.postgresql import PostgreSQL

_SERVERS, _EXTENSIONS = Path("/usr/lib/postgresql"), Path("/usr/share/postgresql")  # of Debian


class PostGIS(PostgreSQL):
    """The newest PostgreSQL of the system that has PostGIS; every new database has it too.

    It may be older than the one of `PostgreSQL`, so it gets by with the options of PostgreSQL 14.
    """

    title = "PostgreSQL with PostGIS"
    _LOCALE = ("--locale=C.UTF-8",)
    _LOG_CONNECTIONS = "on"

    def _prepare(self) -> None:
        new = not (self.folder / "data").exists()
        super()._prepare()
        if new:
            self._add_extension("template1")
            self._add_extension(self.MAIN)

    def _add_extension(self, dbname: str) -> None:
        """Add it before the server runs, so that whoever creates a database need not."""
        postgres = [str(self._bin() / "postgres"), "--single", "-D", str(self.folder / "data")]
        self._run(*postgres, "-F", dbname, given="CREATE EXTENSION postgis\n")

    @classmethod
    def _bin(cls) -> Path:
        versions = [
            control.parts[-3] for control in _EXTENSIONS.glob("*/extension/postgis.control")
        ]
        for version in sorted(versions, key=float, reverse=True):
            if (_SERVERS / version / "bin" / "postgres").exists():
                return _SERVERS / version / "bin"
        raise NotInstalled("PostGIS is not installed: apt-get install postgresql-15-postgis-3")
