"""A pytest plugin that has Django take PyMySQL for mysqlclient, as it tells its users to."""

import pymysql

pymysql.install_as_MySQLdb()
