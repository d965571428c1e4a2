"""Views that make as many queries as the query string says, one after the other, each in one way.

Only for a process in which Django is set up: `benchmarks.async_peer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import connection, models
from django.http import HttpResponse
from django.urls import path

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from django.http import HttpRequest

SQL = "SELECT id, name FROM thing WHERE id = %s"
THING = 7


class Thing(models.Model):  # noqa: DJ008 - nobody prints one
    """What is queried."""

    name = models.TextField()

    class Meta:  # noqa: D106 - Django's
        app_label = "benchmarks"
        db_table = "thing"
        managed = False

    objects: ClassVar[models.Manager[Thing]]


def queries(request: HttpRequest) -> range:
    return range(int(request.META["QUERY_STRING"]))


# ---------------------------------------------------------------- by Django's connections


def orm(request: HttpRequest) -> HttpResponse:
    for _ in queries(request):
        Thing.objects.get(pk=THING)
    return HttpResponse()


async def async_orm(request: HttpRequest) -> HttpResponse:
    for _ in queries(request):
        await Thing.objects.aget(pk=THING)
    return HttpResponse()


async def async_orm_at_once(request: HttpRequest) -> HttpResponse:
    return await sync_to_async(orm)(request)


def select() -> None:
    with connection.cursor() as cursor:
        cursor.execute(SQL, [THING])
        cursor.fetchone()


def sql(request: HttpRequest) -> HttpResponse:
    for _ in queries(request):
        select()
    return HttpResponse()


async def async_sql(request: HttpRequest) -> HttpResponse:
    for _ in queries(request):
        await sync_to_async(select)()
    return HttpResponse()


# ---------------------------------------------------------------- by asyncio's


async def native_orm(request: HttpRequest) -> HttpResponse:
    for _ in queries(request):
        await Thing.async_objects.aget(pk=THING)  # type: ignore[attr-defined] # put there by the app
    return HttpResponse()


async def native_sql(request: HttpRequest) -> HttpResponse:
    from django_async_backend.db import async_connections  # noqa: PLC0415 - not always installed

    for _ in queries(request):
        async with await async_connections["default"].cursor() as cursor:
            await cursor.execute(SQL, [THING])
            await cursor.fetchone()
    return HttpResponse()


_pool: list[Any] = []  # psycopg's, once it is open


async def psycopg_sql(request: HttpRequest) -> HttpResponse:
    for _ in queries(request):
        async with (_pool or await _open_pool())[0].connection() as native:
            cursor = await native.execute(SQL, [THING])
            await cursor.fetchone()
    return HttpResponse()


async def _open_pool() -> list[Any]:
    from psycopg import AsyncClientCursor  # noqa: PLC0415 - only one view needs them
    from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415 - see above

    options = dict(connection.settings_dict["OPTIONS"])
    sizes = options.pop("pool")
    params = {
        "host": connection.settings_dict["HOST"],
        "port": connection.settings_dict["PORT"],
        "user": connection.settings_dict["USER"],
        "dbname": connection.settings_dict["NAME"],
        "autocommit": True,
        "prepare_threshold": None,  # as Django has it
        "cursor_factory": AsyncClientCursor,  # see above
        **options,
    }
    pool = AsyncConnectionPool(kwargs=params, open=False, **sizes)
    _pool.append(pool)
    await pool.open()
    return _pool


urlpatterns: list[Any] = []


def use(name: str) -> Callable[..., Any]:
    """Serve this view; return it."""
    view: Callable[..., Any] = globals()[name]
    urlpatterns.append(path("", view))
    return view
