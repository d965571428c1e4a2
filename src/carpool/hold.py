"""`carpool.session()`: one connection for a whole block, whatever the pool's mode."""

from __future__ import annotations

from contextlib import ContextDecorator
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

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
        self._block: AbstractContextManager[None] | None = None

    def _recreate_cm(self) -> session:
        """Give each call of a decorated function a block of its own."""
        return type(self)(self.using)

    def __call__(self, function: F) -> F:
        """Decorate a function."""
        if iscoroutinefunction(function):
            raise TypeError(
                f"{function.__qualname__} is asynchronous: its statements are executed in another "
                "thread. Decorate a plain function that executes them, and call it by sync_to_async"
            )
        return super().__call__(function)

    def __enter__(self) -> None:
        from django.db import DEFAULT_DB_ALIAS, connections  # noqa: PLC0415 - needs the settings

        from carpool.wrapper import Pooled  # noqa: PLC0415 - needs Django

        connection = connections[self.using or DEFAULT_DB_ALIAS]
        if isinstance(connection, Pooled):
            self._block = connection.session()
            self._block.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block, self._block = self._block, None
        if block is not None:
            block.__exit__(kind, error, traceback)
