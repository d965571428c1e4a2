"""Django on the engine `carpool.oracle`, with the stand-in as its module `oracledb`."""

import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections, transaction
from django.db.backends.signals import connection_created
from django.test import override_settings

TERRITORY = "ALTER SESSION SET NLS_TERRITORY = 'AMERICA'"
FORMATS = (
    "ALTER SESSION SET NLS_DATE_FORMAT = 'YYYY-MM-DD HH24:MI:SS'"
    " NLS_TIMESTAMP_FORMAT = 'YYYY-MM-DD HH24:MI:SS.FF' TIME_ZONE = 'UTC'"
)
OPERATORS = (
    "SELECT 1 FROM DUAL WHERE DUMMY LIKE TRANSLATE(:arg0 USING NCHAR_CS)"
    " ESCAPE TRANSLATE('\\' USING NCHAR_CS)"
)
SET_UP = [TERRITORY, FORMATS, OPERATORS]


@pytest.fixture
def use(oracledb, django_databases):
    """Call it to have django.db use the stand-in; returns the wrapper of `default`."""
    used = []

    def use(pool=True, options=None, engine="carpool.oracle", **more):
        entry = {
            "ENGINE": engine,
            "NAME": "db/shop",
            "USER": "shop",
            "PASSWORD": "secret",
            "OPTIONS": {**({} if pool == "absent" else {"pool": pool}), **(options or {})},
            **more,
        }
        used.append(django_databases(default=entry))
        return used[-1]["default"]

    yield use
    for connection in used[-1].all(initialized_only=True) if used else ():
        connection.close()
        if hasattr(connection, "hand_back"):
            connection.close_pool()


