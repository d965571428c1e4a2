"""How the tests of the engine ask through Django."""


def run(connection, statement, args=None):
    """Execute one statement through a cursor of Django's; return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, args)
        return cursor.fetchall() if cursor.description else []


def value(connection, statement, args=None):
    """Execute one statement; return the first value of its first row."""
    return run(connection, statement, args)[0][0]


def pid_of(connection):
    return value(connection, "SELECT pg_backend_pid()")


def texts(statements):
    return [each.text for each in statements]
