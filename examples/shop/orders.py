"""Selling without selling the same piece twice."""

from collections.abc import Mapping

from django.db import transaction
from django.db.models import F

from .models import Customer, Order, OrderLine, Product


class OutOfStock(Exception):
    """At least one product has fewer pieces left than were wanted."""

    def __init__(self, short: list[Product]) -> None:
        left = ", ".join(f"{product.name} ({product.stock} left)" for product in short)
        super().__init__(f"Not enough in stock: {left}")


@transaction.atomic
def place_order(customer: Customer, wanted: Mapping[int, int]) -> Order:
    """Take `wanted` pieces (product id: quantity) out of stock, all of them or none.

    Raises `OutOfStock`, and `Product.DoesNotExist` for an unknown product.
    """
    products = lock_products(wanted)
    if short := [product for product in products if product.stock < wanted[product.pk]]:
        raise OutOfStock(short)
    order = Order.objects.create(customer=customer)
    OrderLine.objects.bulk_create(
        OrderLine(order=order, product=product, quantity=wanted[product.pk], price=product.price)
        for product in products
    )
    for product in products:
        Product.objects.filter(pk=product.pk).update(stock=F("stock") - wanted[product.pk])
    return order


def lock_products(ids: Mapping[int, int]) -> list[Product]:
    """Lock the rows in one fixed order, so that two orders never wait for each other."""
    products = list(Product.objects.select_for_update().filter(pk__in=ids).order_by("pk"))
    if missing := ids.keys() - {product.pk for product in products}:
        raise Product.DoesNotExist(f"No product {min(missing)}")
    return products
