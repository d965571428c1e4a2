"""A stand-in for MySQL 8.0: the greeting, OK to whatever is sent, and a record of the commands.

After these pages of https://dev.mysql.com/doc/dev/mysql-server/latest/:
page_protocol_connection_phase_packets_protocol_handshake_v10.html,
page_protocol_basic_ok_packet.html, page_protocol_basic_err_packet.html.
"""

import contextlib
import socket
import struct
import threading

OK = bytes.fromhex("00 00 00 0200 0000")  # no rows, no id, SERVER_STATUS_AUTOCOMMIT, no warnings
QUIT, QUERY = b"\x01", b"\x03"
# LONG_PASSWORD, FOUND_ROWS, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS,
# SECURE_CONNECTION, MULTI_STATEMENTS, MULTI_RESULTS, PLUGIN_AUTH; no TLS
CAPABILITIES = 0x1 | 0x2 | 0x4 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x10000 | 0x20000 | 0x80000
# What MySQL says since 8.0.24 before it closes an idle session: ER_CLIENT_INTERACTION_TIMEOUT
FAREWELL = struct.pack("<BH", 0xFF, 4031) + b"#HY000The client was disconnected by the server"


def packet(sequence, payload):
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


def greeting(version, number):
    return b"".join(
        (
            *(b"\x0a", version.encode(), b"\0", struct.pack("<I", number), b"a" * 8, b"\0"),
            struct.pack("<HBHHB", CAPABILITIES & 0xFFFF, 255, 2, CAPABILITIES >> 16, 21),
            *(b"\0" * 10, b"b" * 12, b"\0", b"mysql_native_password\0"),
        )
    )


class FakeMySQL:
    """Serves on `port`; `commands` are those of all sessions, with their arguments.

    `answer(command)` returns the bytes to send in place of OK, None: OK.
    """

    def __init__(self, version="8.0.36"):
        self.version, self.commands, self.sessions = version, [], []
        self.answer = lambda _: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def params(self):
        return {"host": "127.0.0.1", "port": self.port, "user": "u", "password": "p"}

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                session, _ = self._listener.accept()
                self.sessions.append(session)
                threading.Thread(target=self._serve, args=[session], daemon=True).start()

    def _serve(self, session):
        with contextlib.suppress(OSError, EOFError), session, session.makefile("rb") as file:
            session.sendall(packet(0, greeting(self.version, len(self.sessions))))
            self._read(file)  # the login
            session.sendall(packet(2, OK))
            while True:
                command = self._read(file)
                self.commands.append(command)
                if command == QUIT:
                    return
                session.sendall(self.answer(command) or packet(1, OK))

    @staticmethod
    def _read(file):
        header = file.read(4)
        if len(header) < 4:
            raise EOFError
        return file.read(int.from_bytes(header[:3], "little"))

    def say_farewell(self):
        """Close every session as MySQL closes those that have been idle for too long."""
        for session in self.sessions:
            with contextlib.suppress(OSError):
                session.sendall(packet(0, FAREWELL))
                session.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for session in self.sessions:
            with contextlib.suppress(OSError):
                session.shutdown(socket.SHUT_RDWR)
