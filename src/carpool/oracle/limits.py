"""What Oracle says of its sessions, to those who may read its `v$` views.

Its own background sessions take their places, too: they count as reserved.
https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/V-SESSION.html
https://docs.oracle.com/en/database/oracle/oracle-database/19/refrn/USER_RESOURCE_LIMITS.html
"""

from __future__ import annotations

from typing import Any, Final

from carpool.driver import Limits

QUESTION: Final = """
SELECT COUNT(CASE WHEN s.type = 'USER' AND s.sid <> SYS_CONTEXT('USERENV', 'SID')
                   AND s.username = SYS_CONTEXT('USERENV', 'SESSION_USER') THEN 1 END),
       (SELECT MIN(TO_NUMBER(p.value)) FROM v$parameter p
        WHERE p.name IN ('sessions', 'processes')),
       COUNT(CASE WHEN s.type <> 'USER' THEN 1 END),
       (SELECT MAX(l.limit) FROM user_resource_limits l
        WHERE l.resource_name = 'SESSIONS_PER_USER'),
       COUNT(CASE WHEN s.type = 'USER' AND s.sid <> SYS_CONTEXT('USERENV', 'SID') THEN 1 END)
FROM v$session s
"""
NO_SUCH_VIEW: Final = ("ORA-00942", "ORA-01031")  # to this user: no privilege is "does not exist"


def ask(cursor: Any) -> Limits:
    """Ask on a cursor whose rows are tuples."""
    cursor.execute(QUESTION)
    sessions, most, background, of_user, in_use = cursor.fetchone()
    limit = int(of_user) if str(of_user).isdigit() else None  # else UNLIMITED, or DEFAULT
    return Limits(
        int(sessions), int(most), reserved=int(background), role_limit=limit, in_use=int(in_use)
    )
