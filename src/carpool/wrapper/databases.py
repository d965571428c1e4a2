"""Test databases: no session may be in one that Django drops, or copies another from.

Processes that have ended leave theirs to the broker of `share: host`.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic, sleep
from typing import Any

from django.db.backends.base.creation import BaseDatabaseCreation

from carpool import __version__
from carpool.host import control, places
from carpool.wrapper.settings import read_options

GONE = 1.0  # seconds until the broker has noticed that a process has ended, at the longest
PATIENCE = 10.0  # seconds for it to end the sessions


class Vacating(BaseDatabaseCreation):
    """A mixin for Django's makers of test databases: the broker leaves these before."""

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> Any:
        test = self.connection.settings_dict["TEST"]
        former = self._get_test_db_name()  # type: ignore[attr-defined] # not in the stubs
        self._vacate(former, test.get("TEMPLATE"))
        return super()._create_test_db(verbosity, autoclobber, keepdb)  # type: ignore[misc] # likewise

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:
        clone = self.get_test_db_clone_settings(suffix)["NAME"]
        self._vacate(self.connection.settings_dict["NAME"], clone)
        super()._clone_test_db(suffix, verbosity, keepdb)  # type: ignore[misc] # likewise

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        self._vacate(test_database_name)
        super()._destroy_test_db(test_database_name, verbosity)  # type: ignore[misc] # likewise

    def _vacate(self, *databases: str | None) -> None:
        """Have the broker close the pools of these databases that nobody is connected to."""
        connection: Any = self.connection
        options = read_options(connection.alias, connection.settings_dict)
        if options is None or options.share != "host":
            return
        connection.close()
        connection.close_pool()
        place = places.find(options.broker_dir)
        for name in filter(None, databases):
            _close(place, {"kind": connection.vendor, "database": name})


def _close(place: places.Place, wanted: dict[str, str]) -> None:
    request = {"version": __version__, "want": "close", **wanted}
    deadline = monotonic() + GONE
    with suppress(OSError, ValueError):  # no broker runs, so there is no session of its
        while control.ask(place, request, PATIENCE).get("in_use") and monotonic() < deadline:
            sleep(0.02)
