"""A client's conversation with a PostgreSQL server, followed to its end.

So that the server connection can be used again, the client's Terminate is not passed on, and the
conversation is `idle` when the server has said ReadyForQuery as often as it must, and nothing has
been sent since. https://www.postgresql.org/docs/current/protocol-flow.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from carpool.postgresql.greeter import message
from carpool.postgresql.messages import Messages, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carpool.host.handoff import Visitor

QUERY, CALL, SYNC, TERMINATE = b"Q", b"F", b"S", b"X"
COPYING: Final = (b"d", b"c", b"f")  # answered with the statement; ignored where none copies
READY: Final = b"Z"
PASSED_ON: Final = (b"S", b"N")  # of what answers a set-up: ParameterStatus, notices
ERROR: Final = b"E"
NO_CONNECTION: Final = "08004"  # sqlserver_rejected_establishment_of_sqlconnection
LONGEST_SET_UP: Final = 1 << 20  # bytes of its answer


class Conversation:
    """See `carpool.host.relaying.Conversation`. The client is let in once a server is there."""

    kill = None  # there is CancelRequest

    def __init__(self, visitor: Visitor, welcome: bytes) -> None:
        self.to_client, self.to_server = bytearray(), bytearray()
        self.needs_server = self.listening = self.over = False
        self._settings = visitor.settings
        self._welcome = welcome
        self._set_up: bytearray | None = None  # the answer to it, while it is under way
        self._said, self._answered = Messages(), Messages()
        self._owed = 0  # so often the server has yet to say ReadyForQuery
        self._open = False  # messages have been sent that end with no ReadyForQuery
        self._status = b"I"  # of the transaction

    def begin(self, rest: bytes) -> None:
        """See `Conversation`. Raises ValueError for `options` that no set-up can serve."""
        self._settings = requested(self._settings)
        self.client_said(rest)
        self.needs_server = not self.over

    def connected(self) -> None:
        """See `Conversation`."""
        if self._settings:
            self._set_up = bytearray()
            self.to_server[:0] = message(QUERY, set_up(self._settings) + b"\0")
        else:
            self._let_in(b"")

    def _let_in(self, news: bytes) -> None:
        *_, ready = whole(self._welcome)
        self.to_client += self._welcome.removesuffix(ready) + news + ready
        self.listening = True

    def refuse(self, why: str) -> None:
        """See `Conversation`."""
        fields = ("SFATAL", "VFATAL", f"C{NO_CONNECTION}", f"Mcarpool: {why}")
        body = b"".join(each.encode() + b"\0" for each in fields)
        self.to_client += message(ERROR, body + b"\0")
        self.over = True

    # -------------------------------------------------------------- both directions

    def client_said(self, data: bytes) -> None:
        """See `Conversation`."""
        data, found = self._said.take(data)
        for kind, at in found:
            if kind == TERMINATE:
                self.over = True
                data = data[:at]
                break
            if kind in (QUERY, CALL, SYNC):
                self._owed += 1
                self._open = False
            elif kind not in COPYING:
                self._open = True
        self.to_server += data

    def server_said(self, data: bytes) -> None:
        """See `Conversation`."""
        if self._set_up is not None:
            self._set_up += data
            data = self._end_set_up(self._set_up)
        data, found = self._answered.take(data)
        for kind, at in found:
            if kind == READY:
                self._owed -= 1
                self._status = data[at + 5 : at + 6]
        self.to_client += data

    def _end_set_up(self, answer: bytearray) -> bytes:
        """Let the client in when the set-up's answer is there; return what comes after it."""
        if len(answer) > LONGEST_SET_UP:
            raise ValueError("the server does not come to an end")
        _, found = Messages().take(bytes(answer))
        end = next((at + 6 for kind, at in found if kind == READY), None)
        if end is None:
            return b""
        self._set_up = None
        said = whole(bytes(answer[:end]))
        if errors := [each for each in said if each.startswith(ERROR)]:
            self.to_client += errors[0]
            self.over = True
        else:
            self._let_in(b"".join(each for each in said if each.startswith(PASSED_ON)))
        return bytes(answer[end:])

    @property
    def idle(self) -> bool:
        """See `Conversation`."""
        return (
            not self._owed
            and not self._open
            and self._set_up is None
            and self._status == b"I"
            and not self.to_server
            and self._answered.complete
            and (self.over or self._said.complete)
        )

    # ------------------------------------------------------------------ not for here

    def killed(self) -> None:
        """See `Conversation`."""

    def not_ours(self) -> None:
        """See `Conversation`."""


def requested(settings: Mapping[str, str]) -> dict[str, str]:
    r"""Return the settings of a StartupMessage, those in `options` among them.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS

    >>> requested({"options": r"-c geqo=off --search-path=a\ b", "application_name": "psql"})
    {'geqo': 'off', 'search_path': 'a b', 'application_name': 'psql'}
    """
    rest = dict(settings)
    options = re.sub(r"(^|\s)-c\s+", r"\1-c", rest.pop("options", ""))
    words = (re.sub(r"\\(.)", r"\1", each) for each in re.findall(r"(?:\\.|[^\\\s])+", options))
    found = {}
    for word in words:
        parts = re.fullmatch(r"(?:--|-c)([^=]+)=(.*)", word, re.DOTALL)
        if parts is None:
            raise ValueError(f"what {word!r} in the options asks for, only a login can do")
        found[parts[1].replace("-", "_")] = parts[2]
    return found | rest


def set_up(settings: Mapping[str, str]) -> bytes:
    r"""Return a statement that makes settings.

    >>> set_up({"application_name": "o'n\\l"})
    b"SELECT pg_catalog.set_config(E'application_name', E'o''n\\\\l', false)"
    """
    pairs = ", ".join(
        f"pg_catalog.set_config({_literal(name)}, {_literal(value)}, false)"
        for name, value in settings.items()
    )
    return f"SELECT {pairs}".encode()


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
