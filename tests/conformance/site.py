"""A model and a small site for the tests through Django, and how a WSGI server asks it."""

from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.db.models import IntegerField, Model
from django.http import HttpResponse, JsonResponse
from django.test import RequestFactory
from django.urls import path

from tests.conformance.asking import run


class Note(Model):
    n = IntegerField(primary_key=True)

    class Meta:
        app_label = "conformance"
        db_table = "note"
        managed = False

    def __str__(self):
        return str(self.n)


def numbers():
    return list(Note.objects.order_by("n").values_list("n", flat=True))


def keep(n):
    Note.objects.create(n=n)


def one_query(_request):
    return JsonResponse(numbers(), safe=False)


def no_query(_request):
    return HttpResponse("nothing")


def write(request):
    keep(request.GET["n"])
    return HttpResponse("written")


def write_and_fail(request):
    write(request)
    raise ZeroDivisionError


def statement(request):
    return JsonResponse(run(connection, request.GET["sql"]), safe=False)


urlpatterns = [
    path("one-query", one_query),
    path("no-query", no_query),
    path("write", write),
    path("write-and-fail", write_and_fail),
    path("statement", statement),
]


def get(url, **query):
    """Return the body of a page. The request is over then, as Django sees it."""
    request = RequestFactory().get(url, query)
    response = WSGIHandler()(request.environ, lambda _status, _headers: None)
    try:
        return b"".join(response).decode()
    finally:
        response.close()
