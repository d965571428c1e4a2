"""Processes under test, which do as they are told: Python, a piece at a time.

All are forked from one program that has imported what they need; no pool exists there.
"""

import fcntl
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import traceback

import psutil

from carpool.host.cleaner import Cleaner
from carpool.host.pool import HostPool
from carpool.host.shell import Shell
from carpool.options import Options
from tests.probing import ROOT, STUCK, eventually, run, value


class Failed(Exception):
    """What was told to a process raised an exception there; `kind` is its class' name."""

    def __init__(self, kind, text, where):
        super().__init__(f"{kind}: {text}\n{where}")
        self.kind, self.text = kind, text


class Process:
    """A process of its own, and what is said to it."""

    def __init__(self, channel):
        self._channel = channel
        self._channel.settimeout(STUCK)
        self._lines = channel.makefile("r")
        self.pid = self.answer()

    def tell(self, text):
        """Have Python executed there; its value, or its failure, is the next `answer`."""
        self._channel.sendall(json.dumps(text).encode() + b"\n")

    def answer(self, timeout=STUCK):
        """Return the value. Raises Failed, TimeoutError, ConnectionError for who has died."""
        self._channel.settimeout(timeout)
        line = self._lines.readline()
        if not line:
            raise ConnectionError(f"process {self.pid} has ended")
        told = json.loads(line)
        if "error" in told:
            raise Failed(*told["error"])
        return told["value"]

    def do(self, text, timeout=STUCK):
        """Have Python executed there; return its value."""
        self.tell(text)
        return self.answer(timeout)

    def kill(self):
        """End it with SIGKILL; returns when it is no more."""
        os.kill(self.pid, signal.SIGKILL)
        eventually(lambda: self.state() is None)

    def freeze(self):
        """Stop it with SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)
        eventually(lambda: self.state() == psutil.STATUS_STOPPED)

    def thaw(self):
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def state(self):
        """Return what psutil says of it; None: it has ended."""
        try:
            return psutil.Process(self.pid).status()
        except psutil.NoSuchProcess:
            return None

    def close(self):
        """End it, however it is; let it do nothing more."""
        if self.state() is not None:
            self.kill()
        self._lines.close()
        self._channel.close()


class Nursery:
    """Starts processes."""

    def __init__(self):
        self._channel, other = socket.socketpair()
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.host.nursery"],
            cwd=ROOT,
            stdin=other.fileno(),
            stdout=subprocess.DEVNULL,
        )
        other.close()

    def start(self):
        """Start a process."""
        ours, its = socket.socketpair()
        with its:
            socket.send_fds(self._channel, [b"\0"], [its.fileno()])
        return Process(ours)

    def close(self):
        """End the program that forks them."""
        self._channel.close()
        self._program.wait(STUCK)


# ------------------------------------------------------------------ over there


def main():
    """Fork for each channel that arrives."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the dead are gone at once
    for driver in ("carpool.postgresql.driver", "carpool.mysql.driver"):
        pkgutil.resolve_name(driver)
    asked = socket.socket(fileno=0)
    while (received := socket.recv_fds(asked, 1, 1))[0]:
        channel = received[1][0]
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
            asked.detach()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            obey(socket.socket(fileno=channel))
        os.close(channel)


def obey(channel):
    """Do what is told, and answer; end when nobody can tell any more."""
    lock = threading.Lock()

    def say(**told):
        with lock:
            channel.sendall(json.dumps(told).encode() + b"\n")

    names = {"say": say, "halt": lambda *where, **how: halt(say, *where, **how)}
    for each in (
        open_pool,
        acquire_in_vain,
        Load,
        Shell,
        HostPool,
        Cleaner,
        eventually,
        run,
        value,
        fcntl,
        os,
        subprocess,
    ):
        names[each.__name__] = each
    say(value=os.getpid())
    for line in channel.makefile("r"):
        try:
            text = json.loads(line)
            try:
                code = compile(text, "told", "eval")
            except SyntaxError:
                code = compile(text, "told", "exec")
            found = eval(code, names)
            say(value=found)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is to know
            say(error=[type(error).__name__, str(error), traceback.format_exc()])
    sys.exit()


def open_pool(driver, params, options):
    """Return the pool of a process; `driver` is a class' dotted path."""
    return HostPool(pkgutil.resolve_name(driver)(**params), Options(**options))


def acquire_in_vain(pool):
    """Have a thread acquire; returns it, and the kinds of errors that it is told."""
    told = []

    def work():
        try:
            pool.acquire()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is to know
            told.append(type(error).__name__)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, told


class Load:
    """A thread that executes the same statements again and again, in a lease each time."""

    def __init__(self, pool, *statements):
        self._pool, self._statements = pool, statements
        self._ending = threading.Event()
        self.done, self.errors = 0, []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        while not self._ending.is_set():
            try:
                with self._pool.connection() as connection:
                    for each in self._statements:
                        run(connection, each)
            except Exception:  # noqa: BLE001 - the test is to know
                self.errors.append(traceback.format_exc())
            else:
                self.done += 1

    def stop(self):
        """End; return how often it was done, and what went wrong."""
        self._ending.set()
        self._thread.join(STUCK)
        return self.done, self.errors


def halt(say, owner, name, *, after=False):
    """Have this process say so and stand still where it calls a function next, or after it."""
    original = getattr(owner, name)

    def halting(*args, **more):
        if after:
            original(*args, **more)
        say(value=f"at {name}")
        while True:
            signal.pause()

    setattr(owner, name, halting)


if __name__ == "__main__":
    main()
