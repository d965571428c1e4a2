"""Stands for python-oracledb where there is no Oracle server: its API as documented.

Loaded under the name `oracledb` by `conftest.py`, afresh for a test. Each connection talks through
a socket of its own to a thread of `server`, which keeps what a session of Oracle's keeps and what
has been asked of it: what tests look at. Its language is a handful of statements.
"""

import contextlib
import json
import re
import select
import socket
import threading

__version__ = "3.3.0"

# ------------------------------------------------------------------------------------- types


class DbType:
    def __init__(self, name):
        self.name = name


def __getattr__(name):  # the module's: DB_TYPE_NUMBER and its many like
    if name.startswith("DB_TYPE_") or name in {"NUMBER", "STRING", "NCLOB"}:
        return globals().setdefault(name, DbType(name))
    raise AttributeError(name)


class LOB:
    pass


def makedsn(host, port, sid=None, service_name=None):
    what = f"SERVICE_NAME={service_name}" if service_name else f"SID={sid}"
    return (
        f"(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST={host})(PORT={port}))(CONNECT_DATA=({what})))"
    )


# ------------------------------------------------------------------------------------ errors


class Error(Exception):
    pass


class Warning(Exception):  # noqa: A001 - the standard's name
    pass


class InterfaceError(Error):
    pass


class DatabaseError(Error):
    pass


class DataError(DatabaseError):
    pass


class OperationalError(DatabaseError):
    pass


class IntegrityError(DatabaseError):
    pass


class InternalError(DatabaseError):
    pass


class ProgrammingError(DatabaseError):
    pass


class NotSupportedError(DatabaseError):
    pass


class _Error:
    """What the driver's exceptions have as their only argument."""

    def __init__(self, message):
        self.message = message
        self.full_code = message.partition(":")[0]
        kind, _, number = self.full_code.partition("-")
        self.code = int(number) if kind == "ORA" else 0
        self.isrecoverable = self.full_code == "DPY-4011"

    def __str__(self):
        return self.message


def failure(message):
    kinds = {"DPY-1": InterfaceError, "DPY-4": OperationalError, "DPY-6": OperationalError}
    return kinds.get(message[:5], DatabaseError)(_Error(message))


# ------------------------------------------------------------------------------------ server


class ServerSession:
    """What the server knows of one session."""

    def __init__(self, number, link, user):
        self.number, self.link, self.user = number, link, user
        self.statements = []  # all that was asked, labels and logoff included
        self.state = {}  # ALTER SESSION
        self.package = []  # what PL/SQL has left
        self.labels = {}
        self.transaction = []
        self.broken_off = threading.Event()
        self.gone = threading.Event()


