"""Which system calls a query makes on a leased connection, counted by strace.

As a program (`python -m benchmarks.system_calls SHARE PARAMETERS`) it makes the queries, between
two marks that strace sees.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

QUERIES = 100
MARK = b"here the queries begin or end"
STATEMENT = "SELECT name FROM thing WHERE id = %s"
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\(", re.MULTILINE)


def of_a_query(share: str, params: dict[str, Any]) -> dict[str, float] | None:
    """Return how often a query makes each system call; None: there is no strace."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        program = [sys.executable, "-m", "benchmarks.system_calls", share, json.dumps(params)]
        subprocess.run([strace, "-o", str(trace), *program], check=True)
        _, between, _ = trace.read_text(errors="replace").split(MARK.decode())
    counts = Counter(_CALL.findall(between))
    counts["write"] -= 1  # the second mark
    return {name: count / QUERIES for name, count in sorted(counts.items()) if count > 0}


def main() -> None:
    """Lease a connection, and query on it."""
    from benchmarks.host_peer import pool_of  # noqa: PLC0415 - its imports are not to be traced twice

    pool = pool_of(json.loads(sys.argv[2]), share=sys.argv[1], max_size=1)
    connection = pool.acquire()
    connection.execute(STATEMENT, [1]).fetchone()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.write(nowhere, MARK)
    for number in range(QUERIES):
        connection.execute(STATEMENT, [number]).fetchone()
    os.write(nowhere, MARK)
    pool.release(connection)
    pool.close()


if __name__ == "__main__":
    main()
