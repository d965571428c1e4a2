"""The broker's drivers: they log in through the forwarder where a server is to speak TLS."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carpool.host.handoff import Handoff
    from carpool.host.tls import Forwarder

# Whose connections can be handed over.
DRIVERS = {
    "postgresql": "carpool.postgresql.driver:PsycopgDriver",
    "mysql": "carpool.mysql.driver:MysqlclientDriver",
}


def make(kind: str, login: Mapping[str, Any], forwarder: Forwarder) -> Handoff[Any]:
    """Make the driver for what a process' `Handoff.login` has returned.

    Raises KeyError for an unknown kind, and ImportError where its module is not installed here.
    """
    driver_class = pkgutil.resolve_name(DRIVERS[kind])

    class Routed(driver_class):  # type: ignore[misc, valid-type] # chosen by its name
        """That driver, logging in by whatever way the forwarder tells."""

        relayed = False  # the last login was: all bytes of its connection pass through the broker

        def connect(self, overrides: Mapping[str, Any]) -> Any:
            """See `Driver`. Raises `NotShareable` as well."""
            route = forwarder.route(kind, login)
            self.relayed = route.relayed
            return driver_class.from_login(route.login).connect(overrides)

    driver: Handoff[Any] = Routed.from_login(login)
    return driver
