"""Django on the engine `carpool.postgresql`, each test with a database of its own."""

import threading

import pytest
from django.test import override_settings

ENGINE = "carpool.postgresql"


def pytest_configure(config):
    config.addinivalue_line("markers", "psycopg3: for what psycopg 2 does not have")


@pytest.fixture
def use(django_databases, database):
    """Call it to have django.db use the test's database; returns the wrapper of `default`.

    `pool` is OPTIONS["pool"] (or "absent"), `options` are further OPTIONS, `more` goes beside NAME.
    """
    handler = []

    def use(pool=True, options=None, **more):
        entry = database.django(ENGINE=ENGINE, **more)
        entry["OPTIONS"] = (
            (options or {}) if pool == "absent" else {"pool": pool, **(options or {})}
        )
        handler.append(django_databases(default=entry))
        return handler[-1]["default"]

    yield use
    for connection in handler[-1].all(initialized_only=True) if handler else ():
        connection.close()
        connection.close_pool()


@pytest.fixture
def in_thread():
    """Call a function in a thread of its own, as a server's worker would; return its result."""

    def call(function, *args):
        results = []

        def work():
            try:
                results.append((function(*args), None))
            except BaseException as error:  # noqa: BLE001 - it is raised again
                results.append((None, error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        result, error = results.pop()
        if error:
            raise error
        return result

    return call


@pytest.fixture
def site():
    """Serve the views of `site.py` as a WSGI server would; returns a function to get a page."""
    from tests.django.site import get  # noqa: PLC0415 - needs the settings

    with override_settings(
        ROOT_URLCONF="tests.django.site",
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=[],
        DEBUG_PROPAGATE_EXCEPTIONS=True,
    ):
        yield get
