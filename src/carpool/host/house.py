"""A pool in the broker: its lender, its socket, and those who are connected to it."""

from __future__ import annotations

import hmac
from time import monotonic
from typing import TYPE_CHECKING, Any

from carpool.host import places
from carpool.host.door import Door, listen
from carpool.host.link import Guest

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from carpool.host.broker import Broker
    from carpool.host.handoff import Cancel
    from carpool.host.lender import Lender
    from carpool.host.link import Link
    from carpool.host.visitor import Visit

# The names under which clients look for a server.
SOCKETS = {"postgresql": places.POSTGRESQL_SOCKET, "mysql": places.MYSQL_SOCKET}


class House:
    """A pool's lender, its socket, and those who are connected to it.

    Those are in three sets, by how far they have come: a process asks the broker for the pool, and
    stays until it is connected to the socket; there it is a guest until it has logged in; then it
    has a link. Whoever is in one of them needs the pool.
    """

    def __init__(self, name: str, path: Path, lender: Lender, broker: Broker, kind: str) -> None:
        self.id = name
        self.path = path
        self.lender = lender
        self.kind = kind
        self.database = self.user = ""  # for people who want to connect by hand
        self.loop = broker.loop
        self.asking: set[object] = set()
        self.guests: set[Guest] = set()
        self.links: dict[int, Link | Visit] = {}
        self._broker = broker
        self._quiet_since = monotonic()
        self._numbers = broker.numbers
        self.socket_path = path / SOCKETS[kind]
        self._listener = listen(self.socket_path)
        Door(self._listener, self.loop, self._enter)

    def _enter(self, connection: socket.socket) -> None:
        if self.lender.supply.facts is None:  # nobody can be greeted before the first login
            connection.close()
            return
        Guest(connection, self, next(self._numbers))

    def cancel(self, wanted: Cancel, connection: socket.socket) -> None:
        """Cancel for who knows the secret; the client waits for its connection to be closed."""
        link = self.links.get(wanted.number)
        if link is None or not hmac.compare_digest(link.secret, wanted.secret):
            connection.close()
        else:
            self.lender.cancel(link, connection.close)

    def left(self) -> None:
        """Hear that a client has gone."""
        self._quiet_since = monotonic()
        self._broker.somebody_left()

    def is_needed(self) -> bool:
        """Tell whether somebody is connected, or about to be, or whoever comes is to be paused."""
        return bool(self.links or self.guests or self.asking or self.lender.paused)

    def is_forsaken(self, seconds: float) -> bool:
        """Tell whether nobody has been connected for so long."""
        return not self.is_needed() and monotonic() - self._quiet_since >= seconds

    def is_meant(self, request: dict[str, Any]) -> bool:
        """Tell whether a request is about this pool, by its id or its database."""
        if "pool" in request:
            return bool(self.id == request["pool"])
        return (self.kind, self.database) == (request.get("kind"), request.get("database"))

    def leave(self) -> None:
        """Listen no more, and hang up. The lender is still to be closed."""
        self.loop.unwatch(self._listener)
        self._listener.close()
        self.socket_path.unlink(missing_ok=True)
        for guest in list(self.guests):
            guest.leave()
        for link in self.links.values():
            link.hang_up()
