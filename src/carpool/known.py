"""What is known of SQL texts: each is read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")


class _Known(dict[str, Answer]):
    """What `read` says of texts seen before. Operations on a dict are atomic: no lock is needed."""

    TEXTS: Final = 2_000
    LENGTH: Final = 10_000  # characters; a longer text is hardly ever seen twice

    def __init__(self, read: Callable[[str], Answer]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, sql: str) -> Answer:
        answer = self.read(sql)
        if len(sql) <= self.LENGTH:
            if len(self) >= self.TEXTS:
                self.clear()
            self[sql] = answer
        return answer


def known(read: Callable[[str], Answer]) -> Callable[[str], Answer]:
    """Return a function that answers as `read` does, and remembers.

    It is bound to the dict itself, so that a text seen before costs one look-up. Thread-safe.
    """
    return _Known(read).__getitem__
