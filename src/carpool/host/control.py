"""What workers and commands say to the broker, and hear from it: one JSON object a line."""

from __future__ import annotations

import array
import ctypes
import json
import os
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carpool.host.places import Place

LIMIT = 64 * 1024  # bytes of a line, its end included
ANSWER_LIMIT = 16 * 1024 * 1024  # of an answer: the state of many processes is longer
MOST_DESCRIPTORS = 16  # that may come with one answer
_CHUNK = 64 * 1024
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has none: it is set afterwards


def encode(message: Mapping[str, Any], limit: int = LIMIT) -> bytes:
    """Return the line for a message. Raises ValueError for one too long, or no JSON."""
    line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(line) > limit:
        raise ValueError(f"a message of {len(line)} bytes, {limit} are allowed")
    return line


class Lines:
    """Makes messages of what arrives, however it is cut. Does no I/O."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()

    def receive(self, data: bytes) -> list[dict[str, Any]]:
        """Take in what has come; return the messages that are complete.

        Raises ValueError for what is no message; then whoever sent it is past understanding.
        """
        self._rest += data
        lines = []
        if b"\n" in data:
            *lines, rest = self._rest.split(b"\n")
            self._rest = rest
        if any(len(line) >= self._limit for line in (*lines, self._rest)):
            raise ValueError(f"a line of more than {self._limit} bytes")
        return [_decode(line) for line in lines]


def _decode(line: bytearray) -> dict[str, Any]:
    try:
        message = json.loads(line.decode(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("JSON, but no object")  # noqa: TRY004 - one kind to catch
    return message


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def ask(place: Place, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """Ask the broker that runs in a place; return its answer. Starts none.

    Raises FileNotFoundError or ConnectionRefusedError if none runs, another OSError (TimeoutError,
    ConnectionError) or ValueError if it does not answer as it should within `timeout` seconds.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(os.fspath(place.control))
        answer, descriptors = ask_with_descriptors(connection, request, timeout)
    finally:
        hang_up(connection)
    for descriptor in descriptors:
        os.close(descriptor)
    return answer


def hang_up(connection: socket.socket) -> None:
    """Close a connection, whoever has a copy of it: a child that another thread has forked."""
    with suppress(OSError):  # the other end has
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def ask_with_descriptors(
    connection: socket.socket, request: Mapping[str, Any], timeout: float
) -> tuple[dict[str, Any], list[int]]:
    """Ask on a connection to the broker; return its answer and the descriptors sent with it.

    The descriptors are the caller's to close, and not inherited by programs. One question at a
    time. Raises OSError (TimeoutError, ConnectionError) or ValueError; then the connection is of no
    more use.
    """
    deadline = time.monotonic() + timeout
    before = connection.gettimeout()
    connection.settimeout(timeout)
    connection.sendall(encode(request))
    answer = _answer(connection, deadline)
    connection.settimeout(before)
    return answer


def _answer(connection: socket.socket, deadline: float) -> tuple[dict[str, Any], list[int]]:
    lines, descriptors = Lines(ANSWER_LIMIT), array.array("i")
    try:
        while not (messages := lines.receive(_receive(connection, descriptors, deadline))):
            pass
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return messages[0], list(descriptors)  # to one question there is one answer


def _receive(connection: socket.socket, descriptors: array.array[int], deadline: float) -> bytes:
    """Return the next bytes; append the descriptors that come with them."""
    if (patience := deadline - time.monotonic()) <= 0:
        raise TimeoutError("the broker does not answer")
    connection.settimeout(patience)
    data, received, flags, _ = socket.recv_fds(connection, _CHUNK, MOST_DESCRIPTORS, _CLOEXEC)
    descriptors.extend(received)
    for descriptor in received:
        os.set_inheritable(descriptor, False)
    if flags & socket.MSG_CTRUNC:
        raise OSError("descriptors were lost: this process has as many open files as it may have")
    if not data:
        raise ConnectionError("the broker has closed the connection")
    return data


def peer(connection: socket.socket) -> tuple[int | None, int]:
    """Return the pid (None where the system does not tell) and the uid at the other end."""
    if hasattr(socket, "SO_PEERCRED"):  # unix(7): struct ucred
        format_ = "iII"
        size = struct.calcsize(format_)
        pid, uid, _ = struct.unpack(
            format_, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        return pid, uid
    user, group = ctypes.c_uint32(), ctypes.c_uint32()  # getpeereid(3) of macOS and the BSDs
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getpeereid(connection.fileno(), ctypes.byref(user), ctypes.byref(group)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return None, user.value
