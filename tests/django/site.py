"""A small site, and how a WSGI server asks it."""

from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpResponse, JsonResponse
from django.test import RequestFactory
from django.urls import path

from tests.django.asking import run, value
from tests.django.models import Note


def one_query(request):
    return JsonResponse(list(Note.objects.values_list("text", flat=True)), safe=False)


def no_query(request):
    return HttpResponse("nothing")


def statement(request):
    return JsonResponse(run(connection, request.GET["sql"]), safe=False)


def write_and_fail(request):
    Note.objects.create(text="never")
    raise RuntimeError("on purpose")


def pid(request):
    return JsonResponse(value(connection, "SELECT pg_backend_pid()"), safe=False)


urlpatterns = [
    path("one-query", one_query),
    path("no-query", no_query),
    path("statement", statement),
    path("write-and-fail", write_and_fail),
    path("pid", pid),
]


def get(url, **query):
    """Return the status and the body of a page; the request is over then, as Django sees it."""
    request = RequestFactory().get(f"/{url}", query)
    status = []
    response = WSGIHandler()(request.environ, lambda line, headers: status.append(line))
    try:
        return int(status[0].split()[0]), b"".join(response).decode()
    finally:
        response.close()
