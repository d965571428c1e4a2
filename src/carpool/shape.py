"""The shape of a SQL text: what may be logged of it. Its values stay out."""

from __future__ import annotations

import re
from typing import Final

LENGTH: Final = 120  # characters; what is longer is cut off
_READ: Final = 2_000  # characters of a text that are looked at

# Where it depends on the database, or its settings, where a literal ends: from the first of these,
# or the first quotation mark, on nothing is told.
_DOUBTFUL: Final = re.compile(r"\\|--|/\*|#|\$\w*\$")
_QUOTES: Final = re.compile("['\"`]")
_LITERAL: Final = re.compile(
    r"""'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|(?<![\w$`])\d[\w.]*""", re.ASCII
)


def shape(sql: str) -> str:
    """Return a text in one line, with a question mark for each literal and quoted name.

    >>> shape("SELECT set_config('app.user',  'bob', false), 42 WHERE id = %s")
    'SELECT set_config(?, ?, false), ? WHERE id = %s'
    """
    text, more = sql[:_READ], len(sql) > _READ
    doubt = _DOUBTFUL.search(text)
    if doubt:
        quote = _QUOTES.search(text, 0, doubt.start())
        text, more = text[: quote.start() if quote else doubt.start()], True
    text = " ".join(_LITERAL.sub("?", text).split())
    if more or len(text) > LENGTH:
        return f"{text[:LENGTH].rstrip()} ..."
    return text
