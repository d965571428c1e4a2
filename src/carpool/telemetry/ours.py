"""Which of a host's pools are this project's, as its settings say. Imports Django."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from carpool.host.places import NoBroker
from carpool.wrapper.session import SessionMode
from carpool.wrapper.settings import read_options

if TYPE_CHECKING:
    from carpool.options import Options


def pooled() -> dict[str, tuple[SessionMode, Options]]:
    """Return the databases of this project that have pools, by alias. Connects to nothing.

    One whose settings are wrong is left out: `faults` tells of it.
    """
    return {alias: each for alias, each in _read().items() if not isinstance(each, str)}


def faults() -> list[str]:
    """Tell which databases' settings are wrong, and why."""
    return (
        [each for each in _read().values() if isinstance(each, str)] if settings.configured else []
    )


def _read() -> dict[str, tuple[SessionMode, Options] | str]:
    found: dict[str, tuple[SessionMode, Options] | str] = {}
    for alias in connections:
        try:
            wrapper = connections[alias]
            if isinstance(wrapper, SessionMode):
                options = read_options(alias, wrapper.settings_dict)
                if options is not None:
                    found[alias] = wrapper, options
        except ImproperlyConfigured as error:
            found[alias] = str(error)
    return found


def names() -> set[str] | None:
    """Return the names of the pools that the settings give; None: there are no settings here."""
    if not settings.configured:
        return None
    drivers = [(wrapper.pool_driver(), options) for wrapper, options in pooled().values()]
    return {options.name or driver.name for driver, options in drivers if driver is not None}


def directory() -> str | None:
    """Return the directory that the settings name for boards and brokers; None: the default one.

    Raises `NoBroker` where they name several.
    """
    if not settings.configured:
        return None
    named = {options.broker_dir for _, options in pooled().values()}
    if len(named) > 1:
        raise NoBroker(
            "The databases have pools in several directories (option broker_dir), name one by "
            "--directory: " + ", ".join(sorted(each or "the default (no option)" for each in named))
        )
    return named.pop() if named else None
