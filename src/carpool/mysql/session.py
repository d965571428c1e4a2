"""Connections and cursors of mysqlclient and PyMySQL that notice what is done to the session.

Both modules send every statement of a cursor through the cursor's `_query` and the connection's
`query`. A tracked cursor classifies the text before the values are filled in; what comes to
`query` from elsewhere counts as an effect.
"""

from __future__ import annotations

import os
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final

from carpool import sockets
from carpool.errors import StaleCursorError
from carpool.looking import text_of
from carpool.mysql.effects import effect, transaction
from carpool.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

# What the client library itself reports, not the server: the exchange came to no proper end.
# https://dev.mysql.com/doc/mysql-errors/8.0/en/client-error-reference.html
CLIENT_ERRORS: Final = range(2000, 3000)

# MariaDB keeps the role through COM_RESET_CONNECTION, and even through COM_CHANGE_USER. (One that
# a procedure sets ends with it.)
_MAY_SET_ROLE: Final = re.compile("role|execute", re.IGNORECASE)


class MySQLSession(Session):
    """What the pool knows of a MySQL session besides."""

    def __init__(self, server_errors: type[Exception]) -> None:
        super().__init__(lambda _: None, {})
        self.server_errors = server_errors  # the module's, some of which are its own
        self.autocommit = False  # as opened
        self.cursorclass: Any = None  # as opened
        # Attributes of the connection that no work of the module's changes, for a quick look:
        self.chosen: Callable[[Any], Any] = len  # how to pick them,
        self.kept: Any = None  # ... what they were
        self.count = 0  # ... and how many there were in all
        self.begun = False  # a transaction, in so many words
        self.ending = False  # the text that is being sent ends one
        self.sent = False  # a statement since the last end of a transaction
        self.switched = False  # autocommit is not as opened, by the module's own method
        self.unbuffered = False  # in this lease a result was to be read as it comes
        self.noted: object = None  # what a tracked cursor is about to send
        self.underway = False  # somebody is in the middle of an exchange with the server
        self.lost = False  # an exchange came to no proper end, or the session is another one
        self.running = False  # a statement may be, on the server, of which we have let go
        self.impatient = False  # the client library gives up after a time set by the user
        self.set_up: list[str] = []  # statements
        self.charset = ""  # as opened
        self.login: dict[str, Any] = {}  # as opened: user, password, database
        self.indelible = False  # what has been left behind may outlast a reset
        self.descriptor = -1  # as opened
        self.inode = 0  # of the socket
        self.thread_id = 0  # the server's
        self.port = 0  # of this end, 0: not TCP
        self.wrapped = False  # in TLS or compression
        self.as_made: dict[str, Any] = {}  # a shell's attributes, before anybody had it

    def note(self, query: Any) -> None:
        """Take note of a text that is about to be sent."""
        text = query if type(query) is str else text_of(query)
        if reason := effect(text):
            self.effect = self.effect or reason
            self.indelible = self.indelible or bool(_MAY_SET_ROLE.search(text))
        state = transaction(text)
        if state:
            self.begun = True
        self.ending = state is False

    def end(self) -> None:
        """Note that no transaction is open."""
        self.begun = self.sent = self.ending = False

    def interrupted(self, error: BaseException, query: object = None) -> None:
        """Note the exception with which an exchange has ended, or has not even begun."""
        self.underway = self.ending = False
        if isinstance(error, UnicodeEncodeError) and error.object is query:
            return  # PyMySQL encodes a text before it sends anything
        number = error.args[0] if isinstance(error, self.server_errors) and error.args else None
        if number and number not in CLIENT_ERRORS:
            return  # an answer
        self.lost = True
        self.running = number is None or self.impatient

    def cleared(self) -> None:
        """Note that a reset is complete."""
        super().cleared()
        self.switched = False
        self.end()


# Of which `executemany` makes something else.
_AROUND: Final = " \t\r\n;"
_PLACEHOLDER: Final = re.compile(r"%(?:\([^)]*\))?[s%]")


if TYPE_CHECKING:
    Base = Any
else:
    Base = object


