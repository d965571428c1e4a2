"""System checks: what is wrong or useless in the settings, and at odds with server or deployment.

`of_settings` connects to nothing; `of_database` asks the server, if it is there. Neither raises.
docs/checks.md has the ids.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's names
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.utils import load_backend

from carpool import registry
from carpool.errors import PoolError
from carpool.host.handoff import NotShareable
from carpool.telemetry import limits, ours
from carpool.wrapper.session import SessionMode
from carpool.wrapper.settings import read_options, refuse_mode, refuse_share

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from carpool.driver import Driver, Limits
    from carpool.options import Options
    from carpool.telemetry.figures import Part

WRONG: Final = "carpool.E001"
PERSISTENT: Final = "carpool.E002"
UNSHAREABLE: Final = "carpool.E003"
USELESS: Final = "carpool.W001"
HEALTH_CHECKS: Final = "carpool.W002"
STOCK_BESIDE: Final = "carpool.W003"
THREADS: Final = "carpool.W004"
NO_ROOM: Final = "carpool.W005"
RELAYED: Final = "carpool.W006"
POOLER: Final = "carpool.W007"
NO_ANSWER: Final = "carpool.W008"
# Ids that say: there is no connection to be had.
UNUSABLE: Final = {WRONG, PERSISTENT, UNSHAREABLE, NO_ANSWER}

LOCAL: Final = {"", "localhost", "127.0.0.1", "::1"}
USUAL_PORTS: Final = {"", "5432", "3306", "1521"}
# https://www.pgbouncer.org/config.html#ignore_startup_parameters
REFUSED_BY_POOLER: Final = "unsupported startup parameter"


def of_settings(**_: object) -> list[CheckMessage]:
    """Check DATABASES alone. Registered with Django where `carpool` is in INSTALLED_APPS."""
    found: list[CheckMessage] = []
    for alias, given in connections.settings.items():
        if _is_pooled(given["ENGINE"]):
            found += _static(alias, given)
    return found


def of_database(connection: Any) -> tuple[list[CheckMessage], bool]:
    """Check a pooled database, with its server; tell as well whether the engine's checks can ask.

    What `of_settings` says of it is not said twice.
    """
    alias, given = connection.alias, connection.settings_dict
    of_settings = list(_static(alias, given))
    found = [] if apps.is_installed("carpool") else of_settings
    if any(each.id in UNUSABLE for each in of_settings):
        return found, False
    options = read_options(alias, given)
    of_server = [] if options is None else list(_asked(connection, options))
    return [*found, *of_server], not any(each.id in UNUSABLE for each in of_server)


def _is_pooled(engine: str) -> bool:
    """Tell whether an engine is one of ours; what cannot be imported Django tells of."""
    try:
        return issubclass(load_backend(engine).DatabaseWrapper, SessionMode)
    except (ImproperlyConfigured, ImportError, AttributeError):
        return False


# ----------------------------------------------------------------------- the settings


def _static(alias: str, given: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield what the settings tell without a connection."""
    try:
        options = read_options(alias, {**given, "CONN_MAX_AGE": 0})
    except ImproperlyConfigured as error:
        hint = "Correct it in the settings; README.md lists the options."
        yield Error(str(error), hint=hint, id=WRONG)
        return
    try:
        read_options(alias, dict(given))
    except ImproperlyConfigured as error:
        hint = "Leave 'CONN_MAX_AGE' out: the pool keeps connections open between requests."
        yield Error(str(error), hint=hint, id=PERSISTENT)
        return
    if options is None:
        return
    given_options = given["OPTIONS"].get("pool")
    if isinstance(given_options, Mapping):
        for name, why, way_out in _useless(given_options, options):
            yield Warning(f"{_at(alias)}: {name!r} {why}", hint=way_out, id=USELESS)
    if given["CONN_HEALTH_CHECKS"]:
        yield Warning(
            f"{_named(alias)}: 'CONN_HEALTH_CHECKS' does nothing with a pool, which looks at the "
            "socket whenever it hands out a connection",
            hint="Leave it out; 'check_after' says when the pool pings, too.",
            id=HEALTH_CHECKS,
        )
    yield from _stock_beside(alias, given)
    yield from _threads(alias, options)


def _named(alias: str) -> str:
    return f"DATABASES[{alias!r}]"


def _at(alias: str) -> str:
    return f"{_named(alias)}['OPTIONS']['pool']"


OF_HOST: Final = ("reserve", "reserve_timeout", "max_per_process", "broker_linger")
LEAVE_OUT: Final = "Leave it out."


