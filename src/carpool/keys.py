"""Connection parameters as keys: pools are told apart by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable


def freeze(value: Any) -> Hashable:
    """Make connection parameters comparable and hashable; what cannot be is known by identity."""
    if isinstance(value, dict):
        return tuple(sorted((str(key), freeze(each)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return tuple(freeze(each) for each in value)
    if isinstance(value, str | int | float | bool | None):
        return value
    return _Identity(value)


class _Identity:
    """Compares equal to itself only, and sorts among its like."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)
