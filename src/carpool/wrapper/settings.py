"""What the settings of a database say about its pool."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from carpool import options as pool_options
from carpool.errors import OptionsError

if TYPE_CHECKING:
    from carpool.host.handoff import NotShareable
    from carpool.options import Options


def read_options(alias: str, settings_dict: dict[str, Any]) -> Options | None:
    """Read the pool's options of a database; None: it wants no pool.

    Raises ImproperlyConfigured, which names alias, key, what was given and what is allowed.
    """
    given = settings_dict["OPTIONS"].get("pool", True)
    try:
        options = pool_options.parse(given)
    except OptionsError as error:
        raise ImproperlyConfigured(f"DATABASES[{alias!r}]['OPTIONS']['pool']: {error}") from error
    max_age = settings_dict.get("CONN_MAX_AGE", 0)
    if options is not None and max_age != 0:
        raise ImproperlyConfigured(
            "Pooling doesn't support persistent connections. "
            f"DATABASES[{alias!r}]: 'CONN_MAX_AGE' is {max_age!r}; allowed: 0, as the pool keeps "
            "the connections open (see 'max_lifetime' and 'max_idle'), or no pool: "
            "'OPTIONS': {'pool': False}"
        )
    if options is not None and options.mode == "statement" and not settings_dict["AUTOCOMMIT"]:
        raise ImproperlyConfigured(
            f"DATABASES[{alias!r}]['OPTIONS']['pool']: 'mode' is 'statement', which allows no "
            "transactions, but 'AUTOCOMMIT' is False; allowed: 'AUTOCOMMIT': True, or another mode"
        )
    return options


def is_refused(alias: str, settings_dict: dict[str, Any]) -> bool:
    """Tell whether `read_options` raises."""
    try:
        read_options(alias, settings_dict)
    except ImproperlyConfigured:
        return True
    return False


def refuse_mode(alias: str, mode: str, driver: Any) -> ImproperlyConfigured:
    """Return the error for a mode that a driver cannot serve."""
    allowed = ", ".join(map(repr, driver.modes))
    return ImproperlyConfigured(
        f"DATABASES[{alias!r}]['OPTIONS']['pool']: 'mode' is {mode!r}; allowed with "
        f"{type(driver).__name__}: {allowed}, as it cannot tell what a statement leaves in a "
        "session, so a connection could never be given back before the end of a request"
    )


def refuse_share(alias: str, reason: NotShareable) -> ImproperlyConfigured:
    """Return the error for connections that the processes of a host cannot share."""
    return ImproperlyConfigured(
        f"DATABASES[{alias!r}]['OPTIONS']['pool']: 'share' is 'host', which cannot be here: "
        f"{reason}. 'share': 'process' is always allowed"
    )


# The settings that connections are made with; a change of one of them means another pool.
PARAMETERS = itemgetter(
    "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS", "AUTOCOMMIT", "TIME_ZONE"
)


def copied(value: Any) -> Any:
    """Copy the containers of a settings dict, to see later whether anything has changed."""
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    if isinstance(value, list):
        return [copied(each) for each in value]
    return value
