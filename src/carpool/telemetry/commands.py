"""The commands that look at the pools of all processes of this host, and give them orders.

`carpool` and `manage.py carpool` both have them. Exit statuses: see docs/commands.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from functools import partial, wraps
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from carpool.errors import OptionsError, PoolError
from carpool.host.cli import Failed
from carpool.host.places import NoBroker
from carpool.telemetry import advise, health, orders, progress, status
from carpool.telemetry.gather import gather
from carpool.telemetry.progress import Order, Undone
from carpool.telemetry.text import WIDTH, counted, printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction
    from collections.abc import Callable

    from carpool.telemetry.figures import Report, Total
    from carpool.telemetry.health import Servers

LOOK = 0.2  # seconds between two looks at what is waited for
EVERY = 2.0  # seconds, where `--watch` does not say
ASK = 15.0  # seconds for which a server's answer is good; each opens a session
MORE = 'pip install "django-carpool[top]" shows more, and takes orders by keys'
NO_TERMINAL = "top needs a terminal; this is what `carpool status --watch 1` prints"

DIRECTORY = """\
the directory in which processes tell of their pools; default: CARPOOL_DIR in the environment, else
$XDG_RUNTIME_DIR/carpool, else a private one for temporary files"""
POOL = "a pool's name, its database, or the alias of one that uses it"


class Command(NamedTuple):
    """One command."""

    does: Callable[[Namespace], int]
    summary: str
    examples: str
    takes: Callable[[ArgumentParser], None]


def add_commands(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Teach a parser the commands; `carpool.host.cli.run` does what it parses."""
    for name, (does, summary, examples, takes) in COMMANDS.items():
        command = add_command(commands, name, does, summary, examples)
        takes(command)


def add_command(
    commands: _SubParsersAction[ArgumentParser],
    name: str,
    does: Callable[[Namespace], int],
    summary: str,
    examples: str,
) -> ArgumentParser:
    """Return a new command, which has `--directory` and in `servers` a function to ask them.

    `manage.py` knows the servers and what is wrong in the settings (`faults`); `carpool` knows
    none. There `alias` is what was said for the pool.
    """
    command = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(does=_refusable(does), command=name, servers=dict, faults=list, alias=None)
    command.add_argument("--directory", metavar="DIR", help=DIRECTORY)
    return command


def _refusable(does: Callable[[Namespace], int]) -> Callable[[Namespace], int]:
    """Have what cannot be done raise `Failed`, which knows the exit status."""

    @wraps(does)
    def done(given: Namespace) -> int:
        try:
            return does(given)
        except orders.NoSuchPool as error:  # lists pools in lines
            raise Failed(str(error), health.UNKNOWN) from error
        except (NoBroker, OptionsError) as error:
            raise Failed(printable(str(error)), health.UNKNOWN) from error
        except (PoolError, OSError, ValueError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise Failed(printable(str(error)), health.WRONG) from error

    return done


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's output, at once also into a log


# ------------------------------------------------------------------ looking


def _takes_what_to_show(command: ArgumentParser) -> None:
    command.add_argument("pool", nargs="?", help=f"{POOL}; default: all pools")
    command.add_argument("--json", action="store_true", help="print JSON, for programs")
    command.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=EVERY,
        metavar="SECONDS",
        help=f"again and again, every {EVERY:g} seconds or so many; q or Ctrl-C ends it",
    )


def _seconds(text: str) -> float:
    seconds = float(text)  # argparse tells of a ValueError
    if not 0.1 <= seconds < 1e6:  # noqa: PLR2004 - time to look; and what select() takes
        raise argparse.ArgumentTypeError(f"{text}: 0.1 or more, please")
    return seconds


def _status(given: Namespace) -> int:
    if given.watch:
        return _watch(given, given.watch)
    report, servers = _looked(given), given.servers()
    if given.json:
        _say(json.dumps(status.document(report, servers), indent=2))
    else:
        _say("\n".join(status.lines(report, servers, _width())))
    return health.exit_status(report, health.problems(report, servers))


