"""How the suite asks, through any driver and through Django alike."""

from tests.probing import run, value

__all__ = ["run", "shown", "value"]


def shown(connection, probe):
    """Return what a probe shows: a value, or what kind of error."""
    try:
        return value(connection, probe)
    except Exception as error:  # noqa: BLE001 - each module has its own
        return type(error).__name__
