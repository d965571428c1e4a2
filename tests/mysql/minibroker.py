"""A broker in miniature: it greets who connects, lays server connections under shells, relays."""

import contextlib
import os
import select
import socket
import threading

from carpool.host.handoff import Visitor
from carpool.mysql.driver import MysqlclientDriver

QUIT = b"\x01\0\0\0\x01"


class MiniBroker:
    """Serves on `path`/mysql.sock. `greeters` and `responses` are those of all clients, in order.

    `worker` is a driver as workers have it, `driver` the broker's.
    """

    def __init__(self, path, **params):
        self.path = str(path)
        self.worker = MysqlclientDriver(**params)
        self.driver = MysqlclientDriver.from_login(self.worker.login())
        self.servers, self.shells, self.greeters, self._channels = [], [], [], []
        self.responses = []  # what each client has sent until its login was over
        self.first = self.open()
        self.facts = self.driver.facts(self.first)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self.path}/mysql.sock")
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def open(self):
        """Open one more server connection, at the broker."""
        self.servers.append(self.driver.connect({}))
        return self.servers[-1]

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                channel, _ = self._listener.accept()
                self._channels.append(channel)
                self._greet(channel)

    def _greet(self, channel):
        greeter = self.driver.greeter(self.facts, 4711, b"")
        self.greeters.append(greeter)
        self.responses.append(b"")
        channel.sendall(greeter.hello())
        with contextlib.suppress(ValueError, OSError):
            while greeter.outcome is None and (data := channel.recv(65536)):
                self.responses[-1] += data
                channel.sendall(greeter.receive(data))
        if isinstance(greeter.outcome, Visitor):
            self._relay(channel, greeter.rest)

    def _relay(self, channel, data):
        """Relay between a visitor and the first server connection, until the visitor leaves."""
        with socket.socket(fileno=os.dup(self.driver.descriptor(self.first))) as server:
            while data != QUIT:
                server.sendall(data)
                while channel not in select.select([channel, server], [], [])[0]:
                    channel.sendall(server.recv(65536))
                data = channel.recv(65536)
                if not data:
                    return

    def bare_shell(self):
        """Make a shell with nothing but the channel under it."""
        self.shells.append(self.worker.make_shell(self.path))
        return self.shells[-1]

    def shell(self, server=None):
        """Make a shell with a server connection under it: the first, unless told otherwise."""
        shell = self.bare_shell()
        self.lend(server or self.first, shell)
        return shell

    def lend(self, server, shell):
        """Lay a server connection under a shell."""
        os.dup2(self.driver.descriptor(server), self.worker.descriptor(shell), inheritable=False)
        self.worker.installed(shell, self.driver.server_id(server))

    def close(self):
        for connection in (*self.shells, *self.servers):
            if connection.open:
                self.driver.close(connection, 5)
        self._listener.shutdown(socket.SHUT_RDWR)
        for channel in self._channels:
            with contextlib.suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)
            channel.close()
        self._thread.join(10)
        self._listener.close()
