"""What requests, tasks, threads and processes alike do with the database, well and badly."""

import os
import threading
from contextlib import suppress

from django.db import Error, connection, transaction

from tests.serving.models import Gate, Token

KEPT = []  # what somebody forgot to let go of


def run(statement, args=None):
    with connection.cursor() as cursor:
        cursor.execute(statement, args)
        return cursor.fetchall() if cursor.description else []


def reads(token):
    return list(Token.objects.filter(text=token).values_list("text", flat=True))


# Well ---------------------------------------------------------------------------------------------


def write(token):
    """Write a token in a transaction; return what was read back in it and after it."""
    with transaction.atomic():
        Token.objects.create(text=token)
        within = reads(token)
    return {"within": within, "after": reads(token), "process": os.getpid()}


def write_at_gate(token):
    """Write a token, wait at the gate, write it again, in one transaction."""
    with transaction.atomic():
        Token.objects.create(text=token)
        Gate.objects.select_for_update().get()
        Token.objects.create(text=token)
    return {"after": reads(token), "process": os.getpid()}


MARKS = {
    "postgresql": (
        "SELECT current_setting('app.mine', true)",
        "SELECT set_config('app.mine', %s, false)",
        "SELECT 1 FROM pg_advisory_lock(1)",
    ),
    "mysql": ("SELECT @mine", "SET @mine = %s", "SELECT GET_LOCK('mine', 30)"),
}


def leave_marks(token):
    """Use the session: a setting or variable, a lock, a temporary table. None may be there yet.

    The lock is the same for all: who asks for it waits until it is nobody's.
    """
    setting, change, lock = MARKS[connection.vendor]
    before = run(setting)[0][0]
    run(change, [token])
    locked = run(lock)[0][0]
    run("CREATE TEMPORARY TABLE mine (token text)")  # an error, if there is one
    run("INSERT INTO mine VALUES (%s)", [token])
    table, after = run("SELECT token FROM mine"), run(setting)[0][0]
    return {"before": before or None, "after": after, "locked": locked, "table": table}


def in_thread(token):
    """Do the work in a thread of its own, which never calls `close`."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(write(token)))
    thread.start()
    thread.join()
    return answers[0]


# Badly --------------------------------------------------------------------------------------------


def fail(token):
    with transaction.atomic():
        Token.objects.create(text=token)
        raise RuntimeError("on purpose")


def leave_transaction(token):
    transaction.set_autocommit(False)
    Token.objects.create(text=token)


def begin_by_hand(token):
    run("BEGIN")
    Token.objects.create(text=token)


def leave_iterator(token):
    """Keep an iterator that still has rows to read, and its connection with it."""
    Token.objects.bulk_create(Token(text=f"{token} {number}") for number in range(3))
    rows = Token.objects.filter(text__startswith=token).iterator(chunk_size=1)
    KEPT.append(rows)
    next(rows)


def lose_session(token):
    Token.objects.count()
    own = {
        "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
        "mysql": "KILL CONNECTION_ID()",
    }
    with suppress(Error):
        run(own[connection.vendor])


def break_transaction(token):
    with suppress(Error), transaction.atomic():
        Token.objects.create(text=token)
        run("SELECT * FROM there_is_none")


BAD = {
    "fail": fail,
    "leave-transaction": leave_transaction,
    "begin-by-hand": begin_by_hand,
    "leave-iterator": leave_iterator,
    "lose-session": lose_session,
    "break-transaction": break_transaction,
}
PAGES = {
    "write": write,
    "write-at-gate": write_at_gate,
    "leave-marks": leave_marks,
    "in-thread": in_thread,
    **{f"bad/{name}": bad for name, bad in BAD.items()},
}
