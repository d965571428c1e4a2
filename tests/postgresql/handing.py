"""A broker in miniature: greets whoever connects, and puts real server connections under shells."""

import itertools
import os
import secrets
import selectors
import socket
import threading

import pytest

from carpool.host.handoff import Cancel, Shell, Visitor
from carpool.postgresql.driver import PsycopgDriver
from carpool.postgresql.greeter import FIRST_PID


class Broker:
    """Serves a directory's socket, and a port for what clients do with TCP alone."""

    def __init__(self, folder, login):
        self.path, self.driver = str(folder), PsycopgDriver.from_login(login)
        self.greeted = []  # what everybody turned out to be
        self.server_connections = []
        self.facts = self.driver.facts(self.open())
        self._numbers, self._secret = itertools.count(1), secrets.token_bytes(4)
        self._below, self._channels = {}, []
        self._listening = [socket.socket(socket.AF_UNIX), socket.socket()]
        self._listening[0].bind(f"{folder}/.s.PGSQL.5432")
        self._listening[1].bind(("127.0.0.1", 0))
        self.port = self._listening[1].getsockname()[1]
        self._threads = []
        for listening in self._listening:
            listening.listen()
            self._run(self._accept, listening)

    def open(self):
        """Log in to the server once more."""
        self.server_connections.append(self.driver.connect({}))
        return self.server_connections[-1]

    def lend(self, driver, shell, connection):
        """Put a server connection under a shell."""
        self._below[shell.pgconn.backend_pid - FIRST_PID] = connection
        os.dup2(self.driver.descriptor(connection), driver.descriptor(shell), inheritable=False)
        driver.installed(shell, self.driver.server_id(connection))

    def close(self):
        for listening in self._listening:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for channel in self._channels:
            channel.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for connection in self.server_connections:
            if not connection.closed:
                self.driver.close(connection, 1)

    def _run(self, function, *args):
        self._threads.append(threading.Thread(target=function, args=args))
        self._threads[-1].start()

    def _accept(self, listening):
        while True:
            try:
                client, _ = listening.accept()
            except OSError:  # closed
                return
            self._run(self._greet, client)

    def _greet(self, client):
        greeter = self.driver.greeter(self.facts, next(self._numbers), self._secret)
        while greeter.outcome is None:
            if not (data := client.recv(65536)):
                client.close()
                return
            answer = greeter.receive(data)
            if greeter.outcome is not None:
                assert greeter.rest == b""
                self.greeted.append(greeter.outcome)
            if greeter.outcome == Shell():
                self._channels.append(client)  # what a shell's descriptor leads to at first
            client.sendall(answer)
        match greeter.outcome:
            case Visitor():
                relay(client, self.open())
            case Cancel(number, secret):
                assert secret == self._secret
                self.driver.cancel(self._below[number], 5)
                client.close()


def relay(client, connection):
    """Pass on all that client and server say to each other, until the client hangs up."""
    with (
        client,
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as server,
        selectors.DefaultSelector() as ready,
    ):
        server.setblocking(True)
        ready.register(client, selectors.EVENT_READ, server)
        ready.register(server, selectors.EVENT_READ, client)
        while True:
            for key, _ in ready.select():
                data = key.fileobj.recv(65536)
                if not data:
                    return
                key.data.sendall(data)


class Worker:
    """A driver, its shell and the broker."""

    def __init__(self, folder, driver):
        self.driver, self.broker = driver, Broker(folder, driver.login())
        self.shell = driver.make_shell(self.broker.path)
        self.first, self.second = self.broker.server_connections[0], self.broker.open()

    def lend(self, connection):
        self.broker.lend(self.driver, self.shell, connection)
        return self.shell

    def give_back(self):
        """End the lease as a pool would; the shell may then have another server connection."""
        assert self.driver.settle(self.shell)


@pytest.fixture
def make_worker(tmp_path_factory, database):
    made = []

    def make_worker(driver_class=PsycopgDriver, **params):
        params = database.params | {"autocommit": True, "prepare_threshold": None} | params
        made.append(Worker(tmp_path_factory.mktemp("pool"), driver_class(**params)))
        return made[-1]

    yield make_worker
    for worker in made:
        worker.shell.close()
        worker.broker.close()


@pytest.fixture
def worker(make_worker):
    return make_worker()
