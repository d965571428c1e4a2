"""MariaDB for the conformance suite, with mysqlclient and PyMySQL."""

from typing import ClassVar

import pytest

from tests.conformance.subject import Leak, ServerSubject

try:
    import MySQLdb
except ImportError:  # mysqlclient has to be built, which needs headers
    MODULE = None
else:
    MODULE = MySQLdb.__name__  # PyMySQL's, where it was installed as MySQLdb


class Mysqlclient(ServerSubject):
    engine = "carpool.mysql" if MODULE == "MySQLdb" else None
    fixture, own_fixture = "mariadb", "own_mariadb"
    attribute = ("mine", 1)
    own_session = "SELECT CONNECTION_ID()"
    driver_path = "carpool.mysql.driver:MysqlclientDriver"
    leaks: ClassVar = {
        "user variable": Leak("SET @mine = 1", "SELECT @mine"),
        "user variable in a query": Leak("SELECT @mine := 1", "SELECT @mine"),
        "user variable by INTO": Leak("SELECT 1 INTO @mine", "SELECT @mine"),
        "user variable by a procedure": Leak("CALL spoil()", "SELECT @spoilt"),
        "user variable by a function": Leak("SELECT spoilt()", "SELECT @spoilt"),
        "session variable": Leak(
            "SET max_sp_recursion_depth = 7", "SELECT @@max_sp_recursion_depth"
        ),
        "sql_mode": Leak("SET sql_mode = 'ANSI'", "SELECT @@sql_mode"),
        "time_zone": Leak("SET time_zone = '+05:00'", "SELECT @@time_zone"),
        "foreign_key_checks": Leak("SET foreign_key_checks = 0", "SELECT @@foreign_key_checks"),
        "sql_auto_is_null": Leak("SET sql_auto_is_null = 1", "SELECT @@sql_auto_is_null"),
        "autocommit": Leak("SET autocommit = 0", "SELECT @@autocommit"),
        "isolation level": Leak(
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT @@tx_isolation"
        ),
        "read only": Leak("SET SESSION TRANSACTION READ ONLY", "SELECT @@tx_read_only"),
        "character set": Leak("SET NAMES latin1", "SELECT @@character_set_client"),
        "collation": Leak(
            "SET collation_connection = 'utf8mb4_bin'", "SELECT @@collation_connection"
        ),
        "database": Leak("USE information_schema", "SELECT DATABASE()"),
        "GET_LOCK": Leak("SELECT GET_LOCK('mine', 0)", "SELECT IS_USED_LOCK('mine') IS NULL"),
        "LOCK TABLES": Leak("LOCK TABLES note READ", "SELECT count(*) FROM other"),
        "temporary table": Leak(
            "CREATE TEMPORARY TABLE note AS SELECT 5 AS n", "SELECT count(*) FROM note"
        ),
        "PREPARE": Leak("PREPARE mine FROM 'SELECT 1'", "EXECUTE mine"),
        "HANDLER": Leak("HANDLER note OPEN", "HANDLER note READ FIRST"),
        "LAST_INSERT_ID": Leak("SELECT LAST_INSERT_ID(77)", "SELECT LAST_INSERT_ID()"),
    }

    @classmethod
    def fresh(cls, request, **more):
        if cls.driver_path == Mysqlclient.driver_path:
            pytest.importorskip("MySQLdb", reason="mysqlclient is not installed")
        return super().fresh(request, **more)

    def __init__(self, database):
        super().__init__(database)
        database.query("CREATE TABLE other (n integer)")
        database.query("CREATE PROCEDURE spoil() SET @spoilt = 1")
        database.query(
            "CREATE FUNCTION spoilt() RETURNS integer BEGIN SET @spoilt = 1; RETURN 1; END"
        )

    def recipe(self):
        more = {"autocommit": True, "charset": "utf8mb4", "settings": {"sql_auto_is_null": 0}}
        return self.driver_path, self.database.params | more


class PyMySQL(Mysqlclient):
    engine = "carpool.mysql" if MODULE == "pymysql" else None
    driver_path = "carpool.mysql.pymysql:PyMySQLDriver"
