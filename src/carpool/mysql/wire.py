"""Single commands of the MySQL protocol, exchanged on a connection's own descriptor.

For what a driver does not offer, or not with a time limit. The connection must be idle, in sync,
and neither encrypted nor compressed; the driver's own picture of it (sequence numbers start anew
with each command) is not disturbed.

Packets: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
Commands: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING

from carpool import sockets

if TYPE_CHECKING:
    from collections.abc import Iterator

INIT_DB, PING, RESET_CONNECTION = b"\x02", b"\x0e", b"\x1f"
OK, ERR = 0x00, 0xFF
HEADER = 4  # bytes: three of length, one sequence number


class WireError(ConnectionError):
    """The server did not answer a command with OK, or not in time."""


def exchange(descriptor: int, command: bytes, deadline: float) -> None:
    """Send one command and read its OK, before `monotonic()` is `deadline`.

    Raises `WireError`, or OSError where the server has hung up.
    """
    packet = len(command).to_bytes(3, "little") + b"\0" + command
    if os.write(descriptor, packet) != len(packet):
        raise WireError("a command could not be sent at once")
    check_ok(_read_packet(descriptor, deadline))


def _read_packet(descriptor: int, deadline: float) -> bytes:
    """Read one packet, and make sure that nothing comes after it."""
    data = b""
    while len(data) < HEADER or len(data) < HEADER + int.from_bytes(data[:3], "little"):
        if not sockets.wait_readable(descriptor, deadline - monotonic()):
            raise WireError("the server did not answer in time")
        more = os.read(descriptor, 65536)
        if not more:
            raise WireError("the server has hung up")
        data += more
    if len(data) > HEADER + int.from_bytes(data[:3], "little"):
        raise WireError("the server said more than was asked")
    return data


def check_ok(packet: bytes) -> None:
    """Raise `WireError` unless a whole packet is the OK to a command just sent."""
    sequence, kind, body = packet[3], packet[HEADER : HEADER + 1], packet[HEADER + 1 :]
    if kind == bytes([ERR]):  # its number, in protocol 4.1 the SQLSTATE after a "#", the text
        text = body[8:] if body[2:3] == b"#" else body[2:]
        number = int.from_bytes(body[:2], "little")
        raise WireError(f"the server answered: ({number}) {text.decode(errors='replace')}")
    if sequence != 1 or kind != bytes([OK]):
        raise WireError("the answer is not in sync with the command")


@contextlib.contextmanager
def hurried(descriptor: int, deadline: float) -> Iterator[None]:
    """Bound what a driver does without a time limit: past `deadline` its socket is shut down."""
    with socket.socket(fileno=os.dup(descriptor)) as same:  # the driver may close its own
        timer = threading.Timer(max(0.0, deadline - monotonic()), _shut_down, [same])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def hang_up(descriptor: int) -> None:
    """Shut a socket down, whoever is waiting on it; it stays open."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        _shut_down(same)


def say_no_more(descriptor: int) -> None:
    """End our side of a conversation; the other end may finish its own."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        _shut_down(same, socket.SHUT_WR)


def _shut_down(same: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        same.shutdown(how)


def keep_alive(descriptor: int) -> int:
    """Have the system probe an idle TCP connection; returns the port at this end, 0: not TCP.

    One that is cut off silently is noticed within about two minutes.
    """
    with socket.socket(fileno=os.dup(descriptor)) as same:
        if same.family not in (socket.AF_INET, socket.AF_INET6):
            return 0
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return int(same.getsockname()[1])
