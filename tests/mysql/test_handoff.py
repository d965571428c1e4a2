"""mysqlclient's connections whose sockets change hands, over a real MariaDB."""

import gc
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import ANY

import MySQLdb
import pymysql
import pytest
from MySQLdb.cursors import SSCursor

from carpool.driver import NeedsNewSession
from carpool.errors import StaleCursorError
from carpool.host.handoff import NotShareable, Shell, Visitor
from carpool.mysql import greeter as g
from carpool.mysql import wire
from carpool.mysql.driver import MysqlclientDriver
from carpool.mysql.framing import split
from tests.mysql.minibroker import MiniBroker

SHARED = {"charset": "utf8mb4", "autocommit": True}


@pytest.fixture
def make_broker(database, tmp_path):
    """Call it with the worker's parameters, besides those that lead to the database."""
    made = []

    def make(**params):
        path = tmp_path / str(len(made))
        path.mkdir()
        made.append(MiniBroker(path, **database.params | SHARED | params))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def table(database):
    database.query("CREATE TABLE note (n INT PRIMARY KEY, text TEXT) ENGINE=InnoDB")
    database.query("INSERT INTO note VALUES (1, 'one'), (2, 'two')")


def ask(connection, statement, cursorclass=None):
    with connection.cursor(cursorclass) as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def pid(connection):
    return ask(connection, "SELECT CONNECTION_ID()")[0][0]


def recorded(port):
    """Start to listen for one client of the server at `port`; return the new port, and a list.

    The list has what the server has said first, and the client's answer to it, once that is here.
    """
    listener, said = socket.create_server(("127.0.0.1", 0)), []

    def serve():
        server = socket.create_connection(("127.0.0.1", port))
        with listener, server, listener.accept()[0] as client:
            said.append(server.recv(65536))
            client.sendall(said[0])
            said.append(client.recv(65536))

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], said, thread


# A login -----------------------------------------------------------------------------------------


def test_a_shell_is_greeted_as_by_the_server(broker, database):
    with socket.create_connection(("127.0.0.1", database.server.port)) as server:
        real = split(server.recv(65536))[0]
    played = split(broker.driver.greeter(broker.facts, 1, b"").hello())[0]
    scramble, rest = real.index(b"\0") + 5, real.index(b"\0") + 14
    assert played[: scramble - 4] == real[: scramble - 4]  # protocol and version
    low, status, high, length, extended = struct.unpack_from("<HxHHB6xI", real, rest)
    assert struct.unpack_from("<HxHHB6xI", played, rest) == (
        *(low & ~0x820, status),  # no TLS, no compression
        *(high & ~0x100, length, extended),  # what the library does not know: DEPRECATE_EOF
    )
    assert played[-22:] == real[-22:]  # the plugin
    assert len(played) == len(real)


@pytest.mark.parametrize("flags", [0, 2, 0x100])  # none, FOUND_ROWS, IGNORE_SPACE
@pytest.mark.parametrize("multi", [True, False])
def test_a_shell_agrees_on_what_the_broker_has_agreed_on(make_broker, database, flags, multi):
    params = {"client_flag": flags, "multi_statements": multi, "local_infile": 1}
    broker = make_broker(**params)
    port, said, thread = recorded(database.server.port)
    with pytest.raises(MySQLdb.OperationalError):  # the recorder hangs up
        broker.driver.connect({"port": port})
    thread.join(10)
    shell = broker.shell()
    real, played = (g.parse(split(each)[0]) for each in (said[1], broker.responses[-1]))
    assert (played.flags, played.extended) == (real.flags, real.extended)
    assert shell.client_flag == broker.first.client_flag
    assert isinstance(broker.greeters[-1].outcome, Shell)


def test_a_shell_says_nothing_but_its_login(broker):
    broker.shell()
    assert len(split(broker.responses[-1])) == 1
    assert broker.greeters[-1].rest == b""


def test_a_shell_that_understands_more_or_less_is_refused(make_broker):
    broker = make_broker()
    broker.worker._params["client_flag"] = 2
    with pytest.raises(MySQLdb.OperationalError, match=r"other capabilities \(differing: 0x2"):
        broker.bare_shell()


def test_a_shell_has_the_record_of_a_connection_of_its_own(broker):
    shell, own = broker.shell(), broker.worker.connect({})
    for name in (
        *("login", "set_up", "charset", "autocommit", "wrapped", "impatient", "effect"),
        *("cursorclass", "count", "switched", "begun", "sent", "lost", "underway"),
    ):
        assert getattr(shell.session, name) == getattr(own.session, name), name
    assert shell.session.port == broker.first.session.port > 0
    assert shell.encoding == own.encoding
    assert shell.get_server_info() == own.get_server_info()
    assert shell.character_set_name() == own.character_set_name()
    broker.worker.close(own, 5)


