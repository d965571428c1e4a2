"""What the processes of the soak do: transfers whose total must stay, and marks that must not."""

import json
import os
import random
import time
from collections import Counter

from tests.probing import run, value

ACCOUNTS, EACH = 30, 1000
MARKS = {  # what is left in a session, and a statement that returns 1 where there is any
    "postgresql": (
        [
            "SET statement_timeout = 54321",
            "CREATE TEMPORARY TABLE IF NOT EXISTS marked (number int)",
            "SELECT pg_advisory_lock(pg_backend_pid())",
            "LISTEN marked",
            "SET search_path = pg_catalog",
        ],
        (
            "SELECT (current_setting('statement_timeout') <> '0'"
            " OR to_regclass('pg_temp.marked') IS NOT NULL"
            " OR EXISTS (SELECT 1 FROM pg_catalog.pg_locks"
            "  WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
            " OR EXISTS (SELECT 1 FROM pg_listening_channels())"
            " OR current_setting('search_path') = 'pg_catalog')::int"
        ),
    ),
    "mysql": (
        [
            "SET @marked = 1",
            "SET SESSION max_statement_time = 54",
            "SET SESSION sql_mode = ''",
            "SELECT GET_LOCK(CONCAT('marked', CONNECTION_ID()), 1)",
        ],
        (
            "SELECT @marked IS NOT NULL OR @@max_statement_time <> 0 OR @@sql_mode = ''"
            " OR COALESCE(IS_USED_LOCK(CONCAT('marked', CONNECTION_ID())), 0) = CONNECTION_ID()"
        ),
    ),
}
LOST = (  # how the drivers tell that the server has ended a session
    *("terminating connection", "server closed the connection", "consuming input failed"),
    *("sending query", "connection is closed", "connection is lost", "no result available"),
    *("2006,", "2013,", "1317,", "1927,", "(0, '')", "another command is already in progress"),
)


class Work:
    """The transactions of one process."""

    def __init__(self, pool, kind, log, seed):
        self._pool, self._log = pool, log
        self._marks, self._probe = MARKS[kind]
        self._random = random.Random(seed)
        self.counts = Counter()

    def until(self, deadline):
        """Work until then, on the system's monotonic clock; return what has been done."""
        doings = {self.transfer: 8, self.give_up: 1, self.leave_marks: 1, self.look: 3, self.add: 1}
        while time.monotonic() < deadline:
            (doing,) = self._random.choices([*doings], [*doings.values()])
            try:
                doing()
            except Exception as error:  # noqa: BLE001 - it is judged by who reads of it
                self._tell(doing.__name__, error)
            else:
                self.counts[doing.__name__] += 1
        return dict(self.counts)

    def _tell(self, doing, error):
        text = f"{type(error).__name__}: {error}"
        lost = any(each in text for each in LOST)
        line = json.dumps({"lost": lost, "doing": doing, "error": text, "pid": os.getpid()})
        with open(self._log, "a") as log:  # noqa: PTH123 - one write, at the end of the file
            log.write(line + "\n")

    def transfer(self):
        """Move money, now and then slowly."""
        with self._pool.connection() as connection:
            run(connection, "BEGIN")
            self._move(connection)
            if self._random.random() < 0.1:
                time.sleep(0.005)
            run(connection, "COMMIT")

    def give_up(self):
        """Leave a transaction open."""
        connection = self._pool.acquire()
        try:
            run(connection, "BEGIN")
            self._move(connection)
        finally:
            self._pool.release(connection)

    def _move(self, connection):
        amount = self._random.randint(1, 9)
        taken, given = self._random.sample(range(ACCOUNTS), 2)
        changes = sorted([(taken, -amount), (given, amount)])  # in one order: no deadlocks
        for number, change in changes:
            run(connection, f"UPDATE account SET total = total + {change} WHERE id = {number}")

    def leave_marks(self):
        """Do to the session what the next one must not see."""
        with self._pool.connection() as connection:
            for each in self._random.sample(self._marks, 2):
                run(connection, each)

    def look(self):
        """See that nobody has left anything here."""
        with self._pool.connection() as connection:
            found = value(connection, self._probe)
        assert found == 0, f"a session was left marked: {found}"

    def add(self):
        """See that the total is what it always was."""
        with self._pool.connection() as connection:
            found = value(connection, "SELECT SUM(total) FROM account")
        assert found == ACCOUNTS * EACH, f"the total is {found}"
