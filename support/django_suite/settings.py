"""Settings for Django's test suite, read inside the process that runs it.

`SUITE_DATABASES` holds DATABASES as JSON; `SUITE_PYMYSQL` is empty, or says that PyMySQL is to be
MySQLdb.
"""

import json
import os
import sys

if os.environ["SUITE_PYMYSQL"]:
    import pymysql

    for name in [name for name in sys.modules if name.partition(".")[0] == "MySQLdb"]:
        del sys.modules[name]  # Django's runtests.py has imported mysqlclient already
    pymysql.install_as_MySQLdb()

DATABASES = json.loads(os.environ["SUITE_DATABASES"])
TEST_RUNNER = "support.django_suite.recorder.RecordingRunner"

SECRET_KEY = "nothing to hide"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
