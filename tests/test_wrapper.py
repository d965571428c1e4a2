"""What the wrapper does in Django's place follows Django."""

import ast
import inspect
import textwrap

from django.db.backends.base.base import BaseDatabaseWrapper

from carpool.wrapper.session import SessionMode


def assigned(*functions):
    """Return the names of what the functions assign to attributes of `self`."""
    found = set()
    for function in functions:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return found


def test_a_lease_starts_from_all_that_djangos_connect_starts_from():
    djangos = inspect.unwrap(BaseDatabaseWrapper.connect)
    ours = (SessionMode._start, SessionMode._keep_for, SessionMode._take, SessionMode._set_up)
    missed = assigned(djangos) - assigned(*ours)
    assert missed == set()
