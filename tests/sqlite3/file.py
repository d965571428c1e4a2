"""A database file, and what the operating system and a second connection show of it."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

# In a process of its own: SQLite shares its locks within one.
WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    connection.execute("BEGIN EXCLUSIVE")
except sqlite3.OperationalError as error:
    print(error, end="")
"""


NOTE = "CREATE TABLE note (id integer PRIMARY KEY AUTOINCREMENT, text text)"


class File:
    def __init__(self, path):
        self.path = Path(path)

    def query(self, statement, args=()):
        """Execute one statement on a connection of its own; return its rows."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement, args).fetchall()

    def descriptors(self, *, replaced=True):
        """Return this process's descriptors of the file, and of one that has been replaced."""
        found = {}
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                found[entry.name] = str(entry.readlink())
        names = [str(self.path)] + [f"{self.path} (deleted)"] * replaced
        return sorted(number for number, name in found.items() if name in names)

    def locks(self, process=None):
        """Return what /proc/locks tells of the file: (pid, kind) for each lock."""
        inode = str(self.path.stat().st_ino)
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        found = [(int(row[4]), row[3]) for row in rows if row[5].split(":")[-1] == inode]
        return [each for each in found if process in (None, each[0])]

    def refusal(self):
        """Return what another process is told that wants the file for itself; "": nothing."""
        command = [sys.executable, "-c", WRITE, str(self.path)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class _Opened:
    """Counts the connections that are opened in this process, by Python's own account.

    https://docs.python.org/3/library/audit_events.html; a hook stays for as long as the process.
    """

    def __init__(self):
        self.names = None
        sys.addaudithook(self._hear)

    def _hear(self, event, args):
        if event == "sqlite3.connect" and self.names is not None:
            self.names.append(str(args[0]))

    @contextlib.contextmanager
    def __call__(self):
        """Yield a list to which the name of each database that is opened is added."""
        self.names = names = []
        try:
            yield names
        finally:
            self.names = None


opened = _Opened()
