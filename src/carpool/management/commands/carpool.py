"""`manage.py carpool ...`: the commands of `carpool`, which know the settings here."""

from __future__ import annotations

import sys
from argparse import Namespace
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from carpool.__main__ import add_commands
from carpool.errors import PoolError
from carpool.host import cli
from carpool.host.handoff import NotShareable
from carpool.host.home import Lodging
from carpool.host.places import NoBroker
from carpool.management import servers
from carpool.telemetry import ours

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from carpool.options import Options
    from carpool.wrapper.session import SessionMode

    Pooled = dict[str, tuple[SessionMode, Options]]  # by alias


class Command(BaseCommand):
    """Takes the directory from the settings, and aliases of databases for pools."""

    help = "Look after connection pools. A pool may be named by the alias of its database."
    requires_system_checks = ()  # it is for when something is amiss

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the arguments of `carpool`."""
        add_commands(parser)

    def handle(self, *_: object, **options: Any) -> None:
        """Do what `carpool` does. Exits with its exit code."""
        given = Namespace(**options)
        try:
            pooled = ours.pooled()
            given.directory = given.directory or ours.directory()
        except (ImproperlyConfigured, NoBroker) as error:
            raise CommandError(str(error)) from error
        if of_broker := not hasattr(given, "servers"):
            pooled = {key: each for key, each in pooled.items() if each[1].share == "host"}
        if getattr(given, "pool", None) in connections.settings:
            given.pool = _pool(given.pool, pooled, host=of_broker, make=given.command == "url")
        if not of_broker:
            drivers = [(wrapper.pool_driver(), options) for wrapper, options in pooled.values()]
            given.servers = lambda: servers.ask(drivers, given.pool)
        if code := cli.run(given):
            sys.exit(code)


def _pool(alias: str, pooled: Pooled, *, host: bool, make: bool) -> str:
    """Return the name of the pool of an alias; with `make` it is made if it is not there yet."""
    if alias not in pooled:
        share = " with 'share': 'host'" if host else ""
        raise CommandError(f"DATABASES[{alias!r}] has no pool{share}")
    wrapper, options = pooled[alias]
    driver: Any = wrapper.pool_driver()
    if not make:
        return str(options.name or driver.name)
    try:
        lodging = Lodging(driver, options, driver.name)
        return lodging.have(monotonic() + options.timeout).pool
    except (PoolError, NotShareable, driver.operational_error) as error:
        raise CommandError(str(error)) from error
