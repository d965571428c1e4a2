from importlib.util import find_spec

from django.apps import apps
from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import path

from . import api, views

urlpatterns = [
    path("", views.product_list, name="products"),
    path("products/<int:pk>/", views.product_page, name="product"),
    path("orders/<int:pk>/", views.order_page, name="order"),
    path("dashboard/", views.dashboard, name="dashboard"),
    path("api/products", api.product_list),
    path("api/products/<int:pk>", api.product),
    path("api/orders", api.order),
    path("api/totals", api.dashboard),
    path("admin/", admin.site.urls),
    # A real site leaves the admin's style sheets to its web server; this one has none.
    path("static/<path:path>", serve, {"insecure": True}),
]

if apps.is_installed("carpool") and find_spec("prometheus_client"):
    from carpool.telemetry import prometheus

    # A real site lets nobody but Prometheus ask: it tells the names of databases.
    urlpatterns.append(path("metrics", prometheus.view))
