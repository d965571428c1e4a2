"""The site with the page of the admin and with Prometheus' metrics; both ask no database."""

from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import path

from carpool.telemetry import prometheus
from tests.serving.site import urlpatterns as pages


def as_chief(get_response):
    """Middleware that takes everybody for a superuser, of whom no table knows."""

    def respond(request):
        request.user = User(username="chief", is_staff=True, is_superuser=True, is_active=True)
        return get_response(request)

    return respond


urlpatterns = [*pages, path("metrics", prometheus.view), path("admin/", admin.site.urls)]