def test_a_login_of_another_charset(make_broker):
    broker = make_broker(charset="latin1")
    shell = broker.shell()
    assert ask(shell, "SELECT 'é', @@character_set_client") == (("é", "latin1"),)
    assert shell.literal("é") == b"'\xe9'"


def test_an_option_file_is_the_brokers(make_broker, tmp_path):
    path = tmp_path / "my.cnf"
    path.write_text("[client]\ninit-command=SET @told = 1\n")
    broker = make_broker(read_default_file=str(path), read_timeout=5)
    shell = broker.shell()
    assert len(split(broker.responses[-1])) == 1
    assert ask(shell, "SELECT @told") == ((1,),)
    broker.worker.settle(shell)
    with pytest.raises(NeedsNewSession):
        broker.worker.begin_reset(shell, everything=True)


def test_no_password_is_sent_to_the_broker(make_broker, database):
    database.server.create_role("shop", "secret")
    broker = make_broker(user="shop", password="secret")
    shell = broker.shell()
    assert shell.session.login["password"] == "secret"
    assert broker.responses[-1].count(g.SHELL_USER.encode() + b"\0\0") == 1


# Work --------------------------------------------------------------------------------------------


def test_statements_go_to_whichever_server_connection_lies_underneath(broker):
    shell, other = broker.shell(), broker.open()
    for server in (other, broker.first, other):
        broker.lend(server, shell)
        assert pid(shell) == shell.thread_id() == broker.driver.server_id(server)
        assert broker.worker.settle(shell)


def test_a_large_result_between_two_server_connections(broker):
    shell, other = broker.shell(), broker.open()
    for server in (broker.first, other):
        broker.lend(server, shell)
        ((text,),) = ask(shell, "SELECT REPEAT('x', 16000000)")
        assert len(text) == 16_000_000
        rows = ask(shell, "SELECT seq, REPEAT('y', 1000) FROM seq_1_to_20000")
        assert (len(rows), rows[-1][0]) == (20000, 20000)
        assert pid(shell) == broker.driver.server_id(server)


@pytest.mark.usefixtures("table")
def test_all_sorts_of_answers(broker, database):
    shell = broker.shell()
    with pytest.raises(MySQLdb.ProgrammingError):
        ask(shell, "SELECT * FROM nowhere")
    ask(shell, "SELECT CAST('x' AS integer)")
    assert shell.show_warnings()[0][1] == 1292
    rows = ask(shell, "SELECT n FROM note ORDER BY n", SSCursor)
    assert rows == ((1,), (2,))
    with shell.cursor() as cursor:
        cursor.execute("SELECT 1; SELECT 2; UPDATE note SET text = 'x'")
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
        assert found[:2] == [((1,),), ((2,),)]
        assert cursor.rowcount == 2
    shell.begin()
    with shell.cursor() as cursor:
        cursor.execute("INSERT INTO note VALUES (3, 'three')")
    assert broker.worker.in_transaction(shell)
    shell.commit()
    assert database.query("SELECT COUNT(*) AS n FROM note")[0].n == 3


# What is left in the client library --------------------------------------------------------------

