"""Connections whose thread ends, or whose process forks, without having given them back."""

from __future__ import annotations

import threading
import weakref
from threading import get_ident
from typing import TYPE_CHECKING

from carpool import forks

if TYPE_CHECKING:
    from carpool.wrapper.session import SessionMode


class _ThreadGuard:
    """Lives in a thread's local storage, and ends with it: then its wrappers hand back.

    A wrapper itself is part of reference cycles, so it would keep its connection until some
    garbage collection.
    """

    def __init__(self) -> None:
        self.wrappers: weakref.WeakSet[SessionMode] = weakref.WeakSet()

    def __del__(self) -> None:
        for wrapper in list(self.wrappers):
            if not wrapper.allow_thread_sharing:
                wrapper.hand_back()


_thread = threading.local()
_wrappers: weakref.WeakSet[SessionMode] = weakref.WeakSet()


def remember(wrapper: SessionMode) -> None:
    """Have a new wrapper let go of its connection in forked children."""
    _wrappers.add(wrapper)


def guard(wrapper: SessionMode) -> None:
    """Have a wrapper's connection handed back when the thread that owns it ends."""
    if wrapper.thread_ident == get_ident():
        try:
            guard = _thread.guard
        except AttributeError:
            guard = _thread.guard = _ThreadGuard()
        guard.wrappers.add(wrapper)


def others_of_thread(wrapper: SessionMode) -> list[SessionMode]:
    """Return the wrappers of the calling thread that have had a connection, but for this one."""
    guard = getattr(_thread, "guard", None)
    return [] if guard is None else [each for each in guard.wrappers if each is not wrapper]


def _in_child() -> None:
    for wrapper in list(_wrappers):
        wrapper.forget_connection()
    _thread.__dict__.clear()  # threads of the parent, this one excepted, do not exist here


forks.after_in_child(_in_child)
