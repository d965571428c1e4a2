"""Where a pool of this process lives: the broker that serves it, found or started."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from carpool import __version__
from carpool.errors import PoolError, PoolTimeout
from carpool.host import control, places, start, table
from carpool.host.handoff import OPTIONS
from carpool.host.shell import error_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carpool.host.handoff import Handoff
    from carpool.options import Options

START = 5.0  # seconds that the broker is given to start, however short the timeout
PATIENCE = 10.0  # seconds for a command to be answered


class Home(NamedTuple):
    """What one broker has answered."""

    pool: str  # its id there
    path: str  # where shells connect
    words: memoryview  # the lease table


class Lodging:
    """Finds the home of a pool, and the next one when its broker has gone. Thread-safe.

    Its methods raise `carpool.PoolError` where no broker answers, or what logging in to the server
    raises.
    """

    def __init__(self, driver: Handoff[Any], options: Options, name: str) -> None:
        self.present: Home | None = None
        self._driver = driver
        self._options = options
        self._name = name
        self._login = driver.login()
        self._finding = Lock()  # while one thread looks for the broker, others wait

    def have(self, deadline: float) -> Home:
        """Return the present home, or find one; waits no longer for other threads."""
        with self.kept(deadline) as home:
            return home

    @contextmanager
    def kept(self, deadline: float) -> Iterator[Home]:
        """Give the same to connect to: one found just now stays, whoever else leaves meanwhile."""
        with ExitStack() as keeping:
            yield self.present or self._first(deadline, keeping)

    def _first(self, deadline: float, keeping: ExitStack) -> Home:
        if not self._finding.acquire(timeout=max(0.0, deadline - monotonic())):
            raise PoolTimeout("another thread still waits for the broker's first connection")
        try:
            home = self.present
            if home is None:
                patience = max(START, deadline - monotonic())
                home = self.present = self._find(patience, keeping)
            return home
        finally:
            self._finding.release()

    def lose(self) -> None:
        """Take note that the broker has gone."""
        self.present = None

    def resize(self, options: Options) -> None:
        """Tell the broker of new sizes."""
        self._options = options
        with ExitStack() as keeping:
            self.present = self._find(START, keeping)

    def tell(self, want: str) -> None:
        """Have the broker drain, pause or resume the pool."""
        try:
            self._command(want, self.have(monotonic() + START))
        except (FileNotFoundError, ConnectionError):
            self.lose()  # and its connections with it
        except (OSError, ValueError) as error:
            raise self._silent(error) from error

    def leave(self) -> None:
        """Have the broker close the pool, if nobody else has a part in it."""
        former, self.present = self.present, None
        if former is not None:
            with suppress(OSError, ValueError):  # there is no broker any more
                self._command("close", former)

    def _command(self, want: str, home: Home) -> None:
        request = {"version": __version__, "want": want, "pool": home.pool}
        control.ask(places.find(self._options.broker_dir), request, PATIENCE)

    def _find(self, patience: float, keeping: ExitStack) -> Home:
        """Ask the broker for the pool, to be kept so long; starts the broker if there is none."""
        deadline = monotonic() + patience
        while True:
            try:
                return self._ask(deadline - monotonic(), keeping)
            except (OSError, ValueError) as error:
                # One that has ended meanwhile will be followed by another.
                if not isinstance(error, ConnectionError) or monotonic() > deadline:
                    raise self._silent(error) from error

    def _silent(self, error: Exception) -> PoolError:
        return PoolError(f"{self._name}: the broker does not answer: {error}")

    def _ask(self, patience: float, keeping: ExitStack) -> Home:
        driver, options = self._driver, self._options
        request = {
            "version": __version__,
            "want": "pool",
            "kind": driver.kind,
            "login": self._login,
            "options": {name: getattr(options, name) for name in OPTIONS},
        }
        place = places.find(options.broker_dir)
        connection = start.connect(place, options.broker_linger, patience)
        keeping.callback(connection.close)
        answer, descriptors = control.ask_with_descriptors(connection, request, patience)
        try:
            if not answer.get("ok"):
                raise error_of(driver, answer["error"]["class"], answer["error"]["args"])
            return Home(answer["pool"], answer["path"], table.attach(descriptors[0]))
        finally:
            for each in descriptors:
                os.close(each)
