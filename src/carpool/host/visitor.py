"""Any client, as psql or mysql, that has a session out of the pool: relayed by the broker."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from carpool.host.control import peer
from carpool.host.relaying import Relay

if TYPE_CHECKING:
    import socket

    from carpool.host.handoff import Visitor
    from carpool.host.house import House
    from carpool.host.relaying import Conversation, Kill
    from carpool.host.slots import Slot

logger = logging.getLogger("carpool.host")

EFFECT = "visitor"  # what a session has been through that is to be reset


class Visit:
    """A visitor's session. A `Borrower`, for which the connection does not leave the broker."""

    cleans = False

    def __init__(
        self,
        client: socket.socket,
        house: House,
        number: int,
        secret: bytes,
        talk: Conversation,
    ) -> None:
        self.number, self.secret = number, secret
        self.pid = peer(client)[0] or 0
        self._house = house
        self._lender = house.lender
        self._talk = talk
        self._relay = Relay(house.loop, client, talk, self._heard)
        self._has_asked = self._is_killing = self._ended = False

    def begin(self, visitor: Visitor, rest: bytes) -> None:
        """Let it in, if it is the pool's database and user that it wants."""
        wrong = objection(self._house, visitor)
        try:
            if wrong:
                self._talk.refuse(wrong)
            else:
                self._talk.begin(rest)
        except ValueError as error:
            self._talk.refuse(str(error))
        self._go_on()

    def _go_on(self) -> None:
        if not self._ended:
            self._relay.pump()
            self._heard()

    def _heard(self) -> None:
        talk = self._talk
        if talk.over or self._relay.client_left or self._relay.server_left:
            self.close()
        elif talk.kill is not None and not self._is_killing:
            self._kill(talk.kill)
        elif talk.needs_server and not self._has_asked:
            self._has_asked = True
            self._lender.ask(self, self._lender.options.timeout)

    # ------------------------------------------------------------ as a `Borrower`

    def lend(self, slot: Slot, lease: int) -> bool:  # noqa: ARG002 - nobody else is to know it
        """See `Borrower`."""
        try:
            self._relay.connect(slot.socket)
        except OSError as error:
            text = str(error)
            self._house.loop.post(lambda: self._refuse(text))
            return False
        slot.stay()
        slot.connection.session.effect = EFFECT
        self._talk.connected()
        self._house.loop.post(self._go_on)
        return True

    def refuse(self, error: BaseException) -> None:
        """See `Borrower`. The lender is in the middle of something."""
        text = " ".join(str(error).split())
        self._house.loop.post(lambda: self._refuse(text))

    def _refuse(self, text: str) -> None:
        if not self._ended:
            self._talk.refuse(text)
            self.close()

    # --------------------------------------------------------------- to be ended

    def _kill(self, kill: Kill) -> None:
        """Do as MySQL's clients ask, who stop a statement by way of another session."""
        other = self._house.links.get(kill.number)
        if not isinstance(other, Visit):
            self._talk.not_ours()
            self._go_on()
        elif kill.all:
            other.close()
            self._killed()
        else:
            self._is_killing = True
            self._lender.cancel(other, self._killed)

    def _killed(self) -> None:
        self._is_killing = False
        self._talk.killed()
        self._go_on()

    def hang_up(self) -> None:
        """End, as the broker does."""
        self._ended = True
        self._relay.disconnect()
        if self._talk.idle and not self._relay.server_left:
            self._lender.give_back(self)
        else:
            self._lender.forget(self)
        self._relay.finish()

    def close(self) -> None:
        """End: the connection goes back to the pool, or is closed if it cannot."""
        if self._house.links.pop(self.number, None) is not None:
            self.hang_up()
            self._house.left()


def objection(house: House, visitor: Visitor) -> str:
    """Say what a visitor wants that this pool has not; empty: nothing."""
    for what, wanted, had in (
        ("database", visitor.database, house.database),
        ("user", visitor.user, house.user),
    ):
        if wanted and had and wanted != had:
            return (
                f"this pool's {what} is {had}, not {wanted}; how to connect is told by: "
                f"carpool broker url {house.id}"
            )
    return ""
