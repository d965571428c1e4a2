"""The site that `benchmarks.streams` serves: each request is a stream of server-sent events.

Every event is the row of one query, through Django's async ORM, made when the event is due. An
environment variable holds the entry of DATABASES, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING

import django
from django.conf import settings

from benchmarks.streams_server import VARIABLE

PERIOD = 1.0  # seconds between two events of a stream

settings.configure(
    DATABASES={"default": json.loads(os.environ[VARIABLE])},
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402 - Django has to be set up first
from django.db import DatabaseError, models  # noqa: E402 - see above
from django.db.models.functions import Now  # noqa: E402 - see above
from django.http import StreamingHttpResponse  # noqa: E402 - see above
from django.urls import path  # noqa: E402 - see above

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import ClassVar

    from django.http import HttpRequest


class Reading(models.Model):  # noqa: DJ008 - nobody prints one
    """What is queried: the server's clock comes with it, so that no two results are equal."""

    class Meta:  # noqa: D106 - Django's
        app_label = "streams"
        db_table = "reading"
        managed = False

    objects: ClassVar[models.Manager[Reading]]


async def events(_request: HttpRequest) -> StreamingHttpResponse:
    """Answer with a stream that ends when the client goes, or with its first error."""
    return StreamingHttpResponse(_events(), content_type="text/event-stream")


async def _events() -> AsyncIterator[str]:
    due = time.monotonic()
    try:
        while True:
            row = Reading.objects.annotate(now=Now()).values_list("now", flat=True)
            now = await row.aget(pk=1)
            yield f"data: {json.dumps([due, now.isoformat()])}\n\n"
            due += PERIOD
            await asyncio.sleep(due - time.monotonic())
    except DatabaseError as error:
        yield f"event: error\ndata: {json.dumps([type(error).__name__, str(error)])}\n\n"


urlpatterns = [path("", events)]
application = get_asgi_application()
