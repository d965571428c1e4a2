"""The shop behind gunicorn."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from carpool import PoolError
from carpool.telemetry import status
from carpool.telemetry.gather import gather
from examples.demo import signals
from examples.demo.load import ask
from examples.demo.workloads import http

ROOT = Path(__file__).resolve().parents[2]
WORKERS, THREADS = 2, 4
FRONT_PAGE = http("GET", "/")


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


def python(*arguments, **options):
    """Start this Python on a module of ours, out of reach of the terminal's Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, start_new_session=True, **options
    )


def output_of(*arguments, environment=None, after=None, look=None):
    """Run this Python on a module of ours; return what it printed.

    `look` is called when it has run for `after` seconds, or has ended before.
    """
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with ExitStack() as stack:
        with signals.held():
            process = python(*arguments, env=os.environ | (environment or {}), **pipe)
            stack.callback(process.wait)
            stack.callback(process.kill)
        if look:
            with suppress(subprocess.TimeoutExpired):
                process.wait(after)
            look()
        output, _ = process.communicate()
    if process.returncode:
        raise DemoError(f"python -m {' '.join(arguments)} failed:\n{output}")
    return output


def manage(environment, *command):
    """Run one of the shop's management commands."""
    output_of("examples.shop", *command, environment=environment)


def listen(port=0):
    """Return a listening socket, on any free port unless one is named."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise DemoError(
            f"port {port} of 127.0.0.1: {error.strerror}. End what uses it, or take another --port."
        ) from error
    listener.listen(128)
    return listener


class Site:
    """A running shop that answers on a listening socket, which it takes over.

    `with Site(environment, listen()) as site`; its processes end with their owner in any case.
    In its `folder` they tell of their pools, if they have any.
    """

    def __init__(self, environment, listener):
        self.port = listener.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="carpool-site-"))
        self.log = self.folder / "log"
        self.guard = python(
            "support.guard", str(self.folder), "--remove", stdin=subprocess.PIPE, text=True
        )
        self.gunicorn = self._start(listener.fileno(), environment)
        listener.close()  # gunicorn's is now the only one: if it fails, clients are told
        print(self.gunicorn.pid, file=self.guard.stdin, flush=True)

    def _start(self, descriptor, environment):
        with self.log.open("w") as log:
            return python(
                *("gunicorn", "examples.shop.wsgi", f"--bind=fd://{descriptor}"),
                *(f"--workers={WORKERS}", f"--threads={THREADS}", "--worker-class=gthread"),
                *("--keep-alive=0", "--no-control-socket", f"--worker-tmp-dir={self.folder}"),
                env=os.environ | environment | {"CARPOOL_DIR": str(self.folder)},
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.stop()

    def wait_until_ready(self, request=FRONT_PAGE):
        """Wait for the answer to a first request; return its status."""
        status = ask(self.port, request)
        if not status.startswith("2"):
            raise self.error(f"did not come up ({status})")
        return status

    def status(self):
        """Return the lines that `carpool status` prints of it at this moment."""
        try:
            return [*status.lines(gather(str(self.folder)), {})]
        except PoolError as error:
            return [str(error)]

    def cpu(self):
        """Return the processor time that the workers have used, user and system, in seconds."""
        if self.gunicorn.poll() is not None:
            raise self.error("ended by itself")
        workers = psutil.Process(self.gunicorn.pid).children()
        return sum(sum(worker.cpu_times()[:2]) for worker in workers)

    def error(self, what):
        return DemoError(f"the shop {what}. Its log ends:\n{self.tail()}")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def stop(self):
        self.gunicorn.terminate()
        try:
            self.gunicorn.wait(15)
        except subprocess.TimeoutExpired:
            for process in psutil.Process(self.gunicorn.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.gunicorn.kill()
            self.gunicorn.wait()
        print(0, file=self.guard.stdin, flush=True)  # nobody is left for the guard to kill
        self.guard.stdin.close()
        self.guard.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