class Server:
    """The database: sessions, what is committed, and how it misbehaves on demand."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sessions = {}
        self.all = []
        self.most = 0
        self.committed = []
        self.refusal = None  # the text of the error that a login gets
        self.limit = 1000
        self.deaf = False  # answers nothing any more
        self.waiting = threading.Semaphore(0)  # released when a statement begins to wait
        self.go = threading.Event()  # ends all waiting
        self.logins = []
        self.temporary = []  # names of tables that keep rows for the session
        self.dictionary_queries = 0

    def login(self, **params):
        with self.lock:
            self.logins.append(params)
            if self.refusal:
                raise failure(self.refusal)
            if len(self.sessions) >= self.limit:
                raise failure("ORA-00018: maximum number of sessions exceeded")
            ours, theirs = socket.socketpair()
            session = ServerSession(len(self.all) + 1, ours, params.get("user"))
            self.all.append(session)
            self.sessions[session.number] = session
            self.most = max(self.most, len(self.sessions))
        threading.Thread(target=self.serve, args=(session,), daemon=True).start()
        return session, theirs

    def serve(self, session):
        try:
            with session.link, session.link.makefile("rw") as link:
                for line in link:
                    if self.deaf:
                        continue
                    print(json.dumps(self.answer(session, **json.loads(line))), file=link)
                    link.flush()
                    if session.gone.is_set():
                        break
        except (OSError, ValueError):  # it was killed, or the client is gone
            pass
        self.end(session)

    def end(self, session):
        with self.lock:
            self.sessions.pop(session.number, None)
        session.transaction.clear()
        session.gone.set()

    def kill(self, session):
        """As ALTER SYSTEM KILL SESSION."""
        session.link.shutdown(socket.SHUT_RDWR)
        assert session.gone.wait(10)

    def answer(self, session, statement, labels, autocommit):
        for name, value in labels.items():
            session.labels[name] = value
            session.statements.append(f"label {name}={value}")
        if "all_tables" in statement:
            self.dictionary_queries += 1
            rows = [[name] for name in self.temporary]
            return {"rows": rows, "error": None, "transaction": False}
        session.statements.append(statement)
        word, _, rest = statement.upper().partition(" ")
        does = DOES.get(rest.partition(" ")[0]) or DOES.get(word) or (lambda *_: None)
        error = does(self, session, statement)
        if autocommit:
            commit(self, session, statement)
        rows = [[session.number], [0]] if word == "SELECT" and not error else []
        return {"rows": rows, "error": error, "transaction": bool(session.transaction)}


def commit(server, session, statement):
    server.committed += session.transaction
    session.transaction.clear()


def roll_back(server, session, statement):
    session.transaction.clear()


def write(server, session, statement):
    session.transaction.append(statement)


def alter_session(server, session, statement):
    session.state.update(re.findall(r"(\w+) = '([^']*)'", statement))


def run_block(server, session, statement):
    session.package.append(statement)


def log_off(server, session, statement):
    session.gone.set()
    server.end(session)


def fail(server, session, statement):
    return "ORA-00904: invalid identifier"


def wait(server, session, statement):
    """Wait for the server's `go`, or to be broken off by `Connection.cancel`."""
    server.waiting.release()
    while not (server.go.wait(0.01) or session.broken_off.is_set()):
        pass
    if session.broken_off.is_set():
        session.broken_off.clear()
        return "ORA-01013: user requested cancel of current operation"
    return None


# By the first word of a statement, or the second: SELECT WAIT, SELECT WRONG.
DOES = {
    "COMMIT": commit,
    "ROLLBACK": roll_back,
    "INSERT": write,
    "UPDATE": write,
    "DELETE": write,
    "ALTER": alter_session,
    "BEGIN": run_block,
    "CALL": run_block,
    "LOGOFF": log_off,
    "WRONG": fail,
    "WAIT": wait,
}

server = Server()

# ---------------------------------------------------------------------------------- the driver


class Transport:
    __slots__ = ("socket",)


class Impl:
    """As in the driver: the socket is behind an object that shows nothing."""

    __slots__ = ("attributes", "labels", "lock", "session", "transaction", "transport")

    def __init__(self, **params):
        self.transport = Transport()
        self.session, self.transport.socket = server.login(**params)
        self.lock = threading.Lock()
        self.transaction = False
        self.labels = {}
        self.attributes = {
            "autocommit": False,
            "call_timeout": 0,
            "inputtypehandler": None,
            "outputtypehandler": None,
            "stmtcachesize": 20,
            "current_schema": None,
            "tag": None,
        }

    def round_trip(self, statement):
        timeout = self.attributes["call_timeout"]
        with self.lock:
            labels, self.labels = self.labels, {}
            asked = {
                "statement": statement,
                "labels": labels,
                "autocommit": self.attributes["autocommit"],
            }
            try:
                self.transport.socket.settimeout(timeout / 1000 if timeout else None)
                self.transport.socket.sendall(json.dumps(asked).encode() + b"\n")
                answer = json.loads(self._line())
            except TimeoutError:
                self.transport.socket.close()
                raise failure(f"DPY-4024: call timeout of {timeout} ms exceeded") from None
            except (OSError, ValueError):
                self.transport.socket.close()
                raise failure("DPY-4011: the database or network closed the connection") from None
        self.transaction = answer["transaction"]
        if answer["error"]:
            raise failure(answer["error"])
        return [tuple(row) for row in answer["rows"]]

    def _line(self):
        text = b""
        while not text.endswith(b"\n"):
            if not (part := self.transport.socket.recv(65536)):
                raise OSError("end of file")
            text += part
        return text

    def healthy(self):
        link = self.transport.socket
        return link.fileno() >= 0 and not select.select([link], [], [], 0)[0]


def _readable(name):
    def get(self):
        self._verify_connected()
        return self._impl.attributes[name]

    def put(self, value):
        self._verify_connected()
        self._impl.attributes[name] = value

    return property(get, put)


