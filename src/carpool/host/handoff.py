"""All that a driver must answer, besides `Driver`, for its connections to be handed over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from carpool.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Mapping

C = TypeVar("C")

# What a process may say of the pool; the rest is its own business.
OPTIONS = (
    "min_size",
    "max_size",
    "timeout",
    "max_waiting",
    "max_lifetime",
    "max_idle",
    "reconnect_timeout",
    "num_workers",
    "name",
    "check_after",
    "max_per_process",
    "reserve",
    "reserve_timeout",
)


class NotShareable(Exception):
    """These connection parameters cannot be served by a broker; the message says why."""


@dataclass(frozen=True, slots=True)
class Shell:
    """A worker's shell has connected."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Some other client has connected, such as psql or mysql."""

    user: str
    database: str
    settings: Mapping[str, str] = field(default_factory=dict)  # that it wants to begin with


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody asks for the statement of a shell to be cancelled, as PostgreSQL's clients do."""

    number: int
    secret: bytes


class Greeter(Protocol):
    """Plays the server's part when a client logs in. Does no I/O. Belongs to one connection."""

    outcome: Shell | Visitor | Cancel | None
    rest: bytes  # what the client has sent after the end of the handshake

    def hello(self) -> bytes:
        """Return what the server says first, maybe nothing."""

    def receive(self, data: bytes) -> bytes:
        """Take in what the client has sent; return the answer.

        Raises ValueError for what is no login, or too long for one.
        """


class Handoff(Driver[C], Protocol[C]):
    """A driver whose connections' sockets can change hands."""

    kind: str  # "postgresql", "mysql"
    relayed: bool  # in the broker: what it lends leads to the broker itself, for the sake of TLS
    errors: Any  # the database module, whose errors the broker tells of by name

    # ------------------------------------------------------------- in the worker

    def login(self) -> dict[str, Any]:
        """Return what a broker needs to log in as this driver does: JSON's types only.

        What depends on this process' environment is resolved. Raises `NotShareable`.
        """

    def make_shell(self, path: str) -> C:
        """Connect to the broker's socket in a directory, as if it were the server."""

    def descriptor(self, connection: C) -> int:
        """Return the number of the connection's socket."""

    def installed(self, connection: C, server_id: int) -> None:
        """Note that another server connection lies under the descriptor now, clean and idle.

        `server_id`: the server's number for it.
        """

    # ------------------------------------------------------------- in the broker

    @classmethod
    def from_login(cls, login: Mapping[str, Any]) -> Handoff[Any]:
        """Make the broker's driver from what `login` returned."""

    def server_id(self, connection: C) -> int:
        """Return the server's number for a connection: PostgreSQL's backend pid, MySQL's thread."""

    def facts(self, connection: C) -> Any:
        """Return what a login tells the client, as taken from a real one."""

    def greeter(self, facts: Any, number: int, secret: bytes) -> Greeter:
        """Return who greets a client; `number` and `secret` are what it would cancel with."""

    def forsake(self, connection: C) -> None:
        """Note that whoever had the connection died with it in use.

        `close` then cancels what runs there, whatever the client library here believes.
        """

    def cancel(self, connection: C, timeout: float) -> None:
        """Cancel what the connection runs now; returns when that is over. Raises nothing."""
