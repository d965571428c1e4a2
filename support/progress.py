"""A bar on a terminal, lines in a log."""

import shutil
import sys

WIDTH = 24


class Progress:
    """Tells on standard output how far some work of `total` steps has come."""

    def __init__(self, total: int) -> None:
        self.done, self.total = 0, total

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        print(text)

    def step(self, text: str) -> None:
        """Announce the step that begins now."""
        if sys.stdout.isatty():
            full = WIDTH * self.done // self.total
            line = f"[{'#' * full}{'.' * (WIDTH - full)}] {text}"
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        else:
            print(f"[{self.done + 1:2}/{self.total}] {text}")
        self.done += 1

    def clear(self) -> None:
        """Take the bar away."""
        if sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)