def _watch(given: Namespace, every: float, hint: str = "") -> int:
    """Show the status until q is pressed; return the exit status for what was shown last."""
    from carpool.host.screen import Screen  # noqa: PLC0415 - it needs a Unix terminal

    asked = -ASK
    with Screen() as screen:
        while True:
            report = _looked(given)
            if time.monotonic() - asked >= ASK:
                servers, asked = given.servers(), time.monotonic()
            if given.json:
                _say(json.dumps(status.document(report, servers)))
            else:
                screen.show("\n".join([hint] * bool(hint) + _shown(report, servers)))
            if not screen.wait(every):
                return health.exit_status(report, health.problems(report, servers))


def _shown(report: Report, servers: Servers) -> list[str]:
    return list(status.watched(report, servers, _width()))


def _looked(given: Namespace) -> Report:
    """Return the report, of one pool if one is named. Raises `NoBroker` and `NoSuchPool`."""
    report = gather(given.directory)
    pools = report["pools"] if given.pool is None else [_found(report, given)]
    return {**report, "pools": pools, "faults": [*report["faults"], *given.faults()]}


def _found(report: Report, given: Namespace) -> Total:
    return orders.find(report, given.pool, given.alias)


def _takes_a_deployment(command: ArgumentParser) -> None:
    command.add_argument("pool", nargs="?", help=f"{POOL}; default: all pools")
    command.add_argument("--json", action="store_true", help="print JSON, for programs")
    advise.add_arguments(command)


def _advise(given: Namespace) -> int:
    report, servers, where = _looked(given), given.servers(), advise.deployment(given)
    if given.json:
        _say(json.dumps(advise.document(report, servers, where), indent=2))
    else:
        _say("\n".join(advise.lines(report, servers, where, _width())))
    return health.WELL


def _width() -> int:
    """Return how wide a line may be: 80 columns, more in a terminal that has more."""
    columns = shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else WIDTH
    return max(WIDTH, columns)


def _takes_nothing(command: ArgumentParser) -> None:
    command.set_defaults(pool=None, json=False)


def _top(given: Namespace) -> int:
    if not all(
        each.isatty() for each in (sys.stdin, sys.stdout, sys.stderr)
    ):  # Textual's is the last
        print(f"carpool: {NO_TERMINAL}", file=sys.stderr)  # noqa: T201 - a command's output
        return _watch(given, 1.0)
    try:
        from carpool.telemetry.top import Top  # noqa: PLC0415 - it needs an extra
    except ImportError:
        return _watch(given, 1.0, MORE)
    look = partial(gather, given.directory)
    look()  # what is refused is told in the terminal as it is
    top = Top(look, lambda verb, pool, sizes: orders.give(given.directory, verb, pool, sizes=sizes))
    top.run()
    return top.return_code or 0


# ------------------------------------------------------------------ ordering


def _takes_an_order(command: ArgumentParser) -> None:
    command.add_argument("pool", help=POOL)
    command.add_argument("--no-wait", action="store_true", help="return once the order is given")
    command.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="how long to wait for all processes; the order stands after that, too",
    )
    command.add_argument("--json", action="store_true", help="print the outcome as JSON")


def _takes_sizes(command: ArgumentParser) -> None:
    _takes_an_order(command)
    command.add_argument("min", help="connections that are kept open in each process")
    command.add_argument("max", help="most connections of each process; with share: host, of all")


def _order(given: Namespace) -> int:
    sizes = progress.sizes(given.min, given.max) if given.command == "resize" else None
    pool = _found(gather(given.directory), given)
    was_paused = _is_paused(given.directory, pool)
    number = orders.give(given.directory, given.command, pool["name"], sizes=sizes)
    order = Order(given.command, pool["name"], number, sizes, was_paused)
    _tell(given, f"Order given to {order.verb} {order.pool} ({_processes(pool)})")
    if given.no_wait:
        return _over(given, order, pool, "")
    try:
        return _wait(given, order)
    except KeyboardInterrupt:
        _tell(given, "")  # leaves the line that shows ^C
        _tell(given, f"The order to {order.verb} stands; nobody waits for it any more")
        return 130


