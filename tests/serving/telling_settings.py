"""The settings of the site that also tells of its pools: in the admin, and to Prometheus."""

from tests.serving.settings import *  # noqa: F403 - the same site

# Longer than any test has its requests wait.
DATABASES["default"]["OPTIONS"]["pool"]["timeout"] = 60  # noqa: F405 - of the above
ROOT_URLCONF = "tests.serving.telling"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "carpool",
    "carpool.web",
]
MIDDLEWARE = ["tests.serving.telling.as_chief"]