def _label(name):
    def get(self):
        raise AttributeError(f"{name} is not readable")

    def put(self, value):
        self._verify_connected()
        self._impl.labels[name] = value or ""

    return property(get, put)


class Connection:
    _impl = None

    def __init__(self, dsn=None, *, pool=None, params=None, **kwargs):
        self._impl = Impl(dsn=dsn, **kwargs)

    def __del__(self):
        if self._impl is not None:
            with contextlib.suppress(Exception):
                self.close()

    def _verify_connected(self):
        if self._impl is None:
            raise failure("DPY-1001: not connected to database")

    autocommit = _readable("autocommit")
    call_timeout = _readable("call_timeout")
    inputtypehandler = _readable("inputtypehandler")
    outputtypehandler = _readable("outputtypehandler")
    stmtcachesize = _readable("stmtcachesize")
    current_schema = _readable("current_schema")
    tag = _readable("tag")
    action = _label("action")
    client_identifier = _label("client_identifier")
    clientinfo = _label("clientinfo")
    dbop = _label("dbop")
    econtext_id = _label("econtext_id")
    module = _label("module")

    @property
    def transaction_in_progress(self):
        self._verify_connected()
        return self._impl.transaction

    @property
    def version(self):
        self._verify_connected()
        return "19.3.0.0.0"

    def cursor(self, scrollable=False, handle=None):
        self._verify_connected()
        return Cursor(self, scrollable, handle)

    def _operation(self, statement):
        self._verify_connected()
        return self._impl.round_trip(statement)

    def commit(self):
        self._operation("COMMIT")

    def rollback(self):
        self._operation("ROLLBACK")

    def ping(self):
        self._operation("PING")

    def close(self):
        self._verify_connected()
        impl, self._impl = self._impl, None
        try:
            impl.round_trip("LOGOFF")
        finally:
            impl.transport.socket.close()

    def cancel(self):
        self._verify_connected()
        self._impl.session.broken_off.set()

    def is_healthy(self):
        return self._impl is not None and self._impl.healthy()

    def set_app_context(self, namespace, **values):
        self._verify_connected()

    def createlob(self, lob_type, data=None):
        self._operation("CREATE TEMPORARY LOB")
        return LOB()

    def changepassword(self, old_password, new_password):
        self._operation("PASSWORD")

    def subscribe(self, namespace=1):
        self._operation("SUBSCRIBE")


class Cursor:
    _rows = ()
    statement = None
    description = None
    arraysize = 100
    outputtypehandler = None

    def __init__(self, connection, scrollable=False, handle=None):
        self._connection = connection

    @property
    def connection(self):
        return self._connection

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _run(self, statement):
        rows = self._connection._operation(statement)
        self._rows = iter(rows)
        self.statement = statement
        self.description = [("C",)] if rows else None

    def execute(self, statement, parameters=None, **keyword_parameters):
        self._run(statement or self.statement)
        return self if self.description else None

    def executemany(self, statement, parameters):
        self._run(statement or self.statement)

    def prepare(self, statement, tag=None, cache_statement=True):
        self.statement = statement

    def parse(self, statement):
        self._run(statement)

    def callproc(self, name, parameters=None, keyword_parameters=None):
        self._run(f"BEGIN {name}; END;")
        return []

    def callfunc(self, name, return_type, parameters=None, keyword_parameters=None):
        self._run(f"BEGIN :1 := {name}; END;")

    def fetchone(self):
        return next(self._rows, None)

    def fetchmany(self, size=None, numRows=None):  # noqa: N803 - the driver's name
        return [row for _, row in zip(range(size or self.arraysize), self._rows, strict=False)]

    def fetchall(self):
        return list(self._rows)

    def scroll(self, value=0, mode="relative"):
        self._connection._operation("SCROLL")

    def __iter__(self):
        return self

    def __next__(self):
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def setinputsizes(self, *args, **kwargs):
        pass

    def close(self):
        pass


def connect(dsn=None, *, pool=None, conn_class=Connection, params=None, **kwargs):
    if not issubclass(conn_class, Connection):
        raise failure("DPY-2023: conn_class must be a subclass of Connection")
    return conn_class(dsn=dsn, pool=pool, params=params, **kwargs)


def create_pool(*args, **kwargs):
    raise AssertionError("python-oracledb's own pool is not wanted")
