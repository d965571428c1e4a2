"""Real database servers, private to whoever starts them: for the tests, the demo, the benchmarks.

    with PostgreSQL.start(log_statement="all") as server:
        server.create_database("shop")
        psycopg.connect(**server.params | {"dbname": "shop"})

Every server is a class with the same verbs: start, stop, restart, kill and start_again, pause and
resume; and with the same questions: query, sessions, statements, connections. It listens on a free
port of 127.0.0.1 and on a Unix socket in its own folder, which is a temporary one unless the caller
names it. It ends with its owner: at the end of the `with` block, at exit, and by `guard.py` when
the owner had no chance to say goodbye.

The verbs of one server are for one thread at a time; the queries may be asked from any.
"""

from support.servers.base import NotInstalled, Server, ServerError, Statement
from support.servers.mariadb import MariaDB, MariaDBWithTLS
from support.servers.postgis import PostGIS
from support.servers.postgresql import PostgreSQL

__all__ = [
    "MariaDB",
    "MariaDBWithTLS",
    "NotInstalled",
    "PostGIS",
    "PostgreSQL",
    "Server",
    "ServerError",
    "Statement",
]
