"""The broker: it listens for processes and for commands, and keeps a house for each pool."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import resource
import selectors
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from carpool import __version__
from carpool.errors import PoolTimeout
from carpool.host import frames, routed
from carpool.host.control import ANSWER_LIMIT, LIMIT, Lines, encode
from carpool.host.door import Door
from carpool.host.generation import Generation
from carpool.host.handoff import OPTIONS, NotShareable
from carpool.host.house import House
from carpool.host.lender import Lender
from carpool.host.loop import Loop
from carpool.host.status import status
from carpool.host.supply import ASKERS
from carpool.host.tls import Forwarder
from carpool.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.host.places import Place

logger = logging.getLogger("carpool.host")

LEAST_LINGER = 1.0  # seconds: who has started the broker needs a moment to ask for a pool
CLEARING = 10.0  # seconds between two looks for pools that nobody needs
LONGEST_REST = 300.0  # seconds that these stay, however long the broker does
_THREADS = ASKERS + 4  # of a pool, beside its own, for what waits for the server: also to cancel


class Broker:
    """Serves the processes of one user. All its work is done in its loop's thread."""

    def __init__(self, listener: socket.socket, place: Place, linger: float, loop: Loop) -> None:
        self.loop = loop
        self.numbers = count(_first_number())
        self.began = monotonic()
        self.houses: dict[str, House] = {}
        self.callers = 0  # connections to the control socket
        self._place = place
        self.linger = max(linger, LEAST_LINGER)
        self._secret = os.urandom(32)
        self._last_generation = 0  # its number, which none of this broker's has again
        self._by_login: dict[bytes, House] = {}
        (place.folder / "tls").mkdir(mode=0o700, exist_ok=True)
        self._forwarder = Forwarder(place.folder / "tls")
        self._listener = listener
        self._quiet_since = monotonic()
        listener.setblocking(False)
        Door(listener, self.loop, self._enter)
        self.loop.later(self.linger, self._leave_if_alone)
        self.loop.later(CLEARING, self._clear_away)

    # -------------------------------------------------------- coming and going

    def clients(self) -> int:
        """Count the shells."""
        return sum(len(each.links) for each in self.houses.values())

    def somebody_left(self) -> None:
        """Hear that a client has gone."""
        if self._is_alone():
            self._quiet_since = monotonic()
            self.loop.later(self.linger, self._leave_if_alone)

    def _is_alone(self) -> bool:
        """Tell whether nobody is connected, and no pool's pause is to be kept."""
        return not (self.callers or any(each.is_needed() for each in self.houses.values()))

    def _clear_away(self) -> None:
        """Let go of pools that nobody has been connected to for as long as the broker lingers."""
        self.loop.later(CLEARING, self._clear_away)  # first, as the rest may fail
        for house in [
            each
            for each in self.houses.values()
            if each.is_forsaken(min(self.linger, LONGEST_REST))
        ]:
            self._let_go(house, lambda: None)

    def _let_go(self, house: House, done: Callable[[], object]) -> None:
        name = house.lender.name
        logger.info("%s: nobody needs pool %s any more", name, house.id, extra={"pool": name})
        del self.houses[house.id]
        self._by_login = {k: each for k, each in self._by_login.items() if each is not house}
        house.leave()
        house.lender.close_in_background(done)

    def _leave_if_alone(self) -> None:
        if self._is_alone() and monotonic() - self._quiet_since >= self.linger:
            extra = {"pool": "", "seconds": self.linger}
            logger.info(
                "nobody has needed the broker for %g s: it leaves", self.linger, extra=extra
            )
            self.loop.stop()

    def close(self) -> None:
        """End the server connections that nobody uses, and let go of the others."""
        self.loop.unwatch(self._listener)
        self._listener.close()
        ends = []
        for house in self.houses.values():
            house.leave()
            ends.append(threading.Thread(target=house.lender.close))
            ends[-1].start()
        for end in ends:  # at once, as each may wait for a server
            end.join()
        self._forwarder.close()

    # ------------------------------------------------------------------ control

    def _enter(self, connection: socket.socket) -> None:
        Caller(connection, self)

    def answer(self, request: dict[str, Any], caller: Caller) -> None:
        """Do what is asked; the caller is answered once, with a message and descriptors to send."""
        answer = caller.answer
        if request.get("version") != __version__:
            answer(_failure(f"this is the broker of carpool {__version__}"))
            return
        want = request.get("want")
        if want == "pool":
            self._pool_wanted(request, caller)
        elif want == "status":
            answer(status(self))
        elif want == "stop":
            answer({"ok": True})
            self.loop.stop()
        elif want == "close":
            self._close_unused(request, answer)
        elif want in ("drain", "pause", "resume"):
            self._command(want, request, answer)
        elif want == "resize":
            self._resize(request, answer)
        else:
            answer(_failure(f"{want!r} is nothing that this broker knows"))

    def _command(self, want: str, request: dict[str, Any], answer: Callable[..., object]) -> None:
        wanted = request.get("pool")
        houses = [each for each in self.houses.values() if wanted in (None, each.id)]
        if wanted is not None and not houses:
            answer(_failure(f"there is no pool {wanted!r}; there are: {', '.join(self.houses)}"))
            return
        for house in houses:
            getattr(house.lender, want)()
            house.left()  # as far as a pause has kept it
        answer({"ok": True, "pools": [each.id for each in houses]})

    def _resize(self, request: dict[str, Any], answer: Callable[..., object]) -> None:
        house = self.houses.get(request.get("pool", ""))
        try:
            min_size, max_size = request["sizes"]
            if house is None:
                raise ValueError(f"there is no pool {request.get('pool')!r}")  # noqa: TRY301 - told as all here
            sizes = replace(house.lender.options, min_size=min_size, max_size=max_size)
        except (ValueError, TypeError, KeyError) as error:
            answer(_failure(str(error)))
            return
        house.lender.adopt(sizes)
        answer({"ok": True, "pools": [house.id]})

    def _close_unused(self, request: dict[str, Any], answer: Callable[..., object]) -> None:
        """Close a pool, or those of a database, unless others need them; answer then."""
        houses = [each for each in self.houses.values() if each.is_meant(request)]
        told = {"ok": True, "in_use": [each.id for each in houses if each.is_needed()]}
        closing = {each.id for each in houses if not each.is_needed()}

        def done(name: str) -> None:
            closing.discard(name)
            if not closing:
                answer(told)

        if not closing:
            answer(told)
        for name in list(closing):
            self._let_go(self.houses[name], partial(done, name))

    def _pool_wanted(self, request: dict[str, Any], caller: Caller) -> None:
        answer = caller.answer
        try:
            patience = float(request["timeout"])
            house = self._house(request)
        except ImportError as error:
            answer(
                _failure(
                    f"the broker runs in {sys.executable}, where {error}: install that there, or "
                    "give this project a broker of its own: another directory (option broker_dir)"
                )
            )
            return
        except (ValueError, TypeError, KeyError, OSError, NotShareable) as error:
            answer(_failure(str(error) or repr(error), type(error).__name__))
            return

        caller.needs(house)

        def known(error: BaseException | None) -> None:
            if error is not None:
                if not isinstance(error, PoolTimeout):  # then the login may yet succeed
                    self._drop_failed(house)
                told = {"class": type(error).__name__, "args": frames.plain(error.args)}
                answer({"ok": False, "error": told})
                return
            descriptor = house.lender.generation.descriptor
            answer({"ok": True, "pool": house.id, "path": str(house.path)}, [descriptor])

        house.lender.once_known(known, patience)

    def _drop_failed(self, house: House) -> None:
        """Keep nothing of a pool whose login has never worked, as with a wrong password."""
        lender = house.lender
        wanted = house.links or lender.waiting() or lender.supply.facts or lender.paused
        if self.houses.get(house.id) is house and not wanted:
            self._let_go(house, lambda: None)

    def _house(self, request: dict[str, Any]) -> House:
        given = request["options"]
        options = Options(**{name: given[name] for name in OPTIONS if name in given})
        kind, login = request["kind"], request["login"]
        whole = json.dumps([kind, login], sort_keys=True).encode()
        key = hmac.digest(self._secret, whole, hashlib.sha256)
        house = self._by_login.get(key)
        if house is None:
            house = self._by_login[key] = self._open(kind, login, options)
        else:
            house.lender.adopt(options)
        return house

    def _open(self, kind: str, login: dict[str, Any], options: Options) -> House:
        driver = routed.make(kind, login, self._forwarder)
        name = self._name(kind, driver.name)
        path = self._place.pool(name)
        path.mkdir(mode=0o700, exist_ok=True)
        generation = Generation(path, options.max_size, above=self._last_generation)
        self._last_generation = generation.number
        # Its own, as one server that hangs takes all threads there are.
        executor = ThreadPoolExecutor(_THREADS, "carpool broker")
        try:
            lender = Lender(driver, options, generation, self.loop, executor)
        except OSError:
            generation.close(in_use=False)
            executor.shutdown()
            raise
        try:
            house = self.houses[name] = House(name, path, lender, self, kind)
        except OSError:
            lender.close_in_background(lambda: None)
            raise
        house.database = login.get("dbname") or login.get("database") or ""
        house.user = login.get("user") or ""
        logger.info(
            "%s: pool %s, of up to %d connections",
            lender.name,
            name,
            options.max_size,
            extra={"pool": lender.name},
        )
        return house

    def _name(self, kind: str, described: str) -> str:
        """Name a pool by what is no secret, alike in every broker."""
        digest = hashlib.sha256(f"{kind} {described}".encode()).hexdigest()[:8]
        for number in count(1):
            name = digest if number == 1 else f"{digest}-{number}"
            if name not in self.houses:
                return name
        raise AssertionError