def request(connection, *statements):
    """Do what a request does; return the number of the session that served it."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SELECT number FROM dual")
        number = cursor.fetchone()[0]
    connection.close_if_unusable_or_obsolete()
    return number


def in_thread(function, *args):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join()
    return results.pop()


@pytest.mark.parametrize("pool", [True, "absent", {"max_size": 1}])
def test_a_session_is_set_up_once_and_a_request_costs_its_statement(use, server, pool):
    connection = use(pool)
    for _ in range(3):
        request(connection)
    stock = use(False, engine="django.db.backends.oracle")
    request(stock)
    pooled, unpooled = (each.statements for each in server.all)
    assert pooled == [*SET_UP, *["SELECT number FROM dual"] * 3]
    assert unpooled[: len(SET_UP)] == SET_UP  # which is what stock Django does


def test_another_thread_needs_no_set_up(use, server):
    connection = use({"max_size": 1})
    request(connection)

    def work():
        other = connections["default"]
        request(other)
        return other.operators, other.pattern_ops

    assert in_thread(work) == (connection.operators, connection.pattern_ops)
    assert server.all[0].statements == [*SET_UP, *["SELECT number FROM dual"] * 2]


def test_operators_are_known_before_the_first_query(use, server):
    connection = use({"max_size": 1})
    request(connection)
    assert in_thread(lambda: connections["default"].operators["exact"]) == "= %s"


def test_traces_of_a_request_are_gone_and_the_set_up_is_not(use, server):
    connection = use({"max_size": 1})
    first = request(connection, "ALTER SESSION SET NLS_DATE_FORMAT = 'YY'")
    second = request(connection)
    found = server.all[second - 1]
    assert second != first
    assert found.state["NLS_DATE_FORMAT"] == "YYYY-MM-DD HH24:MI:SS"
    assert server.most == 1


def test_transactions(use, server):
    connection = use({"max_size": 1})
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (2)")
        transaction.set_rollback(True)
    request(connection, "INSERT INTO t VALUES (3)")
    assert server.committed == ["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (3)"]
    assert len(server.all) == 1


def test_a_transaction_left_open_is_rolled_back(use, server):
    connection = use({"max_size": 1})
    connection.ensure_connection()
    connection.set_autocommit(False)
    request(connection, "INSERT INTO t VALUES (1)")
    request(connection, "INSERT INTO t VALUES (2)")
    assert server.committed == ["INSERT INTO t VALUES (2)"]
    assert "ROLLBACK" in server.all[0].statements


def test_pool_false_is_plain_django(use, server):
    connection = use(False)
    assert connection.pool is None
    assert not connection.is_pool
    for _ in range(2):
        request(connection)
    assert [each.statements[-1] for each in server.all] == ["LOGOFF"] * 2


def test_the_drivers_own_pool_is_not_used(use, server):
    assert use("absent").is_pool
    connection = use(True)
    assert connection.is_pool
    assert type(connection.pool).__module__.startswith("carpool.")
    request(connection)  # the stand-in's `create_pool` fails


def test_options_for_the_drivers_own_pool_are_refused(use, server):
    with pytest.raises(ImproperlyConfigured, match="'min'"):
        use({"min": 0, "max": 2}).pool  # noqa: B018 - it raises


def test_options_reach_the_driver_and_ours_do_not(use, server):
    request(use(True, {"wallet_location": "/w", "use_returning_into": False}))
    (login,) = server.logins
    assert login["wallet_location"] == "/w"
    assert (login["user"], login["password"], login["dsn"]) == ("shop", "secret", "db/shop")
    assert not {"pool", "use_returning_into", "variant", "autocommit"} & login.keys()


def test_host_and_port_make_the_dsn(use, server):
    connection = use(True, NAME="orcl", HOST="db", PORT="1521")
    request(connection)
    assert "(SID=orcl)" in server.logins[0]["dsn"]
    assert connection.pool.name == "oracle://shop@db:1521/orcl"


def test_other_credentials_mean_another_session(use, server):
    connection = use({"max_size": 1})
    request(connection)
    connection.settings_dict["PASSWORD"] = "other"
    request(connection)
    assert [each["password"] for each in server.logins] == ["secret", "other"]


def test_sessions_are_not_shared_between_time_zones(use, server):
    connection = use({"max_size": 1})
    request(connection)
    with override_settings(USE_TZ=False):
        second = request(connection)
    assert "TIME_ZONE" not in server.all[second - 1].state


def test_receivers_of_connection_created(use, server):
    def receiver(connection, **_):
        with connection.cursor() as cursor:
            cursor.execute("ALTER SESSION SET CURRENT_SCHEMA = 'X'")

    connection = use({"max_size": 1})
    first = request(connection)
    connection_created.connect(receiver)
    try:
        numbers = {request(connection) for _ in range(3)}
    finally:
        connection_created.disconnect(receiver)
    last = request(connection)
    assert len(numbers | {first, last}) == 3  # one session for each set of receivers
    assert server.all[numbers.pop() - 1].state["CURRENT_SCHEMA"] == "X"
    assert "CURRENT_SCHEMA" not in server.all[last - 1].state
    assert server.most == 1


def test_a_refusal_is_djangos_operational_error(use, server):
    server.refusal = "DPY-6005: cannot connect to database (CONNECTION_ID=x)."
    with pytest.raises(OperationalError, match="DPY-6005"):
        request(use({"timeout": 5}))


def test_a_killed_session_reaches_no_request(use, server):
    connection = use({"max_size": 1})
    server.kill(server.all[request(connection) - 1])
    assert request(connection) == 2


def test_a_cursor_of_an_earlier_request_is_refused(use, server):
    connection = use({"max_size": 1})
    cursor = connection.cursor()
    request(connection)
    with pytest.raises(Exception, match="given back to the pool"):
        cursor.execute("SELECT early FROM t")
    assert "SELECT early FROM t" not in server.all[0].statements


def test_a_server_that_knows_no_translate_is_remembered(use, server):
    """Django falls back on LIKEC; wrappers that did not ask must do so, too."""
    server.does["1"] = server.does["WRONG"]  # SELECT 1 FROM DUAL ...
    connection = use({"max_size": 1})
    request(connection)
    assert "LIKEC" in connection.operators["contains"]
    assert in_thread(lambda: connections["default"].operators) == connection.operators
