"""Finds the socket below a connection of python-oracledb, which does not show it.

In thin mode the driver talks to the server through a socket of Python's own, held by its compiled
objects. The garbage collector knows what these hold; no private name is needed to ask it.
https://docs.python.org/3/library/gc.html#gc.get_referents
"""

from __future__ import annotations

import gc
import socket
from typing import Any


def socket_of(connection: Any) -> socket.socket | None:
    """Return the socket of a connection; None in thick mode, where Oracle's libraries have it."""
    seen = set()
    todo = list(vars(connection).values())
    while todo:
        each = todo.pop()
        if isinstance(each, socket.socket):
            return each
        if _is_of_the_driver(each) and id(each) not in seen:
            seen.add(id(each))
            todo += gc.get_referents(each)
    return None


def _is_of_the_driver(each: object) -> bool:
    return type(each).__module__.partition(".")[0] == "oracledb"
