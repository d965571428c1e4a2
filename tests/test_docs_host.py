"""docs/host.md names options, commands, errors and parameters as the code has them."""

import ast
import re

import pytest

from carpool import Options
from carpool.__main__ import parser
from carpool.errors import OptionsError
from carpool.host import __main__ as broker
from carpool.host import cli, handoff
from carpool.options import KNOWN
from tests.probing import ROOT

PAGE = (ROOT / "docs" / "host.md").read_text()
README = (ROOT / "README.md").read_text()
COMMAND = re.compile(r"carpool broker ([a-z]+)")
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
PLACEHOLDER = re.compile(r"%[sdg]")


def section(title):
    """Return what is under a heading, up to the next one that is no lower."""
    (level,) = re.findall(rf"^(#+) {re.escape(title)}$", PAGE, re.MULTILINE)
    rest = PAGE.split(f"\n{level} {title}\n")[1]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """Return a table's rows below its head, as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def texts(path):
    """Yield the texts in a source file, with `…` for what is put into them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                each.value if isinstance(each, ast.Constant) else "…" for each in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield PLACEHOLDER.sub("…", node.value)


# ------------------------------------------------------------------------- options


def test_the_table_has_the_options_of_the_broker():
    named = {name for option, *_ in rows(section("Options")) for name in SPAN.findall(option)}
    of_each_process = {"timeout"}
    assert named == {*handoff.OPTIONS, "broker_dir", "broker_linger"} - of_each_process


def test_all_other_options_are_each_process_own_or_refused():
    (text,) = [each for each in section("Options").split("\n\n") if "each process' own" in each]
    others = KNOWN.keys() - {*handoff.OPTIONS, "broker_dir", "broker_linger", "share"}
    assert set(SPAN.findall(text)) == others | {"timeout"}


@pytest.mark.parametrize("name", ["configure", "credentials"])
def test_what_it_says_to_be_refused_is(name):
    assert f"`{name}`" in section("What is refused")
    with pytest.raises(OptionsError, match=name):
        Options(share="host", **{name: len})


@pytest.mark.parametrize("text", [PAGE, README], ids=["page", "README"])
def test_the_setting_works(text):
    settings = re.findall(r'"OPTIONS": \{"pool": (\{"share".*\})\},', text)
    assert [Options(**ast.literal_eval(each)).share for each in settings] == ["host"]


# ------------------------------------------------------------------------ commands


def test_every_command_is_there_and_no_other():
    table = {SPAN.findall(command)[0].split()[2] for command, *_ in rows(section("Commands"))}
    assert table == set(cli.COMMANDS)
    assert set(COMMAND.findall(PAGE)) == set(cli.COMMANDS)


def commands(beginning):
    lines = [line.removeprefix("$ ") for block in BLOCK.findall(PAGE) for line in block.split("\n")]
    return [line for line in lines if beginning in line]


@pytest.mark.parametrize("line", commands("carpool broker "))
def test_a_command_is_understood(line):
    words = re.split(r"[)|]", line.partition("carpool ")[2])[0].split()
    assert parser().parse_args(words).command == words[1]


@pytest.mark.parametrize("line", commands("-m carpool.host"))
def test_the_broker_is_started_as_shown(line):
    words = line.partition("-m carpool.host ")[2].split()
    assert broker._parser().parse_args(words).foreground


def test_its_flags_are_there():
    for words in (["top", "--count", "3"], ["pause", "--no-wait"], ["status", "--json"]):
        assert words[1] in PAGE
        parser().parse_args(["broker", *words, "--directory", "x"])
    assert "`--log-level`" in PAGE
    for level in ("debug", "info", "warning", "error"):
        broker._parser().parse_args(["--log-level", level])


# -------------------------------------------------------------------------- errors

WRONG = rows(section("When something is wrong"))
QUOTED = [text for cell, *_ in WRONG for text in SPAN.findall(cell)]


@pytest.fixture(scope="module")
def said():
    return [text for path in (ROOT / "src").rglob("*.py") for text in texts(path)]


@pytest.mark.parametrize("quoted", QUOTED)
def test_an_error_has_that_text(said, quoted):
    assert any(quoted in text for text in said)


def test_errors_are_quoted():
    assert len(QUOTED) == len(WRONG)


# ----------------------------------------------------------------------------- TLS


@pytest.mark.parametrize(("kind", "number"), [("postgresql", 0), ("mysql", 1)])
def test_parameters_of_tls_are_known(kind, number):
    row = rows(section("TLS"))[number]
    source = (ROOT / "src" / "carpool" / kind / "tls.py").read_text()
    for span in SPAN.findall(" ".join(row)):
        assert re.search(rf"\b{span.partition('=')[0]}\b", source), span


# --------------------------------------------------------------------------- links


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        if path.startswith("https:"):
            continue
        text = (ROOT / "docs" / path).read_text() if path else PAGE
        heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert not anchor or anchor in anchors, target


def test_the_readme_leads_here():
    assert "(docs/host.md)" in README
