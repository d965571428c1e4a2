"""A database for a site, and what its server shows of who uses it."""

from contextlib import closing, contextmanager

from support.databases import fresh_database
from tests.probing import eventually, run

# In words of PostgreSQL and of MariaDB: a user whom the server admits so often, not once more; the
# tables; who waits at the gate; what is left open.
WORDS = {
    "PostgreSQL": {
        "engine": "carpool.postgresql",
        "set up": (
            "CREATE ROLE {user} LOGIN CONNECTION LIMIT {limit}",
            "CREATE TABLE token (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text)",
            "CREATE TABLE gate (id bigint PRIMARY KEY)",
            "INSERT INTO gate VALUES (1)",
            "GRANT ALL ON token, gate TO {user}",
        ),
        "drop user": "DROP OWNED BY {user}; DROP ROLE {user}",
        "anew": "SELECT 1",
        "waiting": "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'",
        "open": "SELECT a.pid, a.state, a.query, l.locktype FROM pg_stat_activity a"
        " LEFT JOIN pg_locks l USING (pid) WHERE a.usename = '{user}'"
        " AND (a.state <> 'idle' OR l.pid IS NOT NULL)",
    },
    "MariaDB": {
        "engine": "carpool.mysql",
        "set up": (
            "CREATE USER {user} WITH MAX_USER_CONNECTIONS {limit}",
            "CREATE TABLE token (id bigint AUTO_INCREMENT PRIMARY KEY, text text)",
            "CREATE TABLE gate (id bigint PRIMARY KEY)",
            "INSERT INTO gate VALUES (1)",
            "GRANT ALL ON `{name}`.* TO {user}",
        ),
        "drop user": "DROP USER {user}",
        # INNODB_TRX shows what it showed before, unless it has not been read for 0.1 seconds.
        "anew": "SELECT SLEEP(0.11)",
        "waiting": "SELECT id FROM information_schema.PROCESSLIST"
        " WHERE user = '{user}' AND command = 'Query' AND info LIKE '%FOR UPDATE'",
        "open": "SELECT p.id, p.command, p.info, t.trx_state FROM information_schema.PROCESSLIST p"
        " LEFT JOIN information_schema.INNODB_TRX t ON p.id = t.trx_mysql_thread_id"
        " WHERE p.user = '{user}' AND (p.command <> 'Sleep' OR t.trx_id IS NOT NULL)",
    },
}


class Shown:
    """One database with the tables of the site, and a user for whom its sessions are counted."""

    def __init__(self, database, limit):
        self.database, self.limit = database, limit
        self.user = f"site_{database.name}"
        self.words = WORDS[database.server.title]
        for statement in self.words["set up"]:
            self._ask(statement)

    def _ask(self, statement):
        names = {"user": self.user, "limit": self.limit, "name": self.database.name}
        return self.database.query(statement.format(**names))

    def django(self, **pool):
        """Return the entry of DATABASES with these options of the pool."""
        engine = self.words["engine"]
        return self.database.django(ENGINE=engine, USER=self.user, OPTIONS={"pool": pool})

    def remove(self):
        self.database.kill_sessions()
        for statement in self.words["drop user"].split("; "):
            self._ask(statement)

    # What the server shows

    def tokens(self, like=""):
        """Return the tokens that are committed, those that begin so."""
        rows = self.database.query("SELECT text FROM token WHERE text LIKE %s", [f"{like}%"])
        return sorted(row.text for row in rows)

    def ports(self):
        """Return the port of the client's end of every session."""
        rows = self.database.sessions(user=self.user)
        return [getattr(row, "client_port", None) or int(row.host.split(":")[1]) for row in rows]

    def wait_until_nobody_is_there(self):
        self.database.wait_for_sessions(0)

    def wait_until_nothing_is_open(self):
        """Wait until no session is in a transaction, a statement, or holds a lock."""

        def left():
            self._ask(self.words["anew"])
            return self._ask(self.words["open"])

        try:
            eventually(lambda: not left())
        except AssertionError:
            raise AssertionError(f"left open: {left()}") from None

    def in_transaction(self):
        """Count the sessions that are in a transaction without being at work (PostgreSQL's)."""
        return len(self.database.sessions(user=self.user, state="idle in transaction"))

    @contextmanager
    def closed_gate(self):
        """Hold up whoever comes to the gate, in this block."""
        with closing(self.database.server.admin(self.database.name)) as gatekeeper:
            run(gatekeeper, "BEGIN")
            run(gatekeeper, "SELECT * FROM gate FOR UPDATE")
            yield

    def wait_at_gate(self, count):
        """Wait until so many wait at the closed gate."""

        def there():
            return len(self._ask(self.words["waiting"]))

        try:
            eventually(lambda: there() == count)
        except AssertionError:
            raise AssertionError(f"{there()} wait at the gate, not {count}") from None


@contextmanager
def shown_database(server, limit):
    """Make a database to which at most `limit` sessions are admitted; drop it afterwards."""
    with fresh_database(server) as database:
        shown = Shown(database, limit)
        try:
            yield shown
        finally:
            shown.remove()
