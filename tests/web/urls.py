"""The admin, and what any page may use: Content-Security-Policy tells browsers."""

from django.contrib import admin
from django.urls import path

POLICY = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"


def strict(get_response):
    """Middleware that forbids inline scripts and styles, and whatever lies elsewhere."""

    def respond(request):
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return respond


urlpatterns = [path("admin/", admin.site.urls)]
