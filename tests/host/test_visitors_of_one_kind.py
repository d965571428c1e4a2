"""What psql and mysql have each for itself as a pool's visitors."""

from contextlib import closing

import psycopg
import pytest

from tests.host.hosts import SOON, host_on
from tests.host.visits import CLIENTS, end_all, end_of, start
from tests.probing import eventually, run, value

USE = "with pool.connection() as c: run(c, 'SELECT 1')"


def served(kind, request):
    with host_on(kind, request, 1) as host:
        host.start().do(USE)
        yield host
        end_all()


@pytest.fixture(scope="module")
def postgresql(request):
    """A host with one connection to PostgreSQL, which is open."""
    yield from served("postgresql", request)


@pytest.fixture(scope="module")
def mariadb_host(request):
    """The same with MariaDB."""
    yield from served("mysql", request)


@pytest.fixture
def psql(postgresql):
    return CLIENTS["postgresql"](postgresql)


@pytest.fixture
def mysql(mariadb_host):
    return CLIENTS["mysql"](mariadb_host)


# --------------------------------------------------------------------- PostgreSQL


def test_the_session_is_used_again(postgresql, psql):
    before = postgresql.ids()
    for statements in (["SELECT 1"], [psql.sets, psql.lock], ["CREATE TEMP TABLE mine (x int)"]):
        assert end_of(start(psql.script(*statements)))[0] == 0
    with closing(psql.connect()) as visitor:
        assert {value(visitor, postgresql.session_id)} == postgresql.ids() == before


def test_who_waits_for_it_finds_it_clean(postgresql, psql):
    worker = postgresql.start()
    with closing(psql.connect()) as visitor:
        run(visitor, psql.sets)
        worker.tell(f"with pool.connection() as c: say(value=value(c, {psql.look!r}))")
        postgresql.waiting(1)
    assert worker.answer() is False
    worker.close()


def test_a_dump_of_postgresql(postgresql, psql):
    with closing(psql.connect()) as visitor:
        run(visitor, "CREATE TABLE dumped AS SELECT 42 AS answer")
    _, *_, url = psql.command()
    program = postgresql.database.server._bin() / "pg_dump"
    code, out, err = end_of(start([program, "--inserts", url]))
    assert (code, "VALUES (42)" in out) == (0, True), err


def test_a_session_left_in_a_transaction_is_not(postgresql, psql):
    before = postgresql.ids()
    assert end_of(start(psql.script("BEGIN")))[0] == 0
    with closing(psql.connect()) as visitor:
        assert value(visitor, postgresql.session_id) not in before


def test_settings_of_the_login_are_made(psql):
    wanted = "-c statement_timeout=59s --DateStyle=SQL,\\ DMY"
    look = ["SHOW application_name", "SHOW statement_timeout", "SHOW DateStyle"]
    done = end_of(start(psql.script(*look), PGOPTIONS=wanted, PGAPPNAME="o'neil"))
    assert done == (0, "o'neil\n59s\nSQL, DMY\n", "")
    with closing(psql.connect()) as visitor:
        assert value(visitor, "SHOW statement_timeout") == "0"


def test_the_client_is_told_of_its_settings(psql):
    with closing(psql.connect(client_encoding="LATIN1", application_name="mine")) as visitor:
        assert visitor.info.parameter_status("application_name") == "mine"
        assert visitor.info.encoding == "iso8859-1"


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"options": "-c nonsense=1"}, "unrecognized configuration parameter"),
        ({"options": "-c geqo=perhaps"}, 'parameter "geqo" requires a Boolean value'),
        ({"options": "-d 5"}, "'-d' in the options asks for, only a login can do"),
    ],
)
def test_a_setting_that_cannot_be_made_is_an_error_of_the_login(postgresql, psql, params, why):
    with pytest.raises(psycopg.OperationalError, match=why):
        psql.connect(**params)
    assert end_of(start(psql.script("SELECT 1"))) == (0, "1\n", "")


# ------------------------------------------------------------------------ MariaDB


def test_before_its_first_command_it_has_no_connection(mariadb_host, mysql):
    with closing(mysql.connect_silently()), closing(mysql.connect_silently()) as other:
        assert mariadb_host.status()["relayed"] == 0
        other.query("SELECT 1")
        assert mariadb_host.status()["relayed"] == 1
    eventually(lambda: not mariadb_host.status()["relayed"])


def test_a_session_is_killed_by_the_number_that_its_client_knows(mariadb_host, mysql):
    with closing(mysql.connect()) as visitor:
        run(visitor, "SELECT 1")
        number = visitor.thread_id()
        assert end_of(start(mysql.script(f"KILL {number}")))[0] == 0
        with pytest.raises(mysql.Error, match=r"gone away|Lost connection"):
            run(visitor, "SELECT 1")
    eventually(lambda: not mariadb_host.status()["relayed"], SOON)


def test_to_kill_a_number_that_is_nobodys_is_the_servers_business(mariadb_host, mysql):
    code, _, err = end_of(start(mysql.script("KILL QUERY 4294967000")))
    assert (code, "Unknown thread id: 4294967000" in err) == (1, True)


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "utf8mb4"])
def test_the_charset_of_the_login_is_that_of_the_session(mysql, charset):
    names = ("character_set_client", "character_set_results", "character_set_connection")
    look = f"SELECT {', '.join(f'@@{name}' for name in names)}"
    done = end_of(start(mysql.command(f"--default-character-set={charset}", f"--execute={look}")))
    assert done == (0, "\t".join([charset] * 3) + "\n", "")


def test_a_dump(mariadb_host, mysql):
    with closing(mysql.connect()) as visitor:
        run(visitor, "CREATE TABLE dumped AS SELECT 42 AS answer")
    _, *words = mysql.command()
    words = [each for each in words if each not in ("--batch", "--skip-column-names")]
    code, out, err = end_of(start(["mysqldump", *words, "dumped"]))
    assert (code, "VALUES\n(42)" in out) == (0, True), err
