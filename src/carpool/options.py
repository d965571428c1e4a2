"""Every option of a pool: its name, type, default and meaning, and how it is checked.

Names, meanings and defaults are psycopg_pool's wherever it has one
(https://www.psycopg.org/psycopg3/docs/api/pool.html); times are in seconds.
"""

from __future__ import annotations

import difflib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from carpool.errors import OptionsError

Hook = Callable[[Any], object]
Credentials = Callable[[], Mapping[str, Any] | str]
Check = Callable[[Any], Any]


def _whole(least: int) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"a whole number of at least {least}")
        return value

    return check


def _seconds(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number of seconds, 0 or more")  # noqa: TRY004 - one kind to catch
    if not math.isfinite(value) or value < 0:
        raise ValueError("a number of seconds, 0 or more")
    return value


def _positive_seconds(value: Any) -> Any:
    if _seconds(value) == 0:
        raise ValueError("a number of seconds above 0")
    return value


def _text(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("a string or None")
    return value


def _resolve(value: Any, allowed: str) -> Any:
    """Turn a dotted path into what it names; callables pass."""
    if isinstance(value, str) and "." in value:
        try:
            value = pkgutil.resolve_name(value)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"{allowed} (importing it failed: {error})") from error
    if callable(value):
        return value
    raise ValueError(allowed)


def _hook(value: Any) -> Any:
    return None if value is None else _resolve(value, "a callable, its dotted path, or None")


RESETS = ("auto", "always", "rollback")


def _reset(value: Any) -> Any:
    if value is None or value in RESETS:
        return value
    return _resolve(value, "'auto', 'always', 'rollback', None, a callable or its dotted path")


MODES = ("session", "transaction", "statement")


def _mode(value: Any) -> Any:
    if value not in MODES:
        raise ValueError(", ".join(map(repr, MODES)))
    return value


SHARES = ("process", "host")


def _share(value: Any) -> Any:
    if value not in SHARES:
        raise ValueError(", ".join(map(repr, SHARES)))
    return value


def option(default: Any, check: Check, kind: str, meaning: str) -> Any:
    """Declare one option; `kind` and `meaning` are what the documentation shows."""
    return field(default=default, metadata={"check": check, "kind": kind, "meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one pool, checked. Immutable; equal options are equal and hash alike.

    Raises `OptionsError`, which names the option, what was given and what is allowed.
    """

    min_size: int = option(
        0, _whole(0), "int", "connections kept open; 0 opens nothing before it is needed"
    )
    max_size: int = option(
        10,
        _whole(1),
        "int",
        "most server connections at any moment, counting those being opened, reset or closed",
    )
    timeout: float = option(
        10.0, _seconds, "seconds", "longest wait for a connection, then `carpool.PoolTimeout`"
    )
    max_waiting: int = option(
        0,
        _whole(0),
        "int",
        "most requests waiting at once, the next gets `carpool.TooManyRequests`; 0: no limit",
    )
    max_lifetime: float = option(
        3600.0,
        _positive_seconds,
        "seconds",
        "age at which a connection is replaced, jittered down by up to 25 %",
    )
    max_idle: float = option(
        600.0, _seconds, "seconds", "idle time after which one above `min_size` is closed"
    )
    reconnect_timeout: float = option(
        300.0,
        _seconds,
        "seconds",
        "how long the pool goes on trying by itself to reach a server that is down",
    )
    num_workers: int = option(
        3, _whole(1), "int", "most threads for background work; started when there is some"
    )
    name: str | None = option(None, _text, "str", "the pool's name in logs and errors")
    configure: Hook | None = option(
        None, _hook, "callable or path", "called with each new connection, before its first use"
    )
    check: Hook | None = option(
        None,
        _hook,
        "callable or path",
        "called with the connection at every acquire; an exception means: broken, take another",
    )
    reset: str | Hook | None = option(
        "auto",
        _reset,
        "str, callable or path",
        "`auto`: clean the session if it may have been touched; `always`; `rollback`: only end an "
        "open transaction; `None`: give it on as it is; or your own, called with the connection",
    )
    check_after: float = option(
        30.0, _seconds, "seconds", "idle time after which a real ping is due, besides the look"
    )
    leak_warning: float = option(
        0.0,
        _seconds,
        "seconds",
        "log a connection held longer, with the stack that acquired it; 0: off",
    )
    credentials: Credentials | None = option(
        None,
        _hook,
        "callable or path",
        "asked at every new connection for its password (a string) or its connection parameters "
        "(a dict): rotating passwords, IAM tokens",
    )
    mode: str = option(
        "session",
        _mode,
        "str",
        "how long a connection is held: `session`, from a request's first query to its end; "
        "`transaction`, during a transaction or a statement outside of one; `statement`, the same "
        "without transactions",
    )
    share: str = option(
        "process",
        _share,
        "str",
        "who shares the pool's connections: the threads of a `process`, or all processes of a "
        "`host` that belong to one user",
    )
    max_per_process: int = option(
        0, _whole(0), "int", "with `share: host`: most connections lent to one process; 0: no limit"
    )
    reserve: int = option(
        0,
        _whole(0),
        "int",
        "with `share: host`: how many of `max_size` are for those who have waited for longer than "
        "`reserve_timeout`",
    )
    reserve_timeout: float = option(1.0, _seconds, "seconds", "with `share: host`: see `reserve`")
    broker_linger: float = option(
        300.0,
        _seconds,
        "seconds",
        "with `share: host`: how long the broker stays, its connections open, when the last "
        "process has gone",
    )
    broker_dir: str | None = option(
        None,
        _text,
        "str",
        "with `share: host`: the directory of the broker's sockets, else `CARPOOL_DIR` of the "
        "environment, `XDG_RUNTIME_DIR/carpool`, or a private one",
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            given = getattr(self, each.name)
            try:
                object.__setattr__(self, each.name, each.metadata["check"](given))
            except ValueError as error:
                raise OptionsError(f"{each.name!r} is {given!r}; allowed: {error}") from error
        if self.min_size > self.max_size:
            raise OptionsError(
                f"'min_size' is {self.min_size}, above 'max_size', which is {self.max_size}; "
                "allowed: at most max_size"
            )
        if self.reserve >= self.max_size:
            raise OptionsError(
                f"'reserve' is {self.reserve}, of 'max_size' {self.max_size}; "
                "allowed: less than max_size"
            )
        if self.share == "host":
            self._check_shared()

    def _check_shared(self) -> None:
        for name in ("configure", "credentials"):
            if getattr(self, name) is not None:
                raise OptionsError(
                    f"{name!r} is set and 'share' is 'host'; allowed: one of them, as the broker "
                    "runs no code of the project's"
                )


KNOWN = {each.name: each for each in fields(Options)}

# What users of other pools bring along, and what says the same here.
ELSEWHERE = {
    "pool_size": "'max_size' (it is the hard limit: pool_size + max_overflow)",
    "max_overflow": "'max_size' (it is the hard limit: pool_size + max_overflow)",
    "recycle": "'max_lifetime'",
    "pool_recycle": "'max_lifetime'",
    "pre_ping": "nothing (the socket is looked at in every acquire; see 'check_after')",
    "pool_pre_ping": "nothing (the socket is looked at in every acquire; see 'check_after')",
    "pool_timeout": "'timeout'",
    "pool_name": "'name'",
    "use_lifo": "nothing (the connection used last is always the next)",
    "pool_use_lifo": "nothing (the connection used last is always the next)",
    "reset_on_return": "'reset'",
    "pool_reset_on_return": "'reset'",
    "open": "nothing (a pool opens itself when it is first needed)",
    "reconnect_failed": "nothing (the logger 'carpool.pool' tells)",
    "kwargs": "the connection's own parameters, beside 'pool' in OPTIONS",
    "connection_class": "nothing (the engine's driver decides)",
    "close_returns": "nothing (closing Django's connection gives it back)",
}


def _unknown(key: object) -> OptionsError:
    if key in ELSEWHERE:
        hint = f"here it is {ELSEWHERE[str(key)]}"
    else:
        near = difflib.get_close_matches(str(key), KNOWN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see below"
    return OptionsError(f"{key!r} is not an option; {hint}; allowed: {', '.join(KNOWN)}")


def parse(value: object) -> Options | None:
    """Read `OPTIONS["pool"]`: True or a dict gives `Options`, False gives None (no pool).

    Raises `OptionsError`.
    """
    if value is True:
        return Options()
    if value is False or value is None:
        return None
    if not isinstance(value, Mapping):
        raise OptionsError(f"it is {value!r}; allowed: True, False, or a dict of options")
    for key in value:
        if key not in KNOWN:
            raise _unknown(key)
    return Options(**value)
