"""Which of a host's pools are this project's, as its settings say. Imports Django."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connections

from carpool.host.places import NoBroker
from carpool.wrapper.session import SessionMode
from carpool.wrapper.settings import read_options

if TYPE_CHECKING:
    from carpool.options import Options


def pooled() -> dict[str, tuple[SessionMode, Options]]:
    """Return the databases of this project that have pools, by alias. Connects to nothing.

    Raises ImproperlyConfigured where the settings of a database are wrong.
    """
    found = {}
    for alias in connections:
        wrapper = connections[alias]
        if isinstance(wrapper, SessionMode):
            options = read_options(alias, wrapper.settings_dict)
            if options is not None:
                found[alias] = wrapper, options
    return found


def names() -> set[str] | None:
    """Return the names of the pools that the settings give; None: there are no settings here.

    Raises as `pooled`.
    """
    if not settings.configured:
        return None
    drivers = [(wrapper.pool_driver(), options) for wrapper, options in pooled().values()]
    return {options.name or driver.name for driver, options in drivers if driver is not None}


def directory() -> str | None:
    """Return the directory that the settings name for boards and brokers; None: the default one.

    Raises `NoBroker` where they name several, and as `pooled`.
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