class Caller:
    """A connection to the control socket. Garbage closes it, and nothing else."""

    def __init__(self, connection: socket.socket, broker: Broker) -> None:
        self._socket = connection
        self._broker = broker
        self._lines = Lines(LIMIT)
        self._unsent = b""
        self._needed: set[House] = set()
        broker.callers += 1
        connection.setblocking(False)
        broker.loop.watch(connection, self._read)

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
            messages = self._lines.receive(data)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            extra = {"pool": "", "reason": type(error).__name__}
            logger.info("a caller was not understood: %s", error, extra=extra)
            self._close()
            return
        if not data:
            self._close()
        for message in messages:
            if self._socket.fileno() < 0:
                return  # the last answer could not be sent
            try:
                self._broker.answer(message, self)
            except Exception as error:
                logger.exception("%r failed", message.get("want"), extra={"pool": ""})
                self.answer(_failure(f"the broker failed, as its log tells: {error!r}"))

    def needs(self, house: House) -> None:
        """Have a pool kept, whoever else leaves it, until this caller has hung up."""
        self._needed.add(house)
        house.asking.add(self)

    def answer(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """Send what is to be said."""
        if self._socket.fileno() < 0:
            return  # it did not wait for the answer
        line = encode(message, ANSWER_LIMIT)
        if self._unsent:
            self._unsent += line
            return
        try:
            sent = socket.send_fds(self._socket, [line], descriptors or [])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close()
            return
        self._unsent = line[sent:]
        if self._unsent:  # it is slow to read, or the answer is long
            self._broker.loop.watch(self._socket, self._write, selectors.EVENT_WRITE)

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        if not self._unsent:
            self._broker.loop.watch(self._socket, self._read)

    def _close(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._broker.loop.unwatch(self._socket)
        self._socket.close()
        for house in self._needed:
            house.asking.discard(self)
        self._broker.callers -= 1
        self._broker.somebody_left()


def _failure(text: str, name: str = "PoolError") -> dict[str, Any]:
    return {"ok": False, "error": {"class": name, "args": [text]}}


def _first_number() -> int:
    """Return a number above all process ids, so that no cancel is taken for a server's own."""
    return 0x10000000 + int.from_bytes(os.urandom(3), "big")


def serve(listener: socket.socket, place: Place, linger: float) -> None:
    """Serve until SIGTERM, SIGINT, a command, or `linger` seconds after the last client."""
    for name in [each for each in os.environ if each.startswith(("PG", "MYSQL_"))]:
        del os.environ[name]  # how to log in is the processes' to say, whoever starts the broker
    with contextlib.suppress(ValueError, OSError):  # macOS may have another limit yet
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = Loop()

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # who does not want to wait says it once more
        loop.post(loop.stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    broker = Broker(listener, place, linger, loop)
    try:
        loop.run()
    finally:
        broker.close()
