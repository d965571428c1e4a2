"""The figures of the dashboard."""

from django.db.models import DecimalField, ExpressionWrapper, F, Sum
from django.db.models.functions import Coalesce

from .models import Customer, Order, OrderLine, Product

MONEY = DecimalField(max_digits=14, decimal_places=2)
REVENUE = Sum(ExpressionWrapper(F("quantity") * F("price"), output_field=MONEY))


def totals():
    sums = OrderLine.objects.aggregate(
        revenue=Coalesce(REVENUE, 0, output_field=MONEY), pieces=Coalesce(Sum("quantity"), 0)
    )
    return {
        "orders": Order.objects.count(),
        "customers": Customer.objects.count(),
        "products": Product.objects.count(),
        **sums,
    }


def by_category():
    return list(
        OrderLine.objects.values(category=F("product__category"))
        .annotate(revenue=REVENUE, pieces=Sum("quantity"))
        .order_by("-revenue")
    )


def best_sellers(count):
    return list(
        Product.objects.annotate(pieces=Sum("lines__quantity"))
        .filter(pieces__gt=0)
        .order_by("-pieces", "pk")[:count]
    )


def latest_orders(count):
    return list(Order.objects.select_related("customer")[:count])
