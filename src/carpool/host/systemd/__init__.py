"""What a service says to systemd and hears from it, and the units of the broker."""

from __future__ import annotations

import os
import socket

_FIRST = 3  # SD_LISTEN_FDS_START


def given_socket() -> socket.socket | None:
    """Return the listening socket that systemd has opened for this process, if it has.

    https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    if pid != str(os.getpid()) or count != "1":
        return None
    os.set_inheritable(_FIRST, False)
    return socket.socket(fileno=_FIRST)


def ready() -> None:
    """Tell systemd, if it wants to know, that this service is up.

    https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
    """
    if address := os.environ.pop("NOTIFY_SOCKET", ""):
        if address.startswith("@"):  # a name that is no path, as Linux has them
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address)
