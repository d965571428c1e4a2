"""What is logged can be taken apart by a program, and holds no secret."""

import ast
import json
import logging
import re
from pathlib import Path

import pytest
from django.db import connections
from django.db.utils import OperationalError

import carpool
from tests.conformance.host import broker_directory
from tests.django.asking import run, value
from tests.probing import ROOT, eventually

__all__ = ["broker_directory"]
PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
PASSWORD = "open-sesame"
PARAMETER = "whispered"
DOCS = ROOT / "docs" / "hooks.md"
FOUND = Path(carpool.__file__).parent


class JSONFormatter(logging.Formatter):
    """As many projects have one: the message, and all that is extra."""

    def format(self, record):
        extra = {key: each for key, each in vars(record).items() if key not in PLAIN}
        return json.dumps({"level": record.levelname, "text": super().format(record), **extra})


@pytest.fixture
def logged(tmp_path):
    """Call it for what has been logged so far, as from a file with JSON in each line."""
    path = tmp_path / "log"
    handler = logging.FileHandler(path)
    handler.setFormatter(JSONFormatter())
    logger = logging.getLogger("carpool")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    logger.setLevel(before)
    logger.removeHandler(handler)
    handler.close()
    assert PASSWORD not in path.read_text()
    assert PARAMETER not in path.read_text()


@pytest.fixture
def role(postgres):
    postgres.create_role("logged", PASSWORD)
    yield "logged"
    postgres.kill_sessions(user="logged")
    postgres.query("DROP ROLE logged")


@pytest.fixture
def use(django_databases, database, role):
    """Call it with the pool's options for Django's connection, logged in by a password."""

    def use(password=PASSWORD, **pool):
        entry = database.django(ENGINE="carpool.postgresql", USER=role, PASSWORD=password)
        entry["OPTIONS"] = {"pool": {"name": "shop", **pool}}
        return django_databases(default=entry)["default"]

    yield use
    connections["default"].close()
    connections["default"].close_pool()


@pytest.fixture(params=["process", "host"])
def share(request):
    """Options of the pool for each way to share."""
    if request.param == "process":
        return {}
    directory = request.getfixturevalue("broker_directory")
    return {"share": "host", "broker_dir": directory}


def found(logged, text):
    """Return what was logged with a text, once it has been."""
    return eventually(lambda: [each for each in logged() if text in each["text"]])


def test_a_wrong_password(use, logged):
    connection = use(password=f"not {PASSWORD}")
    with pytest.raises(OperationalError, match="password authentication failed"):
        run(connection, "SELECT %s", [PARAMETER])
    record = found(logged, "connecting failed")[0]
    assert record["level"] == "WARNING"
    assert (record["pool"], record["reason"]) == ("shop", "OperationalError")
    assert record["seconds"] > 0


def test_a_leak(use, logged, share):
    connection = use(leak_warning=0.05, **share)
    run(connection, "SELECT %s", [PARAMETER])
    (record,) = found(logged, "has been held")
    connection.close()
    (back,) = found(logged, "came back")
    for each in (record, back):
        assert (each["level"], each["pool"]) == ("WARNING", "shop")
        assert each["held"] >= 0.05


def test_a_connection_that_was_lost(use, database, logged, share):
    connection = use(**share)
    pid = value(connection, "SELECT pg_backend_pid()")
    run(connection, "SELECT %s", [PARAMETER])
    connection.close()
    database.kill_sessions()
    assert value(connection, "SELECT pg_backend_pid()") != pid
    assert all(each["pool"] == "shop" for each in logged())
    if not share:
        (record,) = found(logged, "dropping an idle connection")
        assert (record["level"], record["reason"]) == ("INFO", "broken")
        assert found(logged, "closing a connection: broken")[0]["reason"] == "broken"


def test_a_pin(use, logged):
    connection = use(mode="transaction")
    run(connection, "SELECT set_config('app.user', %s, false)", [PARAMETER])
    connection.close()
    run(connection, f"CREATE TEMP TABLE note AS SELECT '{PARAMETER}' AS text")
    (first, second) = found(logged, "pins the connection")
    assert {each["pool"] for each in (first, second)} == {"shop"}
    assert [first["reason"], second["reason"]] == ["SET", "temporary table"]


def test_a_reset_that_fails(use, logged):
    def reset(_connection):
        raise RuntimeError("on purpose")

    connection = use(reset=reset)
    run(connection, "SELECT %s", [PARAMETER])
    connection.close()
    (record,) = found(logged, "a reset failed")
    assert (record["pool"], record["reason"]) == ("shop", "reset failed")


def test_work_that_fails(use, logged):
    connection = use()

    def fail():
        raise RuntimeError("on purpose")

    connection.pool._crew.submit(fail)
    (record,) = found(logged, "background work failed")
    assert record["pool"] == "shop"
    assert "on purpose" in record["text"]


def test_the_formatter_of_the_docs():
    (code,) = re.findall(r"```python\n(class JSON.*?)```", DOCS.read_text(), re.DOTALL)
    names = {"logging": logging, "json": json}
    exec(code, names)
    record = logging.makeLogRecord({"msg": "gone", "levelname": "INFO", "pool": "shop", "pid": 7})
    told = json.loads(names["JSONFormatter"]().format(record))
    assert told == {"level": "INFO", "text": "gone", "pool": "shop", "pid": 7}


# ------------------------------------------------------------------- every call

# What is no pool's business, or has a log of its own.
ELSEWHERE = ("web",)


def calls():
    """Yield each call of a logger in the package: where it is, and its keywords."""
    for path in sorted(FOUND.rglob("*.py")):
        where = path.relative_to(FOUND)
        if where.parts[0] in ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"))):
                    yield f"{where}:{node.lineno}", {each.arg for each in node.keywords}


def test_every_call_of_a_logger_has_extra():
    seen = dict(calls())
    assert len(seen) > 20
    assert [where for where, keywords in seen.items() if "extra" not in keywords] == []