class Noticing(Base):  # type: ignore[misc] # the modules' own class comes after it
    """A mixin for the modules' connections, which keep a `MySQLSession`."""

    def __init__(self, **params: Any) -> None:
        self.session = MySQLSession(self.Error)
        super().__init__(**params)

    def _exchange(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Have something done with the server, and note whether it came to its end."""
        session = self.session
        session.underway = True
        try:
            answer = method(*args, **kwargs)
        except BaseException as error:
            session.interrupted(error)
            raise
        session.underway = False
        return answer

    def query(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """As the module's, and take note of what does not come from a tracked cursor."""
        session = self.session
        if query is session.noted:
            session.noted = None
            if args or kwargs:  # PyMySQL's `unbuffered`
                session.effect = session.effect or "unbuffered result"
            return super().query(query, *args, **kwargs)
        session.take_by_hand()
        session.note(query)
        session.effect = session.effect or "untracked cursor"
        session.sent = True
        answer = self._exchange(super().query, query, *args, **kwargs)
        if session.ending:
            session.end()
        return answer

    def cursor(self, cursorclass: Any = None) -> Any:
        """As the module's, for the present lease."""
        session = self.session
        session.take_by_hand()
        if cursorclass is None:
            cursorclass = self.cursorclass
        if cursorclass is not session.cursorclass:
            cursorclass = tracked(cursorclass)
        cursor = cursorclass(self)
        cursor.lease = session.lease
        return cursor

    def commit(self) -> None:
        """As the module's."""
        self.session.check_holder()
        self._exchange(super().commit)
        self.session.end()

    def rollback(self) -> None:
        """As the module's."""
        self.session.check_holder()
        self._exchange(super().rollback)
        self.session.end()

    def begin(self) -> None:
        """As the module's."""
        self.session.check_holder()
        self.session.begun = True
        self._exchange(super().begin)

    def autocommit(self, value: Any) -> None:
        """As the module's; to switch it on commits what is open."""
        self.session.check_holder()
        before = self.get_autocommit()
        self._exchange(super().autocommit, value)
        session = self.session
        session.switched = bool(value) != session.autocommit
        if bool(value) != before:
            session.sent = False
            session.begun = session.begun and before

    def select_db(self, database: Any) -> None:
        """As the module's, until the connection is given back."""
        self.session.effect = self.session.effect or "USE"
        self._exchange(super().select_db, database)

    def set_character_set(self, *args: Any, **kwargs: Any) -> None:
        """As the module's, until the connection is given back."""
        self.session.effect = self.session.effect or "character set"
        self._exchange(super().set_character_set, *args, **kwargs)

    def live_descriptor(self) -> int:
        """Return the number of the socket, -1: closed.

        The modules close it at some errors without a word, and mysqlclient does not tell which one
        it is while another thread is at work. A number alone may be that of another file by now.
        """
        session = self.session
        try:
            same = os.fstat(session.descriptor).st_ino == session.inode
        except OSError:
            same = False
        return session.descriptor if same else -1

    def close(self) -> None:
        """As the module's; the pool then waits for the server to hang up."""
        session, descriptor = self.session, self.live_descriptor()
        if session.farewell is None and descriptor >= 0:
            session.farewell = sockets.Farewell(descriptor)
        super().close()
        session.lost = True

    at_work: ClassVar[Collection[str]]  # attributes that the module, or Django, sets at work

    def attributes(self) -> dict[str, Any]:
        """Return what users may set on this object; what the module sets at work is None."""
        raise NotImplementedError

    def keep_attributes(self) -> None:
        """Take the attributes as they are for those that the next user shall find."""
        self.session.baseline = {
            name: _own_copy(value) for name, value in self.attributes().items()
        }
        session, own = self.session, vars(self)
        session.chosen = itemgetter(*(name for name in own if name not in self.at_work))
        session.kept, session.count = session.chosen(own), len(own)

    def is_altered(self) -> bool:
        """Tell whether the user has set an attribute. What is inside of them is not looked at."""
        session, own = self.session, self.__dict__
        try:
            return len(own) != session.count or bool(session.chosen(own) != session.kept)
        except KeyError:  # one has been deleted
            return True

    def restore_attributes(self) -> None:
        """Undo what was done to this object, and to its dictionaries and lists. No round trip."""
        found, baseline = self.attributes(), self.session.baseline
        for name in found.keys() - baseline.keys():
            del self.__dict__[name]  # `delattr` is refused by mysqlclient
        for name, value in baseline.items():
            if found.get(name, self) != value:
                setattr(self, name, _own_copy(value))


def _own_copy(value: Any) -> Any:
    return value.copy() if type(value) in (dict, list) else value


class _Many:
    """Tells what the modules' `executemany` makes of a text from what others execute meanwhile.

    That may be the rows, with the same cursor. The modules send the text itself, or put many rows
    together in bytes that begin and end like it.
    """

    def __init__(self, query: Any, encoding: str, *, known: bool) -> None:
        self.query = query
        self.known = known  # else a class of the user's may add to the text, or send others
        fixed = _PLACEHOLDER.split(text_of(query).strip(_AROUND))
        self.head, self.tail = (fixed[at].encode(encoding, "replace") for at in (0, -1))

    def made(self, query: Any) -> bool:
        """Tell whether a text is one of the latter."""
        if not (self.known and isinstance(query, bytes | bytearray)):
            return False
        text = query.strip(_AROUND.encode())
        return text.startswith(self.head) and text.endswith(self.tail)


class Tracked(Base):  # type: ignore[misc] # the modules' own class comes after it
    """A mixin for the modules' cursor classes: classifies what they execute.

    A cursor serves the lease in which it was made; later its connection is somebody else's.
    """

    connection: Any
    # Set by who makes the cursor, `Noticing.cursor`. One made by its class alone serves the lease
    # of its first statement.
    lease: int | None = None
    _many: _Many | None = None  # what is being executed so, and has been classified
    _executemany_is_known = True  # it is the module's own

    def _session(self) -> MySQLSession:
        """Return the session; raises `StaleCursorError` unless this lease is still the present."""
        connection = self.connection
        if connection is None:
            connection = self._get_db()  # which raises
        session: MySQLSession = connection.session
        if self.lease != session.lease:
            if self.lease is not None:
                raise StaleCursorError("the cursor's connection has been given back to the pool")
            self.lease = session.lease
        return session

    def execute(self, query: Any, args: Any = None) -> Any:
        """As the module's. Raises `StaleCursorError` as well."""
        session = self._session()
        many = self._many
        if many is None or not (query is many.query or many.made(query)):
            session.note(query)
        return super().execute(query, args)

    def executemany(self, query: Any, args: Any) -> Any:
        """As the module's. Raises `StaleCursorError` as well."""
        self._session().note(query)
        before = self._many
        known = self._executemany_is_known
        self._many = _Many(query, self.connection.encoding, known=known)
        try:
            return super().executemany(query, args)
        finally:
            self._many = before

    def callproc(self, procname: Any, args: Any = ()) -> Any:
        """As the module's. Raises `StaleCursorError` as well."""
        self._session().note("CALL p()")
        return super().callproc(procname, args)

    def nextset(self) -> Any:
        """As the module's. Raises `StaleCursorError` as well."""
        self._session()
        return super().nextset()

    def _query(self, query: Any) -> Any:
        """As the module's, and note how it ends."""
        connection = self.connection
        if connection is None or self.lease != connection.session.lease:
            self._session()  # which raises, or takes the lease
        session: MySQLSession = connection.session
        session.noted = query
        session.underway = session.sent = True
        try:
            answer = super()._query(query)
        except BaseException as error:
            session.interrupted(error, query)
            raise
        session.underway = False
        if session.ending:
            session.end()
        return answer

    def close(self) -> None:
        """As the module's; one of an earlier lease leaves the results of others alone."""
        connection = self.connection
        if connection is not None and self.lease not in (None, connection.session.lease):
            self.connection = self._result = None
        super().close()


_tracked_classes: dict[Any, Any] = {}


def tracked(cursorclass: Any) -> Any:
    """Return the tracked variety of a cursor class, always the same one.

    What is not a class is left alone: the connection sees what its cursors send.
    """
    if not isinstance(cursorclass, type) or issubclass(cursorclass, Tracked):
        return cursorclass
    known = _tracked_classes.get(cursorclass)
    if known is None:
        members: dict[str, Any] = {"__doc__": cursorclass.__doc__}
        module = getattr(cursorclass, "executemany", tracked).__module__
        members["_executemany_is_known"] = module in ("MySQLdb.cursors", "pymysql.cursors")
        if hasattr(cursorclass, "__del__"):  # PyMySQL's SSCursor, which closes by a way of its own
            members["__del__"] = Tracked.close
        made = type(cursorclass.__name__, (Tracked, cursorclass), members)
        known = _tracked_classes.setdefault(cursorclass, made)
    return known
