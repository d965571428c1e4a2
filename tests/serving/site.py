"""A small site for all the servers. ASGI servers have some pages more: see `coroutines.py`."""

import itertools
import os

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from tests.serving import coroutines, work


def page(function):
    """Serve what a function of the token says."""
    return lambda request: JsonResponse(function(request.GET["token"]), safe=False)


def ready(request):
    return HttpResponse(os.getpid())


def events(token, count):
    """Yield server-sent events, each from a query of its own: so many, or without end."""
    work.Token.objects.create(text=token)
    for _ in itertools.repeat(None, count) if count else itertools.repeat(None):
        yield f"data: {work.Token.objects.get(text=token)}\n\n"


def stream(request):
    make = coroutines.events if isinstance(request, ASGIRequest) else events
    chunks = make(request.GET["token"], int(request.GET["count"]))
    return StreamingHttpResponse(chunks, content_type="text/event-stream")


urlpatterns = [
    path("ready", ready),
    path("stream", stream),
    *(path(name, page(function)) for name, function in work.PAGES.items()),
    *(path(f"async/{each.__name__}", each) for each in coroutines.PAGES),
]
