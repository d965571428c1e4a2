"""One page: whose items are seen, and in which session, by Django and by psycopg itself."""

from django.db import connection
from django.http import JsonResponse
from django.urls import path

from tests.engines.tenancy.own.models import Item


def seen():
    owners = sorted(set(Item.objects.values_list("owner", flat=True)))
    raw = connection.connection.execute("SELECT owner FROM own_item").fetchall()
    return {"owners": owners, "raw": sorted({row[0] for row in raw})}


def page(_request):
    return JsonResponse(seen())


urlpatterns = [path("", page)]
