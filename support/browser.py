"""A real browser without a window: Chromium as the system has it, driven by Playwright.

    with browser() as chromium:
        page = chromium.new_page()

Nothing is downloaded: Playwright's own browsers are not used. For the thread that enters it; while
it is open, an event loop counts as running there, so Django's ORM refuses to work in that thread.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.servers import NotInstalled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """Return the path of the system's Chromium. Raises NotInstalled."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise NotInstalled(
        "Chromium is not installed: apt-get install chromium (support/system-packages)"
    )


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a Chromium for as long as the block runs. Raises NotInstalled."""
    program = executable()
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - may be missing
    except ImportError:
        raise NotInstalled("Playwright is not installed: pip install playwright") from None
    # As root Chromium wants no sandbox; containers have little /dev/shm.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield started
        finally:
            started.close()