def _useless(given: Mapping[str, Any], options: Options) -> Iterator[tuple[str, str, str]]:
    """Yield options that are given and do nothing, or nothing good; why; and the way out."""
    if options.share != "host":
        for name in OF_HOST:
            if name in given:
                why = f"is for 'share': 'host' alone; 'share' is {options.share!r}"
                yield name, why, "Leave it out, or set 'share': 'host' (docs/host.md)."
    elif "reserve_timeout" in given and not options.reserve:
        yield "reserve_timeout", "does nothing: 'reserve' is 0", "Set 'reserve', or leave it out."
    if options.share == "host" and options.max_per_process >= options.max_size:
        why = f"is {options.max_per_process}, no less than 'max_size': it limits nothing"
        yield "max_per_process", why, LEAVE_OUT
    if options.max_waiting and not options.timeout:
        yield "max_waiting", "does nothing: 'timeout' is 0, so nobody ever waits", LEAVE_OUT
    if "max_idle" in given and options.min_size == options.max_size:
        why = "does nothing: as many as 'min_size' stay open, and that is 'max_size'"
        yield "max_idle", why, LEAVE_OUT
    if not options.check_after:
        why = "is 0: a round trip to the server at every acquire, besides the look at the socket"
        yield "check_after", why, "Leave it out: by default it is 30 seconds."


