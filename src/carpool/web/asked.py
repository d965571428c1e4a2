"""What a form asks to be done to a pool: read and checked. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, get_args

from carpool.telemetry.orders import LARGEST, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T", bound=str)
VERBS: tuple[Verb, ...] = get_args(Verb)


class BadOrder(ValueError):
    """What was asked for cannot be done; the message says why, and what can be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked order."""

    verb: Verb
    pool: str  # its name
    sizes: tuple[int, int] | None = None  # min_size and max_size, with "resize"

    def __str__(self) -> str:
        """Read as the admin's log shall."""
        return f"{self.verb} to {self.sizes[0]}..{self.sizes[1]}" if self.sizes else self.verb


def read(form: Mapping[str, str], pools: Iterable[str]) -> Asked:
    """Read a form: `verb`, `pool` and, to resize, `min_size` and `max_size`. Raises BadOrder."""
    verb = _one_of(VERBS, form.get("verb", ""), "order")
    pool = _one_of(tuple(pools), form.get("pool", ""), "pool")
    return Asked(verb, pool, _sizes(form) if verb == "resize" else None)


def _one_of(known: Sequence[T], given: str, what: str) -> T:
    for each in known:
        if each == given:
            return each
    there = ", ".join(known) or "none"
    raise BadOrder(f"There is no {what} “{given[:100]}”. There are: {there}.")


def _sizes(form: Mapping[str, str]) -> tuple[int, int]:
    least = _whole(form, "min_size", 0)
    most = _whole(form, "max_size", 1)
    if least > most:
        raise BadOrder(f"min_size is {least}, above max_size, which is {most}.")
    return least, most


def _whole(form: Mapping[str, str], name: str, lowest: int) -> int:
    given = form.get(name, "").strip()
    # Long digits take long to convert, so they are not.
    number = int(given) if given.isdecimal() and len(given) <= len(str(LARGEST)) else -1
    if not lowest <= number <= LARGEST:
        raise BadOrder(f"{name} is “{given[:100]}”; allowed: {lowest} to {LARGEST:,}.")
    return number
