"""The databases that Django's tests are run on: one module for each, and its line below."""

from support.django_suite.databases.mariadb import MARIADB
from support.django_suite.databases.postgresql import POSTGRESQL
from support.django_suite.databases.sqlite import SQLITE

DATABASES = {database.name: database for database in (POSTGRESQL, MARIADB, SQLITE)}
