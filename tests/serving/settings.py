"""The settings of the site that the servers serve; what a test chooses comes by the environment."""

import json
import os

PARAMS = json.loads(os.environ["PARAMS"])
DATABASES = {"default": PARAMS["database"]}
pool = PARAMS["database"]["OPTIONS"]["pool"]
if PARAMS["database"]["ENGINE"] == "carpool.mysql" and pool.get("share") != "host":
    import pymysql

    pymysql.install_as_MySQLdb()

if "FOLDER" in os.environ:
    import watched  # noqa: F401 - a file that a test changes, for `runserver` to reload

SECRET_KEY = "nothing to hide"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.serving.site"
WSGI_APPLICATION = "tests.serving.wsgi.application"
MIDDLEWARE: list[str] = []
INSTALLED_APPS: list[str] = []
USE_TZ = True
LOGGING = {  # Django's own keeps silent about what goes wrong
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
