"""Where a pool of this process lives: the broker that serves it, found or started."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from carpool import __version__
from carpool.errors import PoolError, PoolTimeout
from carpool.host import control, places, start, table
from carpool.host.handoff import OPTIONS
from carpool.host.shell import GRACE, error_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from carpool.host.handoff import Handoff
    from carpool.options import Options

# Seconds that the broker is given to start, and then to log in, however short the timeout.
START = 5.0
PATIENCE = 10.0  # seconds for a command to be answered
LONGEST = 2e6  # seconds, more than which a socket does not wait
ATTEMPTS = 2  # to tell it: one may end meanwhile


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
        deadline = min(deadline, monotonic() + LONGEST)
        with ExitStack() as keeping:
            yield self.present or self._first(deadline, keeping)

    def _first(self, deadline: float, keeping: ExitStack) -> Home:
        if not self._finding.acquire(timeout=max(0.0, deadline - monotonic())):
            raise PoolTimeout("another thread still waits for the broker's first connection")
        try:
            home = self.present
            if home is None:
                home = self.present = self._find(deadline, keeping)
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
            self.present = self._find(monotonic() + START, keeping)

    def tell(self, want: str) -> None:
        """Have the broker drain, pause or resume the pool."""
        for _ in range(ATTEMPTS):
            try:
                with self.kept(monotonic() + START) as home:
                    answer = self._command(want, home)
                if answer.get("ok"):
                    return
                error = answer["error"]["args"][0]
            except (FileNotFoundError, ConnectionError) as gone:
                error = str(gone)
            except (OSError, ValueError) as silent:
                raise self._silent(silent) from silent
            self.lose()  # there is another by now, or will be
        raise PoolError(f"{self._name}: the broker could not be told to {want}: {error}")

    def leave(self, home: Home | None) -> None:
        """Have the broker close the pool there, if nobody else has a part in it."""
        self.present = None
        if home is not None:
            with suppress(OSError, ValueError):  # there is no broker any more
                self._command("close", home)

    def _command(self, want: str, home: Home) -> dict[str, Any]:
        request = {"version": __version__, "want": want, "pool": home.pool}
        return control.ask(places.find(self._options.broker_dir), request, PATIENCE)

    def _find(self, deadline: float, keeping: ExitStack) -> Home:
        """Ask the broker for the pool, to be kept so long; starts the broker if there is none."""
        while True:
            try:
                connection, deadline = self._reach(deadline)
                keeping.callback(control.hang_up, connection)
                return self._ask(connection, deadline)
            except (OSError, ValueError) as error:
                keeping.close()
                # One that has ended meanwhile will be followed by another.
                if not isinstance(error, ConnectionError) or monotonic() > deadline:
                    raise self._silent(error) from error
            sleep(start.PAUSE)

    def _reach(self, deadline: float) -> tuple[socket.socket, float]:
        """Connect to the broker; where it has to be started, there is more time."""
        place, linger = places.find(self._options.broker_dir), self._options.broker_linger
        connection = start.reach(place, deadline)
        if connection is None:
            deadline = max(deadline, monotonic() + START)
            connection = start.connect(place, linger, deadline - monotonic())
            deadline = max(deadline, monotonic() + START)
        return connection, deadline

    def _silent(self, error: Exception) -> PoolError:
        return PoolError(f"{self._name}: the broker does not answer: {error}")

    def _ask(self, connection: socket.socket, deadline: float) -> Home:
        driver, options = self._driver, self._options
        patience = max(0.0, deadline - monotonic())
        request = {
            "version": __version__,
            "want": "pool",
            "kind": driver.kind,
            "login": self._login,
            "options": {name: getattr(options, name) for name in OPTIONS},
            "timeout": patience,  # then it says why
        }
        answer, descriptors = control.ask_with_descriptors(connection, request, patience + GRACE)
        try:
            if not answer.get("ok"):
                raise error_of(driver, answer["error"]["class"], answer["error"]["args"])
            return Home(answer["pool"], answer["path"], table.attach(descriptors[0]))
        finally:
            for each in descriptors:
                os.close(each)
