"""A database file, and what the operating system and a second connection show of it."""

import contextlib
import os
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


class File:
    def __init__(self, path):
        self.path = Path(path)

    def query(self, statement, args=()):
        """Execute one statement on a connection of its own; return its rows."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement, args).fetchall()

    def descriptors(self, process="self"):
        """Return this process's descriptors of the file, however it is called by now."""
        found = {}
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                found[entry.name] = os.readlink(entry)
        names = (str(self.path), f"{self.path} (deleted)")
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
