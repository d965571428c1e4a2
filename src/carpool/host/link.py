"""The broker's end of what connects to a pool's socket: first a login, then whoever it was."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

from carpool.host import frames
from carpool.host.control import peer
from carpool.host.handoff import Cancel, Shell, Visitor
from carpool.host.relaying import conversation
from carpool.host.visitor import Visit

if TYPE_CHECKING:
    from carpool.host.handoff import Greeter
    from carpool.host.house import House
    from carpool.host.slots import Slot

logger = logging.getLogger("carpool.host")

PATIENCE = 10.0  # seconds that a login may take
_CHUNK = 16384


class Guest:
    """A client that logs in. Garbage closes it, and nothing else."""

    def __init__(self, connection: socket.socket, house: House, number: int) -> None:
        self.number = number
        self.secret = os.urandom(4)
        self._house = house
        self._socket = connection
        self._loop = house.loop
        connection.setblocking(False)
        self._greeter: Greeter = house.lender.driver.greeter(
            house.lender.supply.facts, number, self.secret
        )
        house.guests.add(self)
        self._loop.watch(connection, self._read)
        self._loop.later(PATIENCE, self._too_late)
        try:
            self._say(self._greeter.hello())
        except OSError:  # it has hung up already
            self.leave()

    def _too_late(self) -> None:
        if self in self._house.guests:
            self.leave()

    def leave(self) -> None:
        """Hang up."""
        self._house.guests.discard(self)
        self._loop.unwatch(self._socket)
        self._socket.close()
        self._house.left()

    def _say(self, answer: bytes) -> None:
        if answer:
            self._socket.sendall(answer)  # it fits into the empty buffer of a new socket

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
            if not data:
                self.leave()
                return
            answer = self._greeter.receive(data)
            if not isinstance(self._greeter.outcome, Visitor):
                self._say(answer)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            name = self._house.lender.name
            logger.info(
                "%s: a login came to nothing: %s",
                name,
                error,
                extra={"pool": name, "reason": type(error).__name__},
            )
            self.leave()
            return
        if self._greeter.outcome is not None:
            self._become(self._greeter.outcome, answer)

    def _become(self, outcome: Shell | Visitor | Cancel, answer: bytes) -> None:
        self._house.guests.discard(self)
        self._loop.unwatch(self._socket)
        if isinstance(outcome, Shell):
            link = Link(self._socket, self._house, self.number, self.secret)
            self._house.links[self.number] = link
            link.take(self._greeter.rest)
        elif isinstance(outcome, Cancel):
            self._house.cancel(outcome, self._socket)
            self._house.left()
        else:
            talk = conversation(self._house.kind, outcome, answer)
            visit = Visit(self._socket, self._house, self.number, self.secret, talk)
            self._house.links[self.number] = visit
            visit.begin(outcome, self._greeter.rest)


class Link:
    """A shell's channel. A `Borrower`."""

    cleans = True

    def __init__(self, connection: socket.socket, house: House, number: int, secret: bytes) -> None:
        self.number, self.secret = number, secret
        self.pid = peer(connection)[0] or 0
        self._house = house
        self._lender = house.lender
        self._socket = connection
        self._requests = frames.Requests()
        self._waits = False  # for an answer
        house.loop.watch(connection, self._read)

    # ------------------------------------------------------------ as a `Borrower`

    def lend(self, slot: Slot, lease: int) -> bool:
        """See `Borrower`."""
        frame = frames.grant(slot.number, slot.server_id, lease)
        descriptors = [slot.socket, slot.lock, slot.tether]
        try:
            sent = socket.send_fds(self._socket, [frame], descriptors)
        except OSError:  # also where more descriptors are under way than may be
            self._house.loop.post(self.close)  # the lender is in the middle of something
            return False
        slot.sent()
        self._waits = False
        if sent != len(frame):  # then it has not read the last answers: it is none of ours
            self._house.loop.post(self.close)
        return True

    def refuse(self, error: BaseException) -> None:
        """See `Borrower`."""
        self._waits = False
        frame = frames.error(type(error).__name__, error.args)
        try:
            if self._socket.send(frame) != len(frame):
                self._house.loop.post(self.close)
        except OSError:
            pass  # its end is seen where it is read

    # -------------------------------------------------------------------- frames

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.take(data)
        else:
            self.close()

    def take(self, data: bytes) -> None:
        """Do what frames ask for. Anything else closes this channel."""
        try:
            for kind, number in self._requests.take(data):
                self._do(kind, number)
        except ValueError as error:
            name, pid = self._lender.name, self.pid
            extra = {"pool": name, "pid": pid}
            logger.warning("%s: process %s: %s", name, pid, error, extra=extra)
            self.close()

    def _do(self, kind: bytes, number: int) -> None:
        if kind == frames.LEASE:
            if self._waits:
                raise ValueError("it asks before it has been answered")
            self._waits = True
            self._lender.ask(self, number / 1000)
        elif kind == frames.IDLE:
            self._lender.free(self)
        elif kind in (frames.BACK, frames.BROKEN):
            self._lender.come_back(self, broken=kind == frames.BROKEN)
        else:
            self.close()

    def hang_up(self) -> None:
        """Close the channel, so that its process notices that the broker is ending."""
        self._house.loop.unwatch(self._socket)
        self._socket.close()

    def close(self) -> None:
        """Let it go, and take back what it had."""
        if self._house.links.pop(self.number, None) is None:
            return
        self.hang_up()
        self._lender.forget(self)
        self._house.left()
