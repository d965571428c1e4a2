"""Which of a host's pools are this project's. Imports Django."""

from __future__ import annotations

from django.conf import settings
from django.db import connections

from carpool.wrapper.session import SessionMode
from carpool.wrapper.settings import read_options


def names() -> set[str] | None:
    """Return the names of the pools that the settings give; None: there are no settings here.

    Connects to nothing. Raises ImproperlyConfigured where the settings of a database are wrong.
    """
    if not settings.configured:
        return None
    return {name for alias in connections if (name := _name(alias)) is not None}


def _name(alias: str) -> str | None:
    wrapper = connections[alias]
    if not isinstance(wrapper, SessionMode):
        return None
    options = read_options(alias, wrapper.settings_dict)
    driver = wrapper.pool_driver() if options else None
    return None if options is None or driver is None else options.name or driver.name
