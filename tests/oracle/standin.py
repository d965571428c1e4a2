"""Stands for python-oracledb where there is no Oracle server: its API as documented.

Loaded under the name `oracledb` by `conftest.py`, afresh for a test. Each connection talks through
a socket of its own to a thread of `server`, which tests look at.
"""

import contextlib
import json
import select
import threading

from tests.oracle.server import Refusal, Server

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


# ---------------------------------------------------------------------------------- the driver


server = Server()


class Transport:
    __slots__ = ("socket",)


class Impl:
    """As in the driver: the socket is behind an object that shows nothing."""

    __slots__ = ("attributes", "labels", "lock", "session", "transaction", "transport")

    def __init__(self, **params):
        self.transport = Transport()
        try:
            self.session, self.transport.socket = server.login(**params)
        except Refusal as refusal:
            raise failure(str(refusal)) from None
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
    call_timeout = callTimeout = _readable("call_timeout")  # noqa: N815 - the driver's old name
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

    def fetch_df_all(self, statement, parameters=None, arraysize=None):
        return self._operation(statement)

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
        kind = __getattr__("DB_TYPE_NCLOB" if "lobs" in statement else "DB_TYPE_VARCHAR")
        self.description = [("C", kind)] if rows else None

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
        return next(self._rows)  # as in version 2: not by way of `fetchone`

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
