"""`carpool.session()`: one connection for a whole block, whatever the pool's mode."""

from __future__ import annotations

from contextlib import ContextDecorator
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.wrapper import Pooled

    F = TypeVar("F", bound=Callable[..., Any])


class session(ContextDecorator):  # noqa: N801 - it reads as the function it is used as
    """Keep one connection from the first statement of a `with` block to its end.

    For what needs one session beyond a transaction, and shows it in no statement: `LISTEN` loops,
    a function of yours that sets something. In session mode, and with engines that are not
    carpool's, it changes nothing. `using` is the alias, None: the default one. As the connections
    of Django, a block is for the thread that enters it; blocks may be nested. Also a decorator:

        @carpool.session()
        def report(): ...

    Raises TypeError for an asynchronous function: decorate what it runs by `sync_to_async`.
    """

    def __init__(self, using: str | None = None) -> None:
        self.using = using
        self._entered: list[Pooled] = []

    def __call__(self, function: F) -> F:
        """Decorate a function."""
        if iscoroutinefunction(function):
            raise TypeError(
                f"{function.__qualname__} is asynchronous: its statements are executed in another "
                "thread. Decorate a plain function that executes them, and call it by sync_to_async"
            )
        return super().__call__(function)

    def __enter__(self) -> None:
        connection = self._connection()
        if connection is not None:
            connection.begin_session()
            self._entered.append(connection)

    def __exit__(self, *exc: object) -> None:
        if self._entered:
            own = self._connection()
            # A generator may be finished in another thread than the one that began it.
            connection = own if own in self._entered else self._entered[-1]
            self._entered.remove(connection)
            connection.end_session()

    def _connection(self) -> Pooled | None:
        """Return the calling thread's connection, None: one that is not carpool's."""
        from django.db import DEFAULT_DB_ALIAS, connections  # noqa: PLC0415 - needs the settings

        from carpool.wrapper import Pooled  # noqa: PLC0415 - needs Django

        connection = connections[self.using or DEFAULT_DB_ALIAS]
        return connection if isinstance(connection, Pooled) else None
