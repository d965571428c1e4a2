"""What `connection.connection` is while no connection is held."""

from __future__ import annotations

from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from carpool.wrapper.leases import ShortLeases


# What monitoring looks at: facts about the connection that need no server and change nothing.
_HARMLESS: Final = {
    *("closed", "dsn", "encoding", "get_dsn_parameters", "info", "server_version", "thread_id"),
    *("get_host_info", "get_server_info", "host_info", "open", "port", "user", "host", "db"),
}


class StandIn:
    """Stands for the database module's connection between two leases.

    Who does something to it, past Django, gets a connection that stays until the request ends:
    nobody else can tell how long it is needed. Who only looks is told of the one used last.
    """

    __slots__ = ("_wrapper",)
    _wrapper: ShortLeases

    def __init__(self, wrapper: ShortLeases) -> None:
        object.__setattr__(self, "_wrapper", wrapper)

    def __getattr__(self, name: str) -> Any:
        known = self._wrapper.known()
        if known is not None and (name in _HARMLESS or not _has(known, name)):
            return getattr(known, name)  # which raises if there is none
        return getattr(self._wrapper.raw(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._wrapper.raw(), name, value)

    def __enter__(self) -> Any:
        return self._wrapper.raw().__enter__()

    def __exit__(self, *exc: object) -> Any:
        return self._wrapper.raw().__exit__(*exc)

    @property  # type: ignore[misc] # what `isinstance` asks; nobody sets it here
    def __class__(self) -> Any:
        known = self._wrapper.known()
        return StandIn if known is None else type(known)


def _has(connection: Any, name: str) -> bool:
    """Tell whether there is such an attribute, without asking for its value."""
    return getattr_static(connection, name, _has) is not _has or hasattr(type(connection), name)