def _is_paused(directory: str | None, pool: Total) -> bool | None:
    """Tell whether a pool is paused, or will be once its processes have looked; None: unknown."""
    try:
        ordered = orders.of(directory, pool["name"])
    except ValueError:  # damaged; to give the next order mends that
        return None
    return health.is_paused(pool) or bool(ordered and ordered["paused"])


def _wait(given: Namespace, order: Order) -> int:
    """Wait until all have obeyed, telling of each change; return the exit status."""
    told, deadline = "", time.monotonic() + (given.timeout or float("inf"))
    while pool := _pool(given.directory, order.pool):
        try:
            waits_for = progress.waits_for(order, pool)
        except Undone as error:
            return _over(given, order, pool, str(error))
        if not waits_for:
            break
        if time.monotonic() > deadline:
            seconds = f"{given.timeout:g} s"
            return _over(given, order, pool, f"not done within {seconds} (it stands): {waits_for}")
        if waits_for != told:
            _tell(given, waits_for)
        told = waits_for
        time.sleep(LOOK)
    if pool is not None:
        _tell(given, progress.outcome(order, pool))
    return _over(given, order, pool, "")


def _pool(directory: str | None, name: str) -> Total | None:
    """Return a pool; None: no process has it any more, so none is left to wait for."""
    found = (pool for pool in gather(directory)["pools"] if pool["name"] == name)
    return next(found, None)


def _processes(pool: Total) -> str:
    return counted(len(pool["parts"]), "process")


def _tell(given: Namespace, text: str) -> None:
    if not given.json:
        _say(
            "\n".join(
                wrap(
                    printable(text),
                    _width(),
                    subsequent_indent="  ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
        )


def _over(given: Namespace, order: Order, pool: Total | None, fault: str) -> int:
    """Tell how it ended, which is a `fault` if it is not ""; return the exit status."""
    if given.json:
        pids = [part["pid"] for part in pool["parts"]] if pool else []
        _say(json.dumps({"ok": not fault, **order._asdict(), "processes": pids, "fault": fault}))
    elif fault:
        raise Failed(printable(fault), health.WRONG)
    return health.WRONG if fault else health.WELL


COMMANDS = {
    "status": Command(
        _status,
        "show the pools of all processes of this host, and whether all is well",
        """\
  carpool status                      every pool; exit status 0 if all is well
  carpool status shop --json          one pool, for programs
  carpool status --watch 5            again every 5 seconds""",
        _takes_what_to_show,
    ),
    "top": Command(
        _top,
        "show the pools live, with their processes, times and oldest leases",
        """\
  carpool top                         then ? tells the keys""",
        _takes_nothing,
    ),
    "advise": Command(
        _advise,
        "recommend sizes, with the arithmetic, from what the pools did so far",
        """\
  carpool advise                      on each pool
  manage.py carpool advise --hosts 3  knowing the server's limits, for three such hosts""",
        _takes_a_deployment,
    ),
    "drain": Command(
        _order,
        "replace all connections of a pool: idle ones now, others as they are given back",
        """\
  carpool drain shop                  such as after a change on the server
  carpool drain shop --no-wait""",
        _takes_an_order,
    ),
    "pause": Command(
        _order,
        "let new acquires wait, and wait until no connection is open",
        """\
  carpool pause shop && ./fail-over && carpool resume shop
  carpool pause shop --timeout 30 || carpool resume shop""",
        _takes_an_order,
    ),
    "resume": Command(
        _order,
        "let acquires go on after a pause",
        """\
  carpool resume shop""",
        _takes_an_order,
    ),
    "resize": Command(
        _order,
        "give a pool other sizes, until its processes are started anew",
        """\
  carpool resize shop 2 20            2 connections kept open, 20 at most, in each process""",
        _takes_sizes,
    ),
}
