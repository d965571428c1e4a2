"""The server behind the stand-in for python-oracledb: what a session keeps, and who asked what.

Its language is a handful of statements. Each session has a socket and a thread of its own.
"""

import json
import re
import socket
import threading


class Refusal(Exception):
    """A login is refused; holds the text of the driver's error."""


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
        self.does = dict(DOES)

    def login(self, **params):
        with self.lock:
            self.logins.append(params)
            if self.refusal:
                raise Refusal(self.refusal)
            if len(self.sessions) >= self.limit:
                raise Refusal("ORA-00018: maximum number of sessions exceeded")
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
        does = self.does.get(rest.partition(" ")[0]) or self.does.get(word) or (lambda *_: None)
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
