"""A panel for django-debug-toolbar: what a request has done with the pools.

Add `"carpool.toolbar.PoolPanel"` to DEBUG_TOOLBAR_PANELS, and `"carpool"` to INSTALLED_APPS, where
its template is found. It listens to the pools while it is enabled for a request, and only then.
"""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from debug_toolbar.panels import Panel
from django.apps import apps
from django.core import checks
from django.db import connections

from carpool.pool import hooks
from carpool.wrapper import Pooled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest, HttpResponse

    from carpool.registry import AnyPool


class Event(NamedTuple):
    """Something that a request has caused in a pool."""

    kind: str
    pool: AnyPool
    thread: int
    at: float  # seconds of the monotonic clock
    connection: int = 0  # its id: who looks on keeps no connection alive
    seconds: float = 0.0  # waited, or held
    reused: bool = False
    reason: str = ""  # of a pin
    aliases: tuple[str, ...] = ()  # that use the pool in this thread


class Use(TypedDict):
    """What one request has done with one pool. Times in milliseconds."""

    aliases: str
    pool: str
    mode: str
    acquires: int
    waited: float
    longest_wait: float
    held: float
    still_held: int
    pins: list[tuple[str, int]]  # reason, how often
    resets: int
    in_vain: int
    new: int  # connections that nobody had had before
    stock: int  # connects that Django would have made without a pool


def uses(events: Iterable[Event], now: float) -> list[Use]:
    """Sum up what happened until `now`, for each pool in the order of their first events."""
    by_pool: dict[AnyPool, list[Event]] = {}
    for event in events:
        by_pool.setdefault(event.pool, []).append(event)
    return [_use(pool, its, now) for pool, its in by_pool.items()]


def _use(pool: AnyPool, events: list[Event], now: float) -> Use:
    by_kind: dict[str, list[Event]] = {kind: [] for kind in KINDS}
    for event in events:
        by_kind[event.kind].append(event)
    acquired, exhausted = by_kind["acquired"], by_kind["exhausted"]
    waits = [each.seconds for each in (*acquired, *exhausted)]
    held, still_held = _held(events, now)
    return {
        "aliases": ", ".join(sorted({alias for each in acquired for alias in each.aliases})),
        "pool": pool.name,
        "mode": pool.options.mode,
        "acquires": len(acquired),
        "waited": sum(waits) * 1e3,
        "longest_wait": max(waits, default=0.0) * 1e3,
        "held": held * 1e3,
        "still_held": still_held,
        "pins": Counter(each.reason for each in by_kind["pinned"]).most_common(),
        "resets": len(by_kind["reset"]),
        "in_vain": len(exhausted),
        "new": sum(not each.reused for each in acquired),
        "stock": _stock_connects(pool.options.mode, acquired),
    }


def _held(events: list[Event], now: float) -> tuple[float, int]:
    """Return for how long connections were held, and how many still are."""
    since: dict[int, float] = {}
    held = 0.0
    for each in events:
        if each.kind == "acquired":
            since[each.connection] = each.at
        elif each.kind == "released" and since.pop(each.connection, None) is not None:
            held += each.seconds
    return held + sum(now - at for at in since.values()), len(since)


def _stock_connects(mode: str, acquired: list[Event]) -> int:
    """Count the connects that Django makes for such a request with CONN_MAX_AGE = 0.

    In session mode each acquire stands for one. In the other modes there are several in what is
    one connection of Django's, which is each thread's own.
    """
    if mode == "session":
        return len(acquired)
    return len({each.thread for each in acquired})


KINDS = ("acquired", "released", "pinned", "reset", "exhausted")

_panel: ContextVar[PoolPanel | None] = ContextVar("carpool_toolbar", default=None)


class PoolPanel(Panel):
    """Shows a request's acquires, waits, pins, resets, and the connects it was spared."""

    title = "Connection pools"
    nav_title = "Pools"
    template = "carpool/toolbar.html"
    is_async = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._events: list[Event] = []  # threads of one request may append at once

    @property
    def nav_subtitle(self) -> str:
        """What is seen without opening it."""
        stats = self.get_stats()  # type: ignore[no-untyped-call] # the toolbar leaves types out
        count = stats["acquires"]
        return f"{count} acquire{'' if count == 1 else 's'}, {stats['waited']:.1f} ms waited"

    # ----------------------------------------------------------------- listening

    def enable_instrumentation(self) -> None:
        """Listen, for the thread or task at hand and what it calls."""
        _panel.set(self)
        for kind in KINDS:
            getattr(hooks, kind).add(getattr(self, f"_{kind}"))

    def disable_instrumentation(self) -> None:
        """Do no longer so."""
        for kind in KINDS:
            getattr(hooks, kind).remove(getattr(self, f"_{kind}"))
        _panel.set(None)

    def _note(self, kind: str, pool: AnyPool, **facts: Any) -> None:
        if _panel.get() is self:  # else it is another request's
            self._events.append(Event(kind, pool, get_ident(), monotonic(), **facts))

    def _acquired(self, pool: AnyPool, connection: object, *, waited: float, reused: bool) -> None:
        facts = {"reused": reused, "aliases": aliases_of(pool)}
        self._note("acquired", pool, connection=id(connection), seconds=waited, **facts)

    def _released(self, pool: AnyPool, connection: object, *, held: float) -> None:
        self._note("released", pool, connection=id(connection), seconds=held)

    def _pinned(self, pool: AnyPool, *, reason: str) -> None:
        self._note("pinned", pool, reason=reason)

    def _reset(self, pool: AnyPool) -> None:
        self._note("reset", pool)

    def _exhausted(self, pool: AnyPool, *, waited: float, error: object) -> None:  # noqa: ARG002 - all listeners are told
        self._note("exhausted", pool, seconds=waited)

    # ------------------------------------------------------------------- showing

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:  # noqa: ARG002 - as the toolbar calls it
        """Sum up."""
        found = uses([*self._events], monotonic())
        self.record_stats(  # type: ignore[no-untyped-call] # likewise
            {
                "uses": found,
                "acquires": sum(each["acquires"] for each in found),
                "waited": sum(each["waited"] for each in found),
            }
        )

    @classmethod
    def run_checks(cls) -> list[checks.CheckMessage]:
        """See to it that the template can be found."""
        if apps.is_installed("carpool"):
            return []
        return [
            checks.Error(
                "the panel of carpool.toolbar has its template in an app that is not installed",
                hint="Add 'carpool' to INSTALLED_APPS.",
                id="carpool.E101",
            )
        ]


def aliases_of(pool: AnyPool) -> tuple[str, ...]:
    """Name the databases of the settings that use a pool in this thread."""
    present = connections.all(initialized_only=True)
    return tuple(each.alias for each in present if isinstance(each, Pooled) and each.wants(pool))
