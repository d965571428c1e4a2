"""How the suite asks, through any driver and through Django alike."""

from contextlib import closing


def run(connection, statement):
    """Execute one statement; return its rows."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def value(connection, statement):
    """Execute one statement; return the first value of its first row."""
    return run(connection, statement)[0][0]


def shown(connection, probe):
    """Return what a probe shows: a value, or what kind of error."""
    try:
        return value(connection, probe)
    except Exception as error:  # noqa: BLE001 - each module has its own
        return type(error).__name__
