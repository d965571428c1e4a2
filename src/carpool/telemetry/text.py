"""Figures in words, for terminals and logs. Pure."""

from __future__ import annotations

import os

WIDTH = 80


def cut(line: str, width: int = WIDTH) -> str:
    r"""Fit a line in; what others have named may hold anything, also codes for the terminal.

    >>> cut("a name of \x1b[31mfar too many words", 20)
    'a name of  [31mfa...'
    """
    line = printable(line)
    return line if len(line) <= width else line[: width - 3] + "..."


def printable(text: str) -> str:
    r"""Put spaces for what is no letter, sign or space.

    >>> printable("two\nlines")
    'two lines'
    """
    return "".join(each if each.isprintable() else " " for each in text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "lease"), counted(1200, "lease"), counted(2, "process")
    ('1 lease', '1,200 leases', '2 processes')
    """
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(0.00042), duration(0.0123), duration(4.26), duration(130), duration(90_000)
    ('0.42 ms', '12 ms', '4.3 s', '2 min 10 s', '25 h 0 min')
    """
    if seconds < 0.01:  # noqa: PLR2004 - below, the digits after the point tell something
        return f"{round(seconds * 1000, 2):.2g} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def short(command: str) -> str:
    """Leave out where programs and other files lie.

    >>> short("/srv/shop/bin/python /srv/shop/bin/gunicorn -b 0.0.0.0:8000 shop.wsgi")
    'python gunicorn -b 0.0.0.0:8000 shop.wsgi'
    """
    words = command.split(" ")
    return " ".join(os.path.basename(each) if each.startswith("/") else each for each in words)  # noqa: PTH119 - any words
