"""What `connection.connection` is while no connection is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carpool.wrapper.transaction import Pooled


class StandIn:
    """Stands for the database module's connection between two leases.

    Who does something to it, past Django, gets a connection that stays until the request ends:
    nobody else can tell how long it is needed.
    """

    __slots__ = ("_wrapper",)
    _wrapper: Pooled

    def __init__(self, wrapper: Pooled) -> None:
        object.__setattr__(self, "_wrapper", wrapper)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapper.raw(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._wrapper.raw(), name, value)

    def __enter__(self) -> Any:
        return self._wrapper.raw().__enter__()

    def __exit__(self, *exc: object) -> Any:
        return self._wrapper.raw().__exit__(*exc)

    @property  # type: ignore[misc] # what `isinstance` asks; nobody sets it here
    def __class__(self) -> Any:
        return self._wrapper.kind()
