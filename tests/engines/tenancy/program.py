"""The head of every program: two tenants, `red` and `blue`, each with one item of its own."""

import json
import os
import threading

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.engines.tenancy.settings"
django.setup()

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402 - after the set-up
from django.core.management import call_command  # noqa: E402 - as above
from django.db import connection  # noqa: E402 - as above
from django.test import RequestFactory  # noqa: E402 - as above

from tests.engines.tenancy.own.models import Item  # noqa: E402 - as above
from tests.engines.tenancy.shared.models import Client, Domain  # noqa: E402 - as above

TENANTS = ("red", "blue")
_handler = WSGIHandler()


def make_tenants():
    call_command("migrate_schemas", shared=True, verbosity=0)
    for name in TENANTS:
        client = Client(schema_name=name)
        client.save(verbosity=0)
        Domain.objects.create(domain=f"{name}.test", tenant=client, is_primary=True)
        with client:
            Item.objects.create(owner=name)
    connection.close()


def get(tenant):
    """Ask the site as a tenant; what comes back is what the page has seen."""
    request = RequestFactory().get("/", HTTP_HOST=f"{tenant}.test")
    response = _handler(request.environ, lambda *_: None)
    try:
        return json.loads(b"".join(response))
    finally:
        response.close()


def raw_path():
    """Return the search_path as psycopg finds it, with no cursor of Django's before."""
    connection.ensure_connection()
    return connection.connection.execute("SHOW search_path").fetchone()[0]


def in_thread(function, *args):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join()
    return results.pop()


def report(value):
    os.write(1, (json.dumps(value) + "\n").encode())
