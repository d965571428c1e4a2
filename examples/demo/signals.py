"""Ctrl-C and its like end the demo in order: one exception, once, and never in the middle of
starting or stopping something, so that nothing is started which nobody stops."""

import signal
from contextlib import ExitStack, contextmanager

WATCHED = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The user, or whoever runs the demo, wants it to end."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


_caught = 0
_held = 0


def install():
    for number in WATCHED:
        signal.signal(number, _handle)


def _handle(number, _frame):
    global _caught  # noqa: PLW0603 - a process has one set of signal handlers
    if _caught:
        return  # the cleaning up is under way
    _caught = number
    if not _held:
        raise Interrupted(number)


@contextmanager
def held():
    """Let a signal wait until the block is done."""
    global _held  # noqa: PLW0603 - a signal handler reads it
    before = _caught
    _held += 1
    try:
        yield
    finally:
        _held -= 1
    if _caught and not before and not _held:
        raise Interrupted(_caught)


@contextmanager
def whole(start):
    """Enter the context that `start` returns, and leave it, without being interrupted."""
    stack = ExitStack()
    try:
        with held():
            entered = stack.enter_context(start())
        yield entered
    finally:
        with held():
            stack.close()
