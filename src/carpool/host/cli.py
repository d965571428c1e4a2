"""The commands `carpool broker ...`: looking at the broker, and telling it what to do."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from carpool.host import control, places, report, start, systemd, urls
from carpool.host.places import NoBroker
from carpool.telemetry.text import counted

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carpool.host.places import Place

TIMEOUT = 10.0  # seconds for an answer
PATIENCE = 60.0  # seconds for a broker to end, or to start
LOOK = 0.1  # seconds between two looks at what is waited for
LINGER = 300.0  # where a broker does not say

EXAMPLES = """\
examples:
  carpool broker status               what every pool and every process has
  carpool broker top                  the same, and leases per second, until q or Ctrl-C
  carpool broker pause shop           before moving the database; back with: resume shop
  psql "$(carpool broker url shop)"   a session of the pool's for any client
"""


def add_command(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Teach a parser `broker` and its commands; what it parses is for `run`."""
    broker = commands.add_parser(
        "broker",
        help="look after the broker, which owns the connections of pools with share: host",
        description="Look after the broker of this user: the process that owns the connections\n"
        "of pools with share: host, and lends them to workers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = broker.add_subparsers(metavar="COMMAND", required=True)
    for name, (does, description) in COMMANDS.items():
        command = commands.add_parser(name, help=description, description=description)
        command.set_defaults(does=does, command=name)
        command.add_argument(
            "--directory",
            metavar="DIR",
            help="the broker's directory; default: CARPOOL_DIR in the environment, else"
            " $XDG_RUNTIME_DIR/carpool, else a private one for temporary files",
        )
        if name not in ("systemd", "url"):
            command.add_argument("--json", action="store_true", help="print JSON, for programs")
        if name in ("drain", "pause", "resume"):
            command.add_argument("pool", nargs="?", help="a pool's name or id; default: all")
        if name == "url":
            command.add_argument("pool", help="a pool's name or id; in manage.py also an alias")
        if name == "pause":
            command.add_argument("--no-wait", action="store_true", help="return at once")
        if name == "top":
            command.add_argument("--count", type=int, metavar="N", help="end after N seconds")


class Failed(Exception):
    """What was asked for has not been done; the text says why, `code` is the exit code."""

    def __init__(self, why: str, code: int = 1) -> None:
        super().__init__(why)
        self.code = code


def run(given: Namespace) -> int:
    """Do what was parsed, and tell what fails; return the exit code."""
    try:
        return do(given)
    except Failed as error:
        print(f"carpool: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return error.code


def do(given: Namespace) -> int:
    """Do what was parsed; return the exit code. Raises `Failed`."""
    does: Callable[[Namespace], int] = given.does
    try:
        return does(given)
    except NoBroker as error:
        raise Failed(str(error)) from error
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # such as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def say(text: str) -> None:
    """Print at once, also into a log or a pipe."""
    print(text, flush=True)  # noqa: T201 - a command's output


# ------------------------------------------------------------------- asking


def ask(place: Place, want: str, **more: str) -> dict[str, Any]:
    """Return the broker's answer. Raises `NoBroker`, also if it refuses."""
    request = {"version": place.folder.name, "want": want, **more}
    try:
        answer = control.ask(place, request, TIMEOUT)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoBroker(f"no broker is running in {place.folder}{_elsewhere(place)}") from None
    except (OSError, ValueError) as error:
        raise NoBroker(f"the broker in {place.folder} does not answer: {error}") from error
    if not answer.get("ok"):
        raise NoBroker(f"the broker refuses: {_reason(answer)}")
    return answer


def _reason(answer: dict[str, Any]) -> str:
    error = answer.get("error", {})
    return " ".join(map(str, error.get("args", ()))) or str(error.get("class"))


def _elsewhere(place: Place) -> str:
    """Name the brokers in other directories, of which the workers may use one."""
    found: list[Path] = []
    for root in dict.fromkeys((place.root, *places.defaults())):
        with suppress(OSError):
            found += start.brokers(root)
    if not found:
        return "; the first process that needs one starts it"
    return "; there is one in " + " and in ".join(map(str, found))


def pools_named(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the pools with an id, a name or a database. Raises `NoBroker` if there is none."""
    pools: list[dict[str, Any]] = answer["pools"]
    for key in ("id", "name", "database"):
        if found := [each for each in pools if each.get(key) == name]:
            return found
    known = ", ".join(map(_described, pools)) or "none"
    raise NoBroker(f"there is no pool {name!r}; pools there are: {known}")


def one_pool(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the pool with an id, a name or a database. Raises `NoBroker` if it is not one."""
    found = pools_named(answer, name)
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        raise NoBroker(f"{len(found)} pools are called {name}; name one by its id: {ids}")
    return found[0]


def _described(pool: dict[str, Any]) -> str:
    return f"{pool['name']} ({pool['id']})"


# ------------------------------------------------------------------ looking


def _status(given: Namespace) -> int:
    answer = ask(places.find(given.directory), "status")
    say(json.dumps(answer, indent=2) if given.json else "\n".join(report.lines(answer)))
    return 0


def _top(given: Namespace) -> int:
    from carpool.host.screen import Screen  # noqa: PLC0415 - it needs a Unix terminal

    place = places.find(given.directory)
    with Screen() as screen:
        for number, (answer, rates) in enumerate(_samples(place, screen.wait), 1):
            if given.json:
                say(json.dumps(answer))
            else:
                screen.show("\n".join(report.lines(answer, rates)))
            if number == given.count:
                break
    return 0


def _samples(
    place: Place, wait: Callable[[float], bool]
) -> Iterator[tuple[dict[str, Any], report.Rates]]:
    """Yield a status each second, and what was leased in it; ends when waiting is ended."""
    before, then = ask(place, "status"), time.monotonic()
    while wait(1.0):
        answer, now = ask(place, "status"), time.monotonic()
        yield answer, report.rates(before, answer, now - then)
        before, then = answer, now


def _url(given: Namespace) -> int:
    answer = ask(places.find(given.directory), "status")
    say(urls.command_for(one_pool(answer, given.pool)))
    return 0


# ------------------------------------------------------------------ telling


def _tell(given: Namespace, said: str) -> list[str]:
    """Have the broker do a command to the pools that are meant; return their ids."""
    place = places.find(given.directory)
    status = ask(place, "status")
    if given.pool is None:
        meant, answer = status["pools"], ask(place, given.command)
    else:
        meant = [one_pool(status, given.pool)]
        answer = ask(place, given.command, pool=meant[0]["id"])
    if given.json:
        say(json.dumps(answer))
    else:
        names = ", ".join(map(_described, meant))
        say(f"{said} {names}" if meant else f"There are no pools to {given.command}")
    return [each["id"] for each in meant]


def _drain(given: Namespace) -> int:
    _tell(given, "Idle connections are replaced now, others as they are given back:")
    return 0


def _resume(given: Namespace) -> int:
    _tell(given, "Resumed:")
    return 0


def _pause(given: Namespace) -> int:
    paused = _tell(given, "Paused, who asks for a connection waits until `resume`:")
    if paused and not given.no_wait:
        _wait_for_leases(given, paused)
    return 0


def _wait_for_leases(given: Namespace, ids: list[str]) -> None:
    """Return when all connections of some pools are back, as PgBouncer's PAUSE does.

    Raises `NoBroker` if somebody resumes one.
    """
    place, told = places.find(given.directory), None
    while leased := _leased(ask(place, "status"), ids):
        if leased != told and not given.json:
            say(f"waiting for {counted(leased, 'connection')} in use")
        told = leased
        time.sleep(LOOK)
    if not given.json:
        say("No connection is in use")


def _leased(answer: dict[str, Any], ids: list[str]) -> int:
    pools = [each for each in answer["pools"] if each["id"] in ids]
    if resumed := ", ".join(_described(each) for each in pools if not each["paused"]):
        raise NoBroker(f"somebody has resumed {resumed}")
    return sum(each["leased"] for each in pools)


def _stop(given: Namespace) -> int:
    pid = _stopped(places.find(given.directory))["broker"]["pid"]
    if given.json:
        say(json.dumps({"ok": True, "stopped": pid}))
    else:
        say(f"The broker with pid {pid} has ended; the next process that needs one starts it")
    return 0


def _stopped(place: Place) -> dict[str, Any]:
    """End the broker; return what its last status was."""
    from carpool.host.lock import holder  # noqa: PLC0415 - it needs Unix

    status = ask(place, "status")
    pid = status["broker"]["pid"]
    ask(place, "stop")
    deadline = time.monotonic() + PATIENCE
    while holder(place) == pid:
        if time.monotonic() > deadline:
            raise NoBroker(f"the broker with pid {pid} does not end; its log is {place.log}")
        time.sleep(LOOK)
    return status


def _restart(given: Namespace) -> int:
    place = places.find(given.directory)
    before = _stopped(place)["broker"]
    start.connect(place, before.get("linger", LINGER), PATIENCE).close()
    after = ask(place, "status")["broker"]
    if given.json:
        say(json.dumps({"ok": True, "stopped": before["pid"], "started": after["pid"]}))
    else:
        say(f"The broker with pid {before['pid']} has ended, one with pid {after['pid']} is up")
    return 0


def _systemd(given: Namespace) -> int:
    say(systemd.instructions(given.directory or os.environ.get("CARPOOL_DIR")))
    return 0


COMMANDS: dict[str, tuple[Callable[[Namespace], int], str]] = {
    "status": (_status, "show the connections of every pool, and who has them"),
    "top": (_top, "the same every second, with leases per second; q or Ctrl-C ends it"),
    "drain": (_drain, "replace all connections, as they become idle"),
    "pause": (_pause, "lend nothing more, and wait until all that is lent is back"),
    "resume": (_resume, "lend again"),
    "stop": (_stop, "end the broker; requests that have a connection keep it"),
    "restart": (_restart, "end the broker and start another, such as after an upgrade"),
    "url": (_url, "print how psql or mysql gets a connection out of a pool"),
    "systemd": (_systemd, "print units with which systemd runs the broker, and where they go"),
}
