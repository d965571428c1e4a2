"""Imports point one way: engines -> wrapper -> pool -> driver protocol."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "carpool"
ENGINES = tuple(f"carpool.{base.parent.name}" for base in PACKAGE.glob("*/base.py"))
DRIVERS = ("psycopg", "MySQLdb", "pymysql", "sqlite3", "oracledb")
# What the modules of a room must not import, by the beginning of the name.
CLOSED = {
    "pool": ("django", *DRIVERS, "carpool.wrapper", "carpool.registry", *ENGINES),
    "driver.py": ("django", *DRIVERS, "carpool"),
    "options.py": ("django", *DRIVERS, "carpool.pool", "carpool.wrapper", *ENGINES),
    "sockets.py": ("django", *DRIVERS, "carpool"),
    "known.py": ("django", *DRIVERS, "carpool"),
    "forks.py": ("django", *DRIVERS, "carpool"),
    "shape.py": ("django", *DRIVERS, "carpool"),
    "keys.py": ("django", *DRIVERS, "carpool"),
    "sessions.py": ("django", *DRIVERS, "carpool.pool", "carpool.wrapper", *ENGINES),
    "registry.py": ("django", *DRIVERS, "carpool.wrapper", *ENGINES),
    "wrapper": (*DRIVERS, *ENGINES),
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("room", CLOSED)
def test_a_room_imports_nothing_from_above(room):
    place = PACKAGE / room
    for path in [place] if place.is_file() else sorted(place.glob("*.py")):
        wrong = [name for name in imports(path) if name.startswith(CLOSED[room])]
        assert not wrong, f"{path} imports {wrong}"
