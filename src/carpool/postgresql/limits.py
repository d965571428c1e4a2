"""What PostgreSQL says of its sessions, to any user.

Of other users' sessions a user without privileges sees no more than database and name: then what
has both counts as a client's. Superusers are free of the limits of roles and databases.
https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW
https://www.postgresql.org/docs/current/runtime-config-connection.html
"""

from __future__ import annotations

from typing import Any, Final

from carpool.driver import Limits

QUESTION: Final = """
SELECT count(*) FILTER (WHERE a.datname = pg_catalog.current_database()
                          AND a.usename = SESSION_USER),
       pg_catalog.current_setting('max_connections')::int,
       pg_catalog.current_setting('superuser_reserved_connections')::int
           + coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0),
       (SELECT rolconnlimit FROM pg_catalog.pg_roles
        WHERE rolname = SESSION_USER AND NOT rolsuper AND rolconnlimit >= 0),
       (SELECT datconnlimit FROM pg_catalog.pg_database
        WHERE datname = pg_catalog.current_database() AND datconnlimit >= 0
          AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = SESSION_USER)),
       count(*),
       pg_catalog.pg_backend_pid()
FROM pg_catalog.pg_stat_activity AS a
WHERE a.pid <> pg_catalog.pg_backend_pid()
  AND (a.backend_type = 'client backend'
       OR a.backend_type IS NULL AND a.datname IS NOT NULL AND a.usename IS NOT NULL)
"""


def ask(cursor: Any, told: int) -> Limits:
    """Ask on a cursor whose rows are tuples; `told` is the process number of the login.

    A pooler tells its clients a number of its own, which is not that of the server's process.
    """
    cursor.execute(QUESTION)
    *answer, pid = cursor.fetchone()
    return Limits(*answer)._replace(pooler="" if pid == told else "a connection pooler")
