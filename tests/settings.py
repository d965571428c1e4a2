"""The least that Django needs; tests bring their databases by the fixture `django_databases`."""

SECRET_KEY = "nothing to hide"
USE_TZ = True
INSTALLED_APPS: list[str] = []
