"""docs/commands.md names commands, keys and figures as the code has them."""

import re

import pytest

from carpool.__main__ import parser
from carpool.telemetry import health, orders, status
from carpool.telemetry.commands import COMMANDS
from carpool.telemetry.top import Top
from tests.probing import ROOT
from tests.telemetry.samples import sample_report
from tests.telemetry.test_status import LIMITS, NAME

PAGE = (ROOT / "docs" / "commands.md").read_text()
LINES = re.findall(r"^    (?:\$ )?carpool (.*)$", PAGE, re.MULTILINE)


def test_every_command_is_there_and_no_other():
    table = re.findall(r"^\| `carpool (\w+)", PAGE, re.MULTILINE)
    assert sorted(table) == sorted([*COMMANDS, "broker"])


@pytest.mark.parametrize("line", LINES)
def test_a_command_is_understood(line):
    words = line.partition(" &&")[0].split()
    assert parser().parse_args(words).command == words[0]


def test_the_sample_is_what_is_printed():
    printed = status.lines(sample_report(), {NAME: LIMITS})
    assert "".join(f"    {line}\n" if line else "\n" for line in printed) in PAGE


def test_the_exit_statuses_are_all_there():
    numbers = re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)
    known = [health.WELL, health.WRONG, health.UNKNOWN, health.NOTHING]
    assert numbers == [str(each) for each in known]
    assert f"nothing for {health.STALE:g} seconds" in PAGE


def test_the_largest_size_is_named():
    assert f"`max_size` is {orders.LARGEST:,} at most" in PAGE


def test_the_keys_are_those_of_top():
    named = set(re.findall(r"^\| `(.)` \|", PAGE, re.MULTILINE))
    keys = {key for key, *_ in (each for each in Top.BINDINGS if isinstance(each, tuple))}
    assert named == {"?" if key == "question_mark" else key for key in keys}
