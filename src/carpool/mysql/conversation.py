"""A client's conversation with a MySQL or MariaDB server, followed at its beginning alone.

Its end is not looked for, and it is never `idle`: the server connection ends with it. No reset of
a session takes back all that a client may do to it (COM_SET_OPTION, a role on MariaDB), and a new
one costs little. So all may be passed on as it comes.

Before the first command no server connection is needed. That is how a statement is stopped, though
all connections may be in use: a client logs in once more and says KILL, with the number that the
greeting has told the first time.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from carpool.host.relaying import Kill
from carpool.mysql.greeter import as_packet
from carpool.mysql.wire import ERR, HEADER, OK

if TYPE_CHECKING:
    from carpool.host.handoff import Visitor

QUIT, QUERY = 0x01, 0x03
_KILL: Final = re.compile(
    rb"\s*KILL\s+(?:(QUERY)\s+|CONNECTION\s+)?(\d{1,10})[\s;]*", re.IGNORECASE
)
_LONGEST_KILL: Final = 100  # bytes
_ER_CON_COUNT: Final = 1040
_NO_CONNECTION: Final = b"#08004"  # SQLSTATE: the server rejected the connection


class Conversation:
    """See `carpool.host.relaying.Conversation`."""

    idle = False

    def __init__(self, visitor: Visitor, welcome: bytes) -> None:
        self.to_client, self.to_server = bytearray(), bytearray()
        self.needs_server = self.listening = self.over = False
        self.kill: Kill | None = None
        self._settings = visitor.settings
        self._welcome = welcome
        self._sequence = welcome[3]  # the number of our next packet
        self._held = bytearray()  # from the client, for the server
        self._set_up: bytearray | None = None  # the answer to it, while it is under way
        self._relayed = False

    def begin(self, rest: bytes) -> None:
        """See `Conversation`."""
        self.to_client += self._welcome
        self._sequence = 1
        self.listening = True
        self.client_said(rest)

    def client_said(self, data: bytes) -> None:
        """See `Conversation`."""
        if self._relayed:
            self.to_server += data
            return
        self._held += data
        if not self.needs_server and self.kill is None and self._held:
            self._consider()

    def _consider(self) -> None:
        """Look at a first command, as soon as enough of it is there."""
        held = self._held
        if len(held) <= HEADER:
            return
        length, sequence, command = int.from_bytes(held[:3], "little"), held[3], held[HEADER]
        if sequence != 0 or length == 0:
            raise ValueError("not a command")
        if command == QUIT and length == 1:
            self.over = True
        elif command != QUERY or length > _LONGEST_KILL:
            self._ask()
        elif len(held) >= HEADER + length:
            if parts := _KILL.fullmatch(held[HEADER + 1 : HEADER + length]):
                self.kill = Kill(int(parts[2]), all=not parts[1])
                self.listening = False
            else:
                self._ask()

    def _ask(self) -> None:
        self.needs_server, self.listening = True, False

    def killed(self) -> None:
        """See `Conversation`."""
        del self._held[: HEADER + int.from_bytes(self._held[:3], "little")]
        self.kill = None
        self.listening = True
        self.to_client += as_packet(1, struct.pack("<BBBHH", OK, 0, 0, 2, 0))
        self.client_said(b"")

    def not_ours(self) -> None:
        """See `Conversation`."""
        self.kill = None
        self._ask()

    def connected(self) -> None:
        """See `Conversation`."""
        if self._settings:
            self._set_up = bytearray()
            pairs = ", ".join(f"{name} = {value}" for name, value in self._settings.items())
            self.to_server += as_packet(0, bytes([QUERY]) + f"SET {pairs}".encode())
        else:
            self._let_through()

    def _let_through(self) -> None:
        self.to_server += self._held
        self._held.clear()
        self._relayed = self.listening = True

    def server_said(self, data: bytes) -> None:
        """See `Conversation`."""
        if self._set_up is None:
            self.to_client += data
            return
        answer = self._set_up
        answer += data
        if len(answer) <= HEADER or len(answer) < HEADER + int.from_bytes(answer[:3], "little"):
            return
        self._set_up = None
        if answer[HEADER] == OK:
            self._let_through()
        else:
            self.to_client += answer
            self.over = True

    def refuse(self, why: str) -> None:
        """See `Conversation`."""
        error = struct.pack("<BH", ERR, _ER_CON_COUNT) + _NO_CONNECTION
        self.to_client += as_packet(self._sequence, error + f"carpool: {why}".encode())
        self.over = True
