"""The page as the list of a model of Django's admin: its look, its login, its permissions.

To show it in another AdminSite: `site.register(Pool, PoolAdmin)`.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import Error, router, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from carpool.errors import OptionsError, PoolError
from carpool.telemetry import gather, orders, ours
from carpool.web import asked, shape
from carpool.web.models import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from carpool.telemetry.figures import Report

    Base = admin.ModelAdmin[Pool]
else:
    Base = admin.ModelAdmin  # it takes no parameters at run time

logger = logging.getLogger(__name__)


class NotGiven(Exception):
    """An order could not be given; unlike some of its causes, no error of a database."""


@admin.register(Pool)
class PoolAdmin(Base):
    """Who may view pools sees the page; who may change them may give orders."""

    change_list_template = "carpool_web/page.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the page, its figures and its orders; nothing to add, delete or edit."""
        views: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
            "changelist": ("", self.changelist_view),
            "figures": ("figures/", self.figures_view),
            "order": ("order/", self.order_view),
        }
        return [
            path(route, self.admin_site.admin_view(view), name=f"carpool_web_pool_{name}")
            for name, (route, view) in views.items()
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Pools are made by settings."""
        return False

    def has_delete_permission(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's signature
        obj: Pool | None = None,  # noqa: ARG002 - the same
    ) -> bool:
        """Return False, for the same reason."""
        return False

    @method_decorator(require_GET)
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Return the page, yet without figures."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": gettext_lazy("Connection pools"),
            "opts": self.opts,
            "may_order": self.has_change_permission(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.change_list_template, context)

    @method_decorator(require_GET)
    def figures_view(self, request: HttpRequest) -> JsonResponse:
        """Return what the page shows now, or `error`: why there is nothing to show."""
        if not self.has_view_permission(request):
            return _error("You may not see the pools: you lack the permission “view pool”.", 403)
        try:
            report = _report()
        except (ImproperlyConfigured, PoolError) as error:
            return _error(str(error), 503)
        stacks = self.has_change_permission(request)
        return JsonResponse(shape.page(report, os.getpid(), _needed(), stacks=stacks))

    @method_decorator(require_POST)
    def order_view(self, request: HttpRequest) -> JsonResponse:
        """Give an order to all processes; return its number, or `error`: why not."""
        if not self.has_change_permission(request):
            return _error("You may not give orders: you lack the permission “change pool”.", 403)
        try:
            order = asked.read(request.POST, (each["name"] for each in _report()["pools"]))
            number = self._give(request, order)
        except (asked.BadOrder, OptionsError) as error:
            return _error(str(error), 400)
        except (ImproperlyConfigured, NotGiven, PoolError) as error:
            return _error(str(error), 503)
        return JsonResponse({"number": number, "pool": order.pool, "verb": order.verb})

    def _give(self, request: HttpRequest, order: asked.Asked) -> int:
        told = {"user": str(request.user), "verb": order.verb, "pool": order.pool}
        try:
            # The log is written first and stays if the order could be given: once a pool is
            # paused, its own database may not be asked.
            with transaction.atomic(using=router.db_for_write(LogEntry)):
                self.log_change(request, Pool(name=order.pool), f"Ordered: {order}.")
                number = _tell(order)
        except Error as error:
            # To resume must not depend on a database. What has been told already may be told again.
            logger.warning("The admin's log will lack an order: %s", error, extra=told)
            number = _tell(order)
        logger.info("%s ordered: %s, pool %s", told["user"], order, order.pool, extra=told)
        return number


def _report() -> Report:
    """Return what there is to know of this project's pools. Raises as `ours.names` and `gather`."""
    return shape.only(gather.gather(ours.directory()), ours.names())


def _tell(order: asked.Asked) -> int:
    """Give an order to all processes. Raises `NotGiven`, and OptionsError for impossible sizes."""
    try:
        return orders.give(ours.directory(), order.verb, order.pool, sizes=order.sizes)
    except OptionsError:
        raise
    except (OSError, PoolError, ValueError) as error:
        raise NotGiven(str(error)) from error


def _needed() -> set[str]:
    """Return the databases without which no page of the admin can be served."""
    return {router.db_for_write(get_user_model()), router.db_for_write(LogEntry)}


def _error(text: str, status: int) -> JsonResponse:
    return JsonResponse({"error": text}, status=status)
