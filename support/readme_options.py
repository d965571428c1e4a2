"""`python -m support.readme_options`: the table of options for README.md, from the code."""

from dataclasses import fields
from typing import Any

from carpool.options import Options


def shown(value: Any) -> str:
    """Return a default as one would write it in the settings."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f'"{value}"' if isinstance(value, str) else str(value)


def table() -> list[str]:
    """Return the lines of the table, one for each option."""
    lines = ["| option | default | meaning |", "| --- | --- | --- |"]
    for option in fields(Options):
        kind, meaning = option.metadata["kind"], option.metadata["meaning"]
        lines.append(f"| `{option.name}` | `{shown(option.default)}` | {kind}: {meaning} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