SPOILS = {
    "a transaction": "BEGIN",
    "autocommit": "SET autocommit=0",
    "character set": "SET NAMES latin1",
    "a variable": "SET @mine = 1",
    "sql_mode": "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
    "many results": "SELECT 1; SELECT 2",
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_one_who_left_a_mess_leaves_none_to_the_next(broker, spoil):
    shell, other = broker.shell(), broker.open()
    driver = broker.worker
    ask(shell, SPOILS[spoil])
    if spoil == "many results":
        while shell.next_result() == 0:
            shell.discard_result()
        shell.session.effect = None
    else:
        driver.settle(shell)
        assert not driver.begin_reset(shell, everything=True)
        driver.finish_reset(shell, 5)
    broker.lend(other, shell)
    assert shell.get_autocommit()
    assert driver.effect(shell) is None
    assert driver.at_rest(shell)
    assert not driver.in_transaction(shell)
    assert not broker.worker.broken(shell)  # no more results
    assert shell.literal("a\\b") == b"'a\\\\b'"
    second = broker.shell(broker.first)
    own = ask(second, "SELECT @mine, @@autocommit, @@character_set_client, @@in_transaction")
    assert own == ((None, 1, "utf8mb4", 0),)
    assert driver.settle(shell)


@pytest.mark.parametrize("everything", [True, False])
def test_a_reset_reaches_the_server_connection_underneath(broker, everything):
    driver, shell, other = broker.worker, broker.shell(), broker.open()
    broker.lend(other, shell)
    ask(shell, "SET @mine = 5")
    shell.begin()
    driver.settle(shell)
    driver.begin_reset(shell, everything=everything)
    driver.finish_reset(shell, 5)
    database, mine, open_ = ask(shell, "SELECT DATABASE(), @mine, @@in_transaction")[0]
    assert (database, open_) == (shell.session.login["database"], 0)
    assert mine is (None if everything else mine)
    assert pid(shell) == broker.driver.server_id(other)


def test_no_reset_where_the_shell_would_have_to_log_in(make_broker):
    broker = make_broker(database="")
    shell = broker.shell()
    ask(shell, "SET @mine = 5")
    broker.worker.settle(shell)
    with pytest.raises(NeedsNewSession):
        broker.worker.begin_reset(shell, everything=True)


def test_an_installed_connection_begins_anew(broker):
    driver, shell, other = broker.worker, broker.shell(), broker.open()
    stale = shell.cursor()
    ask(shell, "SET @mine = 1")
    shell.mine = 1
    driver.set_up_done(shell, "somebody")
    broker.lend(other, shell)
    assert driver.effect(shell) is None
    assert driver.set_up_by(shell) is None
    assert not hasattr(shell, "mine")
    assert driver.at_rest(shell)
    assert not driver.broken(shell)
    with pytest.raises(StaleCursorError):
        stale.execute("SELECT 1")


def test_the_look_at_the_socket_follows(broker, database):
    driver, shell, other = broker.worker, broker.shell(), broker.open()
    readable = driver.watch(shell)
    broker.lend(other, shell)
    assert driver.watch(shell) is readable
    assert driver.look(shell)
    database.query("KILL %s", [driver.server_id(broker.first)])
    assert not readable(0)
    database.query("KILL %s", [driver.server_id(shell)])
    assert readable(5000)
    assert not driver.look(shell)


# The end -----------------------------------------------------------------------------------------


def alive(broker, server):
    """Tell whether a server connection answers to the broker."""
    return pid(server) == broker.driver.server_id(server)


def test_the_channel_is_not_the_servers(broker, database):
    shell = broker.bare_shell()
    shell.close()
    assert len(database.sessions()) == 1


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def close(broker, shell):
    shell.close()


def abandon(broker, shell):
    broker.worker.disown(shell)
    broker.worker.close(shell, 5)


def collect(broker, shell):
    broker.shells.clear()


@pytest.mark.parametrize("end", [close, abandon, collect])
def test_a_shell_ends_without_a_word(broker, database, end):
    shell = broker.shell()
    assert alive(broker, shell)
    mark, before = database.mark(), descriptors()
    end(broker, shell)
    del shell
    gc.collect()
    assert alive(broker, broker.first)
    assert [each.text for each in database.statements(mark)] == ["SELECT CONNECTION_ID()"]
    assert descriptors() == before - 1


def test_the_driver_ends_what_lies_under_a_shell(broker, database):
    shell, mark = broker.shell(), database.mark()
    broker.worker.close(shell, 5)
    database.wait_for_sessions(0)
    assert [each.text for each in database.statements(mark)] == ["Quit"]


CHILD = """
import os, sys
from carpool.mysql.driver import MysqlclientDriver
driver = MysqlclientDriver(**{params!r})
shell = driver.make_shell({path!r})
os.dup2({descriptor}, driver.descriptor(shell))
driver.installed(shell, {number})
with shell.cursor() as cursor:
    cursor.execute("SELECT CONNECTION_ID()")
    assert cursor.fetchall() == (({number},),)
{more}
"""
ENDS = {
    "exit": "",
    "a cycle at exit": "shell.me = shell",
    "an error": "del driver; cursor = None; sys.exit(shell.close())",
    "fork": "child = os.fork()\nif child:\n assert os.waitpid(child, 0)[1] == 0\n"
    " shell.ping(); del shell",
    "fork, disowned": "child = os.fork()\nif child:\n assert os.waitpid(child, 0)[1] == 0\n"
    " shell.ping()\nelse:\n driver.disown(shell); driver.close(shell, 1)",
}


def child(broker, more, **popen):
    descriptor = broker.driver.descriptor(broker.first)
    text = CHILD.format(
        params=broker.worker.given,
        path=broker.path,
        descriptor=descriptor,
        number=broker.driver.server_id(broker.first),
        more=more,
    )
    return subprocess.Popen([sys.executable, "-c", text], pass_fds=[descriptor], **popen)


@pytest.mark.parametrize("end", ENDS)
def test_a_process_ends_without_a_word(broker, database, end):
    mark = database.mark()
    process = child(broker, ENDS[end], stderr=subprocess.PIPE, text=True)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert alive(broker, broker.first)
    assert "Quit" not in [each.text for each in database.statements(mark)]


@pytest.mark.usefixtures("table")
def test_what_a_dead_borrower_did_is_undone(broker, database):
    more = (
        "cursor = shell.cursor(); cursor.execute('BEGIN')\n"
        "cursor.execute(\"UPDATE note SET text = 'mine'\"); cursor.execute('SELECT SLEEP(60)')"
    )
    process = child(broker, more)
    database.wait_for_sessions(1, INFO="SELECT SLEEP(60)")
    process.kill()
    process.wait(10)
    assert database.sessions()[0].query == "SELECT SLEEP(60)"  # nobody has told the server
    broker.driver.forsake(broker.first)
    broker.driver.close(broker.first, 5)
    assert database.sessions() == []
    open_ = database.query("SELECT COUNT(*) AS n FROM information_schema.INNODB_TRX")
    assert open_[0].n == 0
    assert database.query("SELECT text FROM note FOR UPDATE")[0].text == "one"


def test_what_runs_is_cancelled_and_the_session_stays(broker, database):
    shell, errors = broker.shell(), []

    def sleep():
        try:
            ask(shell, "SELECT SLEEP(60)")
        except MySQLdb.OperationalError as error:
            errors.append(error.args[0])

    thread = threading.Thread(target=sleep)
    thread.start()
    database.wait_for_sessions(1, INFO="SELECT SLEEP(60)")
    broker.driver.cancel(broker.first, 10)
    thread.join(10)
    assert errors == [1317]  # ER_QUERY_INTERRUPTED
    assert alive(broker, broker.first)
    assert broker.driver.cancel(broker.first, 10) is None
    assert alive(broker, shell)


def test_to_cancel_raises_nothing(broker):
    broker.driver._params["port"] = 1
    assert broker.driver.cancel(broker.first, 5) is None


# Visitors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [[], ["--password=anything"]])
@pytest.mark.parametrize("plugin", [[], ["--default-auth=mysql_clear_password"]])
def test_the_command_line_client_is_a_visitor(broker, password, plugin):
    command = ["mariadb", "--no-defaults", f"--socket={broker.path}/mysql.sock", "--user=me"]
    more = ["--batch", "--skip-column-names", "-e", "SELECT 6*7; SELECT REPEAT('x', 3)", "shop"]
    text = subprocess.check_output(
        [*command, *password, *plugin, *more], stderr=subprocess.STDOUT, text=True, timeout=60
    )
    assert text == "42\nxxx\n"
    assert broker.greeters[-1].outcome == Visitor("me", "shop", ANY)
    assert alive(broker, broker.first)


def visit(broker):
    return pymysql.connect(
        unix_socket=f"{broker.path}/mysql.sock", user="me", password="x", autocommit=True
    )


def test_a_visitor_that_knows_too_little_is_told_so(broker):
    assert broker.facts.extended & g.EXTENDED_METADATA
    with pytest.raises(pymysql.err.OperationalError, match="use the client library of"):
        visit(broker)
    assert broker.greeters[-1].outcome is None


def test_facts_are_what_the_server_says(broker):
    facts = broker.facts
    assert facts.version == broker.first.get_server_info()
    assert facts.extended == 29
    assert facts.charset == 45  # utf8mb4_general_ci
    assert facts.autocommit
    assert alive(broker, broker.first)


def test_facts_of_a_server_that_does_not_answer(broker, database):
    database.query("KILL %s", [broker.driver.server_id(broker.first)])
    with pytest.raises((wire.WireError, OSError)):
        broker.driver.facts(broker.first)


def test_what_the_client_library_encrypts_is_not_handed_over(tls_mariadb):
    tls = {"ssl_mode": "REQUIRED", "ssl": {"ca": str(tls_mariadb.ca)}}
    driver = MysqlclientDriver(**tls_mariadb.params | tls)
    connection = driver.connect({})
    with pytest.raises(NotShareable, match="in OPTIONS"):
        driver.facts(connection)
    driver.close(connection, 5)
