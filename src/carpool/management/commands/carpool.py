"""`manage.py carpool ...`: the commands of `carpool`, which know the settings here."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, Namespace
from contextlib import redirect_stdout
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from carpool.__main__ import add_commands
from carpool.errors import PoolError
from carpool.host import cli
from carpool.host.handoff import NotShareable
from carpool.host.home import Lodging
from carpool.host.places import NoBroker
from carpool.management import servers
from carpool.telemetry import health, ours

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from carpool.options import Options
    from carpool.wrapper.session import SessionMode

    Pooled = dict[str, tuple[SessionMode, Options]]  # by alias


class Subparser(CommandParser):
    """A command's parser. It takes Django's own options, too, as people put them last."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        for name in ("--settings", "--pythonpath"):
            self._take(name)
        self._take("-v", "--verbosity", type=int, choices=range(4))
        for name in ("--traceback", "--no-color", "--force-color"):
            self._take(name, action="store_true")

    def _take(self, *names: str, **more: Any) -> None:
        # Suppressed, or its default would take the place of what stands before the command.
        self.add_argument(*names, default=SUPPRESS, help=SUPPRESS, **more)


class Command(BaseCommand):
    """Takes the directory from the settings, and aliases of databases for pools."""

    help = "Look after connection pools. A pool may be named by the alias of its database."
    requires_system_checks = ()  # it is for when something is amiss
    _is_program = False  # but called by `call_command`

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the arguments of `carpool`."""
        add_commands(parser, Subparser)

    def run_from_argv(self, argv: list[str]) -> None:
        """Be the program. Exits with the exit status."""
        self._is_program = True
        super().run_from_argv(argv)

    def handle(self, *_: object, **options: Any) -> None:
        """Do what `carpool` does. Raises CommandError with its exit status."""
        given = Namespace(**options)
        self._know_settings(given)
        stdout: Any = self.stdout
        stdout.ending = ""  # it gets all that is printed as it is
        try:
            with redirect_stdout(stdout):
                code = cli.do(given)
        except cli.Failed as error:
            raise CommandError(str(error), returncode=error.code) from error
        if code and self._is_program:
            sys.exit(code)  # all has been said
        if code:
            raise CommandError(f"exit status {code}; the output tells why", returncode=code)

    def _know_settings(self, given: Namespace) -> None:
        """Give a command what the settings tell."""
        try:
            pooled = ours.pooled()
            given.directory = given.directory or ours.directory()
        except (ImproperlyConfigured, NoBroker) as error:
            raise CommandError(str(error), returncode=health.UNKNOWN) from error
        if of_broker := not hasattr(given, "servers"):
            pooled = {key: each for key, each in pooled.items() if each[1].share == "host"}
        if getattr(given, "pool", None) in connections.settings:
            given.alias = given.pool
            given.pool = _pool(given.pool, pooled, host=of_broker, make=given.command == "url")
        if not of_broker:
            drivers = [(wrapper.pool_driver(), options) for wrapper, options in pooled.values()]
            given.servers = lambda: servers.ask(drivers, given.pool)
            given.faults = ours.faults


def _pool(alias: str, pooled: Pooled, *, host: bool, make: bool) -> str:
    """Return the name of the pool of an alias; with `make` it is made if it is not there yet."""
    driver: Any = pooled[alias][0].pool_driver() if alias in pooled else None
    if driver is None:
        share = " with 'share': 'host'" if host else ""
        why = "".join(f": {each}" for each in ours.faults() if repr(alias) in each)
        raise CommandError(
            f"DATABASES[{alias!r}] has no pool{share}{why}", returncode=health.UNKNOWN
        )
    _, options = pooled[alias]
    if not make:
        return str(options.name or driver.name)
    try:
        lodging = Lodging(driver, options, driver.name)
        return lodging.have(monotonic() + options.timeout).pool
    except (PoolError, NotShareable, driver.operational_error) as error:
        raise CommandError(str(error)) from error
