"""How the suite asks, through any driver and through Django alike."""

import threading

from tests.probing import run, value

__all__ = ["in_thread", "run", "shown", "value"]


def shown(connection, probe):
    """Return what a probe shows: a value, or what kind of error."""
    try:
        return value(connection, probe)
    except Exception as error:  # noqa: BLE001 - each module has its own
        return type(error).__name__


def in_thread(function, *args):
    """Run it in a thread of its own, as a server's worker would; return its result."""
    results, errors = [], []

    def work():
        try:
            results.append(function(*args))
        except BaseException as error:  # noqa: BLE001 - it is raised again
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return results.pop()