def _stock_beside(alias: str, given: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Look for an alias of the same database whose connections no pool counts."""
    place = _place(given)
    for other, beside in connections.settings.items():
        if other == alias or not place or _place(beside) != place or _is_pooled(beside["ENGINE"]):
            continue
        yield Warning(
            f"{_named(alias)} has a pool, but {_named(other)} connects to the same database "
            f"with {beside['ENGINE']!r}, which has none",
            hint=f"Give {_named(other)} the engine {given['ENGINE']!r}, too: aliases with equal "
            f"parameters share a pool. {_silence(STOCK_BESIDE)}",
            id=STOCK_BESIDE,
        )


def _place(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Name a database as well as the settings alone do; () for one in memory, or without a name."""
    host, port, name = (str(given[key] or "").lower() for key in ("HOST", "PORT", "NAME"))
    if not name or "memory" in name.replace("=", ":").split(":"):
        return ()
    return ("" if host in LOCAL else host, "" if port in USUAL_PORTS else port, str(given["NAME"]))


def _silence(check: str) -> str:
    return f"If it is meant so: SILENCED_SYSTEM_CHECKS = [{check!r}]."


# ------------------------------------------------------------------ the deployment


def _threads(alias: str, options: Options) -> Iterator[CheckMessage]:
    """Compare `max_size` with what is known of threads, each of which holds a connection."""
    if options.mode != "session" or options.share != "process":
        return
    known = [*_of_gunicorn("--threads"), *_of_environment("ASGI_THREADS")]
    known += [(_most_at_once(part), f"process {part['pid']}") for part in _running(alias, options)]
    threads, source = max(known, default=(0, ""))
    if threads <= options.max_size:
        return
    yield Warning(
        f"{_at(alias)}: 'max_size' is {options.max_size}, but there are {threads} threads "
        f"({source}), and in session mode each holds a connection until its request ends",
        hint="Set 'max_size' to the number of threads or 'mode': 'transaction', or let some "
        f"requests wait for others. {_silence(THREADS)}",
        id=THREADS,
    )


def _most_at_once(part: Part) -> int:
    """Return how many threads wanted a connection at once, in a process where some had to wait."""
    figures = part["figures"]
    wanted = figures["peak_leased"] + figures["peak_waiting"]
    return min(part["threads"], wanted) if figures["peak_leased"] >= figures["max_size"] else 0


def _running(alias: str, options: Options) -> list[Part]:
    """Return the parts of this project's processes in a pool; [] where none can be found."""
    if not hasattr(os, "geteuid"):
        return []  # Windows has no board
    from carpool.telemetry.gather import gather  # noqa: PLC0415 - it needs Unix

    settings = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    try:
        pools = gather(options.broker_dir)["pools"]
    except (PoolError, OSError):
        return []
    parts = [part for pool in pools for part in pool["parts"]]
    return [
        part
        for part in parts
        if part["settings"] == settings
        and part["pid"] != os.getpid()
        and alias in part["figures"]["aliases"]
    ]


def _of_gunicorn(*names: str) -> Iterator[tuple[int, str]]:
    """Yield what GUNICORN_CMD_ARGS says; what its own files say nobody can know here."""
    try:
        words = shlex.split(os.environ.get("GUNICORN_CMD_ARGS", ""))
    except ValueError:
        return
    pairs = [word.partition("=")[::2] for word in words if "=" in word]
    for name, value in [*pairs, *pairwise(words)]:
        if name in names and value.isdecimal():
            yield int(value), f"{name} in GUNICORN_CMD_ARGS"


def _of_environment(name: str) -> Iterator[tuple[int, str]]:
    value = os.environ.get(name, "")
    if value.isdecimal():
        yield int(value), f"{name} in the environment"


# ----------------------------------------------------------------------- the server


def _asked(connection: Any, options: Options) -> Iterator[CheckMessage]:
    """Yield what the driver, and then the server, say to the settings."""
    alias = connection.alias
    try:
        driver = connection.pool_driver()
        if driver is None:
            return
        if options.mode not in driver.modes:
            raise refuse_mode(alias, options.mode, driver)
    except ImproperlyConfigured as error:
        text = str(error) if _named(alias) in str(error) else f"{_named(alias)}: {error}"
        yield Error(text, hint="Correct it in the settings.", id=WRONG)
        return
    try:
        if options.share == "host":
            registry.check_shareable(driver)
            driver.login()
        said = limits.asked(driver, options)
    except NotShareable as reason:
        hint = "Set 'share': 'process', or remove the reason (docs/host.md)."
        yield Error(str(refuse_share(alias, reason)), hint=hint, id=UNSHAREABLE)
    except Exception as error:  # noqa: BLE001 - a driver's, or of the user's function of credentials
        yield _no_answer(alias, driver, error)
    else:
        if said is not None:
            yield from _compare(alias, driver, options, said)


def _no_answer(alias: str, driver: Driver[Any], error: Exception) -> CheckMessage:
    text = " ".join(str(error).split()) or type(error).__name__
    if REFUSED_BY_POOLER in text:
        return _behind(alias, f"a connection pooler, which refuses to connect: {text}")
    return Warning(
        f"{_named(alias)}: {driver.name} could not be asked, so nothing was checked there: {text}",
        hint="Start the server, or correct the connection parameters, and check again.",
        id=NO_ANSWER,
    )


def _compare(
    alias: str, driver: Driver[Any], options: Options, said: Limits
) -> Iterator[CheckMessage]:
    """Yield what does not go together with what the server says."""
    yield from _room(alias, driver, options, said)
    if said.tls and options.share == "host":
        yield Warning(
            f"{_named(alias)}: connections use TLS and 'share' is 'host': the broker has to relay "
            "every byte, as the state of TLS cannot be handed to another process",
            hint="Connect by a Unix socket, without TLS in a network of your own, or set 'share': "
            f"'process'. It works as it is, one hop slower. {_silence(RELAYED)}",
            id=RELAYED,
        )
    if said.pooler:
        yield _behind(alias, said.pooler)


FEWER: Final = (
    "Lower 'max_size', raise the server's limit, or have all processes share a pool by "
    "'share': 'host'; `manage.py carpool advise` does the arithmetic."
)


def _room(alias: str, driver: Driver[Any], options: Options, said: Limits) -> Iterator[Warning]:
    processes, source = _processes(alias, options)
    needed = processes * options.max_size
    product = f"{processes} processes ({source}) x " if processes > 1 else ""
    own = f"{product}'max_size' {options.max_size} = {needed}"
    if needed > said.room:
        yield _no_room(f"{_named(alias)}: {own}", said, said.room)
        return
    others = _beside(driver, options)
    together, room = needed + sum(others.values()), max(0, said.max_connections - said.reserved)
    if others and together > room:
        sums = " + ".join(f"{most} ({other!r})" for other, most in others.items())
        text = f"with the other pools of this server that is {needed} + {sums} = {together}"
        yield _no_room(f"{_named(alias)}: {text}", said, room)


def _no_room(needed: str, said: Limits, room: int) -> Warning:
    text = f"{needed} connections, but the server has room for {room} ({_terms(said)})"
    return Warning(text, hint=FEWER, id=NO_ROOM)


def _processes(alias: str, options: Options) -> tuple[int, str]:
    """Return how many pools there are for an alias on this host, and who says so."""
    if options.share == "host":
        return 1, ""
    known = [*_of_gunicorn("-w", "--workers"), *_of_environment("WEB_CONCURRENCY")]
    running = len(_running(alias, options))
    known += [(running, "that run now")] if running else []
    return max(known, default=(1, ""))


def _beside(driver: Driver[Any], options: Options) -> dict[str, int]:
    """Return how many connections other pools of a server may open, by an alias of each."""
    seen: set[Hashable] = {(driver.key, options)}
    found = {}
    for alias, (wrapper, theirs) in ours.pooled().items():
        try:
            other = wrapper.pool_driver()
        except ImproperlyConfigured:
            continue  # its own check tells
        if other is None or (other.key, theirs) in seen:
            continue
        seen.add((other.key, theirs))
        server = limits.address(other.name)
        if server and server == limits.address(driver.name):
            found[alias] = _processes(alias, theirs)[0] * theirs.max_size
    return found


def _terms(said: Limits) -> str:
    terms = [f"max_connections {said.max_connections} - {said.reserved} reserved"]
    for bound, whose in ((said.role_limit, "user"), (said.database_limit, "database")):
        if bound is not None:
            terms.append(f"at most {bound} for the {whose}")
    return ", ".join(terms)


def _behind(alias: str, pooler: str) -> CheckMessage:
    return Warning(
        f"{_named(alias)}: between this pool and the server stands {pooler}",
        hint="One pooler is enough: connect to the server itself, or take the other by 'pool': "
        "False. To keep both, have the other one pool whole sessions (PgBouncer: pool_mode = "
        f"session), and say so by SILENCED_SYSTEM_CHECKS = [{POOLER!r}].",
        id=POOLER,
    )
