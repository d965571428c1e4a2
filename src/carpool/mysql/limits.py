"""What MySQL and MariaDB say of their sessions, to any user.

Without privileges a user sees its own sessions alone, which are those to be counted.
`max_user_connections` of a session is the limit of its account, or else the one for all accounts:
https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_max_user_connections
One session above `max_connections` is for administrators, so none of those is reserved.
"""

from __future__ import annotations

from typing import Any, Final

from carpool.driver import Limits

QUESTION: Final = """
SELECT (SELECT COUNT(*) FROM information_schema.PROCESSLIST
        WHERE USER = SUBSTRING_INDEX(USER(), '@', 1) AND DB <=> DATABASE()
          AND ID <> CONNECTION_ID()),
       @@max_connections, @@max_user_connections, CONNECTION_ID(), @@version_comment
"""
ALL_CLIENTS: Final = "SHOW GLOBAL STATUS LIKE 'Threads_connected'"


def ask(cursor: Any, told: int) -> Limits:
    """Ask on a cursor whose rows are tuples; `told` is the session's number at its login."""
    cursor.execute(QUESTION)
    sessions, most, of_user, number, comment = cursor.fetchone()
    cursor.execute(ALL_CLIENTS)
    in_use = int(cursor.fetchone()[1]) - 1
    limit = of_user if of_user > 0 else None
    pooler = _pooler(str(comment), told, number)
    return Limits(sessions, most, role_limit=limit, in_use=in_use, pooler=pooler)


def _pooler(comment: str, told: int, number: int) -> str:
    """Tell what is in between: ProxySQL names itself, others have sessions of their own numbers."""
    if "proxysql" in comment.lower():
        return "ProxySQL"
    return "" if told == number else "a connection pooler"
