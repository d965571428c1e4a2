"""Starts servers of the site, each in a process of its own, and asks them as their clients do."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil

from support import guard
from support.servers.base import free_port
from tests.host.brokers import own_place
from tests.probing import ROOT, STUCK, eventually
from tests.serving.shared import quit_broker
from tests.serving.shown import shown_database

# What no server may say, but for what a page does on purpose.
COMPLAINT = re.compile(r"Traceback|Warning|Exception ignored")
ON_PURPOSE = re.compile(
    r"Traceback \(most recent call last\):\n(\s.*\n)*RuntimeError: on purpose\n"
)


@dataclass(frozen=True)
class Kind:
    """A way to serve the site.

    `command` may name {port} and {folder}; each of `processes` serves `at_once` requests, or as
    many as there are; `max_size` is the pool's. `early`: a query comes before the fork. `spare`:
    sessions that the server admits beyond those, while processes take turns. `share`: whether each
    process has a pool of its own, or the host has one, of `max_size` in all.
    """

    command: tuple[str, ...]
    at_once: int
    max_size: int
    processes: int = 1
    early: bool = False
    spare: int = 0
    server: str = "postgres"
    share: str = "process"
    environment: tuple[tuple[str, str], ...] = ()
    harmless: str = "(?!)"  # a pattern of what the server may say

    @property
    def slots(self):
        """How many requests can use the database at the same moment."""
        if self.share == "host":
            return min(self.processes * self.at_once, self.max_size - self.early)
        return self.processes * min(self.at_once, self.max_size)

    @property
    def limit(self):
        """How many sessions there may be at any moment, with the one from before the fork."""
        if self.share == "host":
            return self.max_size + self.spare
        return self.processes * self.max_size + self.early + self.spare


def module(name, *arguments):
    """Return the command of a Python module, with which a warning is an error."""
    return (sys.executable, "-W", "error", "-m", name, *arguments)


def without(pattern, text):
    """Leave out what matches, also where processes have written into each other's lines."""
    while (less := re.sub(pattern, "", text)) != text:
        text = less
    return text


class Program:
    """A server, or the like, under test. Whatever becomes of us, it ends; so do its children."""

    def __init__(self, kind, shown, mode, place):
        self.kind, self.shown, self.place, self.port = kind, shown, place, free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="carpool-site-"))
        self.log = self.folder / "log"
        (self.folder / "watched.py").touch()
        self._guard = subprocess.Popen(
            [sys.executable, guard.__file__, str(self.folder), "--remove"],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        given = {"folder": self.folder, "port": self.port}
        database = shown.django(max_size=kind.max_size, mode=mode, share=kind.share)
        self.environment = self._environment({"database": database, "early": kind.early})
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [each.format(**given) for each in kind.command],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        print(self.process.pid, file=self._guard.stdin, flush=True)

    def _environment(self, params):
        path = os.pathsep.join([str(ROOT), str(self.folder), os.environ.get("PYTHONPATH", "")])
        settings = {
            "CARPOOL_DIR": str(self.place.root),
            "DJANGO_SETTINGS_MODULE": "tests.serving.settings",
            "FOLDER": str(self.folder),
            "PARAMS": json.dumps(params),
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "error",
        }
        return os.environ | settings | dict(self.kind.environment)

    def output(self):
        return self.log.read_text(errors="replace")

    def failure(self, what):
        tail = "\n".join(self.output().splitlines()[-60:])
        return AssertionError(f"{' '.join(self.kind.command)}\n{what}. Its output ends:\n{tail}")

    def wait_until(self, condition, what):
        """Wait until the program does what it has to; return it."""

        def met():
            if self.process.poll() is not None:
                raise self.failure(f"ended by itself ({self.process.returncode})")
            return condition()

        try:
            return eventually(met, STUCK)
        except AssertionError as late:
            raise self.failure(f"does not {what}: {late}") from None

    # What its processes hold

    def processes(self):
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def holders(self):
        """Return the processes of every session of the database, by the session's port."""
        ports = {port: set() for port in self.shown.ports()}
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                for each in process.net_connections():
                    if each.laddr and each.raddr and each.laddr.port in ports:
                        ports[each.laddr.port].add(process.pid)
        return ports

    def check_sessions(self):
        """Check that no session is of two processes, and no process has more than `max_size`.

        Returns the number of each process. A session of nobody is about to end. Where the host
        shares them, one may lie in several processes, only one of which may use it.
        """
        holders = self.holders()
        if self.kind.share == "host":
            assert len(holders) <= self.kind.max_size, holders
            return Counter(pid for pids in holders.values() for pid in pids)
        assert all(len(each) <= 1 for each in holders.values()), holders
        counts = Counter(pid for pids in holders.values() for pid in pids)
        assert all(count <= self.kind.max_size for count in counts.values()), holders
        return counts

    # Its end

    def stop(self):
        """Have it end as its operators would; nothing may be left, and nothing be complained of."""
        try:
            if self.process.poll() is None:
                self.process.terminate()
            try:
                self.process.wait(STUCK)
            except subprocess.TimeoutExpired:
                raise self.failure("does not stop") from None
            self.wait_until_nobody_is_there()
            output = without(self.kind.harmless, ON_PURPOSE.sub("", self.output()))
            if complaint := COMPLAINT.search(output):
                raise AssertionError(f"{self.kind.command} says\n{output[complaint.start() :]}")
        finally:
            self._clean()

    def wait_until_nobody_is_there(self):
        """Wait until its sessions have ended, with the broker if there is one."""
        if self.kind.share == "host":
            quit_broker(self.place)
        self.shown.wait_until_nobody_is_there()

    def _clean(self):
        guard.kill_tree(self.process.pid)
        self.process.wait()
        self._guard.communicate("0\n")
        shutil.rmtree(self.folder, ignore_errors=True)


class Site(Program):
    """A server of the site."""

    def wait_until_ready(self):
        self.wait_until(self.process_now, "answer")

    @contextmanager
    def request(self, page, **query):
        """Send a request; at the end of the block the client hangs up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=STUCK)
        try:
            connection.request("GET", f"/{page}?{urlencode(query)}")
            yield connection
        finally:
            connection.close()

    def ask(self, page, **query):
        """Return the status and the body of a page."""
        with self.request(page, **query) as connection:
            response = connection.getresponse()
            return response.status, response.read().decode()

    def answer(self, page, **query):
        """Return what a page says, which must be well."""
        status, body = self.ask(page, **query)
        if status != 200:
            raise self.failure(f"{page}: status {status}")
        return json.loads(body)

    def process_now(self):
        """Return the process that answers; None, if none does."""
        with suppress(OSError, http.client.HTTPException, ValueError):  # the last: cut off
            return int(self.ask("ready")[1])
        return None

    @contextmanager
    def events(self, token, count):
        """Yield an iterator over so many server-sent events, 0 for ever; then hang up."""
        with (
            self.request("stream", token=token, count=count) as connection,
            connection.getresponse() as response,  # which has a hold of the socket, too
        ):
            assert response.status == 200, self.failure("does not stream")
            lines = (line.decode().strip() for line in response)
            yield (line.removeprefix("data: ") for line in lines if line)


@contextmanager
def running(program, kind, mode, server):
    """Run a program of a class for the block, with a database of its own on a server."""
    with own_place() as place, shown_database(server, kind.limit) as shown:
        started = program(kind, shown, mode, place)
        try:
            started.wait_until_ready()
            yield started
        finally:
            started.stop()
