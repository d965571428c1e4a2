"""What a service says to systemd and hears from it, and the units of the broker."""

from __future__ import annotations

import os
import socket
from importlib.resources import files

from carpool import __version__
from carpool.host import start

UNITS = "~/.config/systemd/user"
SOCKET, SERVICE = "carpool-broker.socket", "carpool-broker.service"
# Without lingering (systemd's word), a user's services end when the user logs out.
ENABLE = (
    "systemctl --user daemon-reload",
    f"systemctl --user enable --now {SOCKET}",
    "loginctl enable-linger",
)
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


def instructions(given: str | None) -> str:
    """Return the units, filled in, as a script that puts them into place.

    `given`: the runtime directory, if it is not that of the user's systemd, `%t/carpool`.
    """
    directory = _literal(os.path.abspath(given)) if given else "%t/carpool"  # noqa: PTH100 - a text
    python = _literal(start.python())
    units = [
        f"cat > {UNITS}/{name} <<'END'\n"
        + (files("carpool.host.systemd") / name)
        .read_text()
        .format(version=__version__, directory=directory, python=python)
        + "END\n"
        for name in (SOCKET, SERVICE)
    ]
    return "\n".join((f"mkdir -p {UNITS}", *units, *ENABLE))


def _literal(text: str) -> str:
    """Escape what systemd.unit(5) calls specifiers."""
    return text.replace("%", "%%")
