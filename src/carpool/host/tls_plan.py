"""What a database answers so that TLS to its servers can be spoken elsewhere than in its driver.

It is the function `plan` of the module `tls` in the database's folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from carpool.host.tls_stream import Stream


class Server(Protocol):
    """One server and the TLS that is wanted with it. Equal ones share a local address."""

    @property
    def optional(self) -> bool:
        """Whether it is reached without TLS if it has none."""

    def __hash__(self) -> int: ...

    def socket(self, number: int) -> str:
        """Return the name of a local socket's file which the client library accepts."""

    async def speaks_tls(self, closing: ExitStack) -> bool:
        """Ask the server. Raises `Refused`."""

    async def greet(self, client: Stream, closing: ExitStack) -> Stream | None:
        """Reach the server and pass its client's login on.

        Returns the stream to it when all that follows is passed on as it comes; None if there is
        none, which the client has been told. `closing` hangs up in the end. Raises OSError.
        """


class Plan(Protocol):
    """What connection parameters ask of TLS."""

    @property
    def servers(self) -> Sequence[Server]:
        """Those with which TLS is wanted."""

    def through(self, directory: Path, numbers: Sequence[int]) -> dict[str, Any]:
        """Return the parameters that lead to local sockets, by the numbers of the servers."""

    def without(self) -> dict[str, Any]:
        """Return the parameters of a login in which neither side thinks of TLS."""
