"""A shell: a driver's connection object in a worker, under which any server connection can lie."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import socket
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from carpool import errors, sockets
from carpool.host import frames, table

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from carpool.host.handoff import Handoff

C = TypeVar("C")
NONE = -1  # the number of no lease: none that the table could hold
MANY = 1000  # server connections that are remembered
GRACE = 2.0  # seconds that the broker's own answer to a request in vain may take longer
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has none: it is set afterwards
HUNG_UP = getattr(select, "POLLRDHUP", 0)
ENDED = HUNG_UP | select.POLLHUP | select.POLLERR | select.POLLNVAL
_LOCK = fcntl.LOCK_EX | fcntl.LOCK_NB
_UNLOCK = fcntl.LOCK_UN


class ChannelLost(ConnectionError):
    """The broker has gone, or has closed this shell's channel."""


class NoAnswer(errors.PoolTimeout):
    """The broker has not answered in time: its answer may still come, so the channel is lost."""


class Shell(Generic[C]):
    """A connection object, its channel to the broker, and the lease it had last.

    `note_use` is called with the seconds that each lease has lasted.

    It belongs to one owner at a time: the deque it lies in, or the thread that took it out. While
    leased, `connection` is None: the pool holds it weakly then, to notice if it is dropped.
    """

    def __init__(
        self,
        connection: C,
        driver: Handoff[C],
        words: memoryview,
        set_up: dict[int, object],
        note_use: Callable[[float], object],
    ) -> None:
        self._set_up = set_up  # by the server's numbers: who of this process has set them up
        self._server_id = 0
        self.connection: C | None = connection
        self.ref: weakref.ref[C] | None = None
        self.key = id(connection)
        self.since = 0.0  # when it was leased
        self.borrower, self.warned, self.due_at = "", False, 0.0  # as `pool.leaks` wants them
        self.resetting = False  # the answer to a reset is still to be read
        self.orphaned = False  # the broker has gone
        self._driver = driver
        self._words = words
        self.descriptor = driver.descriptor(connection)
        # What was the connection to the broker stays so; others take its place.
        self.channel = socket.socket(fileno=os.dup(self.descriptor))
        self._lock = self._tether = -1
        self._lease = NONE
        self._held = False  # its lock, by us
        self._pinned = False
        self._pinned_for = ""
        self._note_use = note_use
        self.spent = False  # its connection object has closed itself
        self.uses = self.used = 0  # leases, and nanoseconds for which they were held
        self._taken = 0  # when the present one began
        self._inode = 0  # of what has been put under the descriptor
        self.slot = 0
        self._line = table.line(0)
        self._quantum = words[table.QUANTUM]
        poller = sockets.looker()
        poller.register(self.descriptor, select.POLLIN | HUNG_UP)
        poller.register(self.channel.fileno(), HUNG_UP)
        self._poll = poller.poll
        sockets.abandon(self.descriptor)

    # ------------------------------------------------------------------ the lease

    def take(self) -> bool:
        """Take the connection that it had last again, if nobody else has it; asks nobody."""
        words, owner = self._words, self._line  # OWNER is the first word
        if words[owner] != self._lease:
            return False
        if words[owner + table.WANTED] or (words[table.WAITING] and self._is_over()):
            return False  # else who is quick enough would never have to queue up
        try:
            fcntl.flock(self._lock, _LOCK)
        except OSError:
            return False
        if words[owner] != self._lease:
            fcntl.flock(self._lock, _UNLOCK)
            if words[table.WAITING]:  # the broker may have tried this very lock meanwhile
                self.say(frames.IDLE)
            return False
        self._held = True
        self.uses += 1
        self._taken = table.clock()
        words[owner + table.USE] = table.USED
        words[owner + table.LEASES] += 1
        return not self._poll(0) or self.is_fit()

    def _is_over(self) -> bool:
        """Tell whether this one's turn is over, as others wait."""
        return table.clock() - self._words[self._line + table.GRANTED] >= self._quantum

    def is_reused(self) -> bool:
        """Tell whether others have had the server connection before this lease."""
        return bool(self._words[self._line + table.LEASES] > 1)

    def is_own(self) -> bool:
        """Tell whether nobody has taken away the connection that it had last."""
        return bool(self._words[self._line] == self._lease)

    def holds(self) -> bool:
        """Tell whether it has a connection that has not been given back, as after a reset.

        One whose cancelling is under way has another owner meanwhile, the broker.
        """
        return self._held and self.is_own()

    def is_fit(self) -> bool:
        """Tell whether a connection that has something to say can be used; else it is given up."""
        for descriptor, events in self._poll(0):
            if descriptor == self.descriptor:
                if self._driver.look(self.connection):  # type: ignore[arg-type] # it has one
                    continue
                self.uses -= 1  # nobody has had it
                self.give_up(frames.BROKEN)
                return False
            if events & ENDED:
                self.orphaned = True
                return False
        return True

    def is_closed(self) -> bool:
        """Tell whether somebody has closed the connection, whose number may be another file's."""
        connection: Any = self.connection
        try:
            return self._driver.descriptor(connection) != self.descriptor
        except self._driver.errors.Error:
            return True

    def is_lost(self) -> bool:
        """Tell whether the broker has gone. Thread-safe."""
        poller = sockets.looker()  # of its own: the other may be at work
        poller.register(self.channel.fileno(), HUNG_UP)
        return any(events & ENDED for _, events in poller.poll(0))

    def request(self, timeout: float) -> None:
        """Ask the broker for a connection, and wait for it.

        Raises `ChannelLost`, `NoAnswer`, what the broker answers (`PoolTimeout` and its like, the
        database module's errors), and OSError. After anything but an answer the channel is to be
        closed.
        """
        if self._held:
            self.give_up(frames.BACK)
        received = array.array("i")  # descriptors that belong to nobody yet: closed in the end
        try:
            self._heed(self._ask(timeout, received), received)
        finally:
            _close(received)

    def _ask(self, timeout: float, received: array.array[int]) -> bytes:
        try:
            self.channel.settimeout(timeout + GRACE)
            self.channel.sendall(frames.request(frames.LEASE, int(timeout * 1000)))
            return self._receive(received)
        except errors.PoolError:  # what was lent could not be received: nobody has it now
            self.say(frames.BACK)
            raise
        except TimeoutError:
            raise NoAnswer("the broker does not answer") from None
        except OSError as error:
            raise ChannelLost(str(error)) from None

    def _receive(self, received: array.array[int]) -> bytes:
        frame, descriptors, flags, _ = socket.recv_fds(
            self.channel, frames.ANSWER_SIZE, frames.DESCRIPTORS, _CLOEXEC
        )
        received.extend(descriptors)
        if not frame:
            raise ChannelLost("the broker has closed the channel")
        if flags & socket.MSG_CTRUNC:
            _close(received)  # its lock above all, before the broker is told
            raise errors.PoolError(
                "a connection was lost: this process has as many open files as it may have"
            )
        return frame + self._read(frames.ANSWER_SIZE - len(frame))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.channel.recv(size - len(data))
            if not more:
                raise ChannelLost("the broker has closed the channel")
            data += more
        return data

    def _error(self, text: bytes) -> Exception:
        told = json.loads(text)
        return error_of(self._driver, told["class"], told["args"])

    def _heed(self, frame: bytes, received: array.array[int]) -> None:
        kind, number, server_id, lease = frames.answer(frame)
        if kind == frames.ERROR:
            raise self._error(self._read(number))
        if lease >> table.COUNTS != self._words[table.BROKER]:
            raise ChannelLost("another broker has taken the place of the one that was asked")
        self._install(number, server_id, lease, received)

    def _install(self, slot: int, server_id: int, lease: int, received: array.array[int]) -> None:
        if not _CLOEXEC:
            for each in received:
                os.set_inheritable(each, False)
        inode, line = os.fstat(received[0]).st_ino, table.line(slot)
        self._taken = table.clock()
        # What belonged to the one that lies there is closed after it has been replaced. No function
        # begins or ends before all of this is done: there a signal's handler may raise something.
        received[1], self._lock = self._lock, received[1]
        received[2], self._tether = self._tether, received[2]
        self._lease, self.slot, self._line, self._held = lease, slot, line, True
        self._replace(received[0], inode)
        _close(received)
        self.uses += 1
        self._words[line + table.USE] = table.USED
        self._words[line + table.LEASES] += 1
        connection: Any = self.connection
        self._remember(connection.session)
        self._driver.installed(connection, server_id)
        self._server_id = server_id
        if not self.has_traces():
            connection.session.set_up_by = self._set_up.get(server_id)

    def _replace(self, server: int, inode: int) -> None:
        try:
            os.dup2(server, self.descriptor, inheritable=False)
            self._inode = inode
        except BaseException:  # a signal's, perhaps, when it was done: nobody else would know
            sockets.abandon(self.descriptor)
            raise

    def has_traces(self) -> bool:
        """Tell whether somebody has set the session up for himself, as others must not meet it."""
        return bool(self._words[self._line + table.TRACES])

    def _remember(self, session: Any) -> None:
        """Note what has been set up without leaving a trace: others have not changed that."""
        if not session.redo and session.set_up_by is not None:
            if len(self._set_up) > MANY:
                self._set_up.clear()
            self._set_up[self._server_id] = session.set_up_by

    def give_back(self) -> None:
        """End the lease of a connection that is clean and idle."""
        words, line = self._words, self._line
        self._held = False
        if self._pinned:
            self._pinned = False
            words[line + table.PINNED] = 0
        words[line + table.USE] = table.IDLE
        words[line + table.RELEASED] = now = table.clock()
        self.used += (held := now - self._taken)
        self._note_use(held / 1e9)
        fcntl.flock(self._lock, _UNLOCK)
        # Only now: who waits has said so first, and tried the locks then.
        if words[line + table.WANTED] or (words[table.WAITING] and self._is_over()):
            self.say(frames.IDLE)

    def pin(self, reason: str) -> None:
        """Show that the lease outlasts its statement, until it is given back."""
        self._pinned = True
        self._pinned_for = reason
        self._words[self._line + table.PINNED] = 1

    def why_pinned(self) -> str:
        """Return why the present lease is pinned; "": it is not."""
        return self._pinned_for if self._pinned else ""

    def held(self) -> float:
        """Return for how many seconds the present lease has been held."""
        return (table.clock() - self._taken) / 1e9

    def leave_traces(self) -> None:
        """Note that the session has been set up in a way that others must not meet."""
        self._words[self._line + table.TRACES] = 1

    def clear_traces(self) -> None:
        """Note that this is no longer so."""
        self._words[self._line + table.TRACES] = 0

    def say(self, kind: bytes) -> None:
        """Send a frame about the present slot; a broker that has gone is noticed later."""
        with contextlib.suppress(OSError):
            self.channel.send(frames.request(kind, self.slot), socket.MSG_DONTWAIT)

    # ------------------------------------------------------------------ the end

    def give_up(self, kind: bytes) -> None:
        """End the lease for good: the connection goes BACK, or is BROKEN.

        One that is broken stays marked as used, so that it is lent to nobody before that is known.
        """
        if self._held:
            self._held = False
            self.used += (held := table.clock() - self._taken)
            self._note_use(held / 1e9)
            if kind == frames.BACK:
                self._words[self._line + table.USE] = table.IDLE
            fcntl.flock(self._lock, _UNLOCK)
            self.say(kind)
        self.forget_lease()

    def forget_lease(self) -> None:
        """Let go of the lock, and of the server connection's socket."""
        if self._lease != NONE:
            self._lease = NONE
            self.spent = not self._lies_below()
            if not self.spent:
                sockets.abandon(self.descriptor)
        self._let_go()

    def _lies_below(self) -> bool:
        """Tell whether the server connection still lies under the descriptor.

        Client libraries close it at some errors, as does the end of a connection object that was
        dropped. The number may be that of another file by now.
        """
        try:
            return os.fstat(self.descriptor).st_ino == self._inode
        except OSError:
            return False

    def _let_go(self) -> None:
        """Close what came with the socket, after that; each is forgotten first, as in `_close`."""
        lock, self._lock, self._held = self._lock, -1, False
        if lock >= 0:
            os.close(lock)
        tether, self._tether = self._tether, -1
        if tether >= 0:
            os.close(tether)

    def hang_up(self) -> None:
        """Have a `request` in another thread end with `ChannelLost`."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of everything; what it had goes back to the broker. Says nothing to a server."""
        if self._lease != NONE and self._owns():
            self.give_up(frames.BACK)
        self.leave()

    def leave(self) -> None:
        """Let go of everything, and have the broker see it at once.

        To close the channel would not do that while the watcher waits on it.
        """
        self.hang_up()
        self.disown()

    def end(self, patience: float) -> None:
        """End the server connection, too, if it is still ours: the broker has gone.

        Who takes the broker's place counts it until its lock is free, so that waits for the server.
        """
        if self._lease != NONE and self._owns() and self._lies_below():
            with (
                socket.socket(fileno=os.dup(self.descriptor)) as line,
                contextlib.suppress(OSError),
            ):
                line.shutdown(socket.SHUT_WR)
            sockets.Farewell(self.descriptor).wait(patience)
        self.leave()

    def _owns(self) -> bool:
        """Tell whether it has the lock of its lease, or can have it."""
        if not self._held:
            if self._words[self._line] != self._lease:
                return False
            try:
                fcntl.flock(self._lock, _LOCK)
            except OSError:
                return False
            self._held = True
        return self.is_own()

    def __del__(self) -> None:
        # An exception at an awkward moment, such as a signal's, takes one from whoever held it.
        try:
            self._let_go()
            self.channel.close()
        except Exception:  # noqa: BLE001, S110 - never made, or at the end of the interpreter
            pass

    def disown(self) -> None:
        """Let go of everything without a word to anybody, as in a forked child."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self._driver.disown(connection)
        self._let_go()
        self._lease = NONE
        self.channel.close()


def _close(descriptors: array.array[int]) -> None:
    """Close those that there are, in their order, and forget them; -1 stands for none.

    Each is forgotten first: were it closed twice, its number could be another file's by then.
    """
    while descriptors:
        each = descriptors[0]
        del descriptors[0]
        if each >= 0:
            os.close(each)


def error_of(driver: Handoff[Any], name: str, args: list[Any]) -> Exception:
    """Return the error that the broker tells of: carpool's own, or the database module's.

    `ChannelLost` if it is that the broker is ending.
    """
    if name == ConnectionError.__name__:
        return ChannelLost(*args)
    for home in (errors, driver.errors):
        found = getattr(home, name, None)
        if not isinstance(found, type) or not issubclass(found, Exception):
            continue
        # What carpool's has from Django is not meant: the database module's has the same name.
        if home is not errors or found.__module__ == errors.__name__:
            return found(*args)
    return driver.errors.OperationalError(*args)  # type: ignore[no-any-return] # a module's
