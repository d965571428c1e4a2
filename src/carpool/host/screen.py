"""A terminal that shows one text after the other until somebody presses q; or a plain log."""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

CLEAR = "\x1b[H\x1b[J"  # to the first line; erase from there


class Screen:
    """Where `top` shows itself. Use it in a `with`, so that the terminal is left as it was."""

    def __init__(self) -> None:
        self._clears = sys.stdout.isatty()
        self._keys = self._clears and sys.stdin.isatty()
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if self._keys:
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)  # keys come one by one, and Ctrl-C is a signal still
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keys:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def show(self, text: str) -> None:
        """Show a text; it takes the place of the last one, or follows it in a log."""
        if self._clears:
            height = shutil.get_terminal_size().lines
            text = CLEAR + "\n".join(text.splitlines()[: height - 1])
        else:
            text += "\n"
        print(text, flush=True)  # noqa: T201 - a command's output

    def wait(self, seconds: float) -> bool:
        """Wait; False if q was pressed."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self._keys:
                time.sleep(left)
            elif select.select([sys.stdin], [], [], left)[0] and self._is_over():
                return False
        return True

    @staticmethod
    def _is_over() -> bool:
        pressed = os.read(sys.stdin.fileno(), 64)
        return not pressed or b"q" in pressed.lower()
