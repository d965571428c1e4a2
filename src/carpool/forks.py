"""Tells those who have to know that this process is a forked child, also when uWSGI has forked it.

uWSGI forks its workers in C, without Python's knowledge: nothing that `os.register_at_fork` has
been given is called there, and no thread can be paused before.
https://uwsgi-docs.readthedocs.io/en/latest/PythonDecorators.html
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_in_child: list[Callable[[], object]] = []
_master = 0  # the pid of uWSGI's master, if there is one


def after_in_child(function: Callable[[], object]) -> None:
    """Call a function in every forked child, in the order in which they were given.

    It may be called twice, where both Python and uWSGI tell of a fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    _in_child.append(function)


def may_come_at_any_time() -> bool:
    """Tell whether this process is forked without asking, whatever its threads are at.

    As uWSGI's master is: if a thread runs Python at that moment, the child has its hold of the
    interpreter, but not the thread, and waits for good. So none may work there by itself.
    """
    return _master == os.getpid()


def _forked_by_uwsgi() -> None:
    for function in _in_child:
        function()


def _ask_uwsgi() -> None:
    global _master  # noqa: PLW0603 - there is one
    try:
        import uwsgi  # noqa: PLC0415 - it is there within uWSGI's processes alone
    except ImportError:
        return
    _master = uwsgi.masterpid()
    if _master:
        import uwsgidecorators  # noqa: PLC0415 - it keeps the one hook that uWSGI has, for all

        uwsgidecorators.postfork(_forked_by_uwsgi)
    else:  # then uwsgidecorators refuses to be imported
        uwsgi.post_fork_hook = _forked_by_uwsgi


_ask_uwsgi()
