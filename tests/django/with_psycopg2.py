"""A pytest plugin that has Django fall back to psycopg 2, as where psycopg 3 is not installed.

Django decides when it is imported; the tests' own tools have psycopg 3 back thereafter.
"""

import sys

import django.db.backends.utils

sys.modules["psycopg"] = None
try:
    import django.db.backends.postgresql.base
    import django.db.backends.postgresql.psycopg_any
    import django.db.backends.postgresql.schema

    import carpool.postgresql.base
finally:
    del sys.modules["psycopg"]

assert not django.db.backends.postgresql.psycopg_any.is_psycopg3
assert carpool.postgresql.base.PooledDriver.__name__ == "Psycopg2Driver"
