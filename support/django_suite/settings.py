"""Settings for Django's test suite, read inside the process that runs it.

`SUITE_ENGINE` names the database engine, `SUITE_SERVER` holds the server's address as JSON.
"""

import json
import os

from support.django_suite.names import REAL_DATABASES

_server = json.loads(os.environ["SUITE_SERVER"])

DATABASES = {
    alias: {"ENGINE": os.environ["SUITE_ENGINE"], **_server, "NAME": name}
    for alias, name in REAL_DATABASES.items()
}
TEST_RUNNER = "support.django_suite.recorder.RecordingRunner"

SECRET_KEY = "nothing to hide"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
