"""The program `carpool`, also `python -m carpool`: looks after pools, without Django."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from carpool import __version__
from carpool.host import cli
from carpool.telemetry import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """\
examples:
  carpool status                      every pool of every process, and whether all is well
  carpool top                         the same live, with keys for orders
  carpool pause shop                  before moving the database; back with: resume shop
  carpool broker status               the broker of pools with share: host

`manage.py carpool` has the same commands. It knows the settings: aliases, and the servers.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    return cli.run(parser().parse_args(argv))


def parser() -> argparse.ArgumentParser:
    """Return what understands the command line; `carpool.host.cli.run` does what it parses."""
    made = argparse.ArgumentParser(
        prog="carpool",
        description="Look after Django's database connection pools on this host.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"carpool {__version__}")
    add_commands(made)
    return made


def add_commands(
    parser: argparse.ArgumentParser,
    parser_class: type[argparse.ArgumentParser] = argparse.ArgumentParser,
) -> None:
    """Teach a parser all commands; `parser_class` is that of the commands' own parsers."""
    added = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=parser_class)
    commands.add_commands(added)
    cli.add_command(added)


if __name__ == "__main__":
    sys.exit(main())
