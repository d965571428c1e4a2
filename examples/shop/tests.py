"""The site's own tests: `python -m examples.shop test examples.shop`."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client, TestCase, TransactionTestCase

from .models import Customer, Order, OrderLine, Product


def make_product(stock, name="Touring saddle"):
    return Product.objects.create(
        name=name, category="Saddles", description="-", price=Decimal("49.90"), stock=stock
    )


def make_customer():
    return Customer.objects.create(name="Ada Costa", email="ada@example.org", city="Ghent")


def order(customer, wanted):
    """Place an order as a client of the JSON side does."""
    body = json.dumps({"customer": customer.pk, "lines": wanted})
    return Client().post("/api/orders", body, "application/json")


class Ordering(TestCase):
    def setUp(self):
        self.customer = make_customer()
        self.saddle = make_product(5)
        self.lamp = make_product(2, "City head light")

    def left(self):
        return [Product.objects.get(pk=each.pk).stock for each in (self.saddle, self.lamp)]

    def test_an_order_takes_stock(self):
        response = order(self.customer, {self.saddle.pk: 3, self.lamp.pk: 2})
        assert response.status_code == 201
        assert self.left() == [2, 0]
        page = self.client.get(response.json()["url"])
        self.assertContains(page, "Ada Costa")
        self.assertContains(page, "€ 249.50")

    def test_all_or_nothing(self):
        response = order(self.customer, {self.saddle.pk: 3, self.lamp.pk: 3})
        assert response.status_code == 409
        assert response.json()["error"] == "Not enough in stock: City head light (2 left)"
        assert self.left() == [5, 2]
        assert not Order.objects.exists()

    def test_an_unknown_product_or_customer(self):
        assert order(self.customer, {self.lamp.pk + 1: 1}).status_code == 404
        assert order(Customer(pk=0), {self.lamp.pk: 1}).status_code == 404

    def test_nonsense_is_refused_in_words(self):
        for wanted in ({}, {self.lamp.pk: 0}, {"x": 1}, [1], None):
            with self.subTest(wanted=wanted):
                assert order(self.customer, wanted).status_code == 400
        assert self.left() == [5, 2]

    def test_the_form_on_the_product_page(self):
        url = self.saddle.get_absolute_url()
        page = self.client.post(url, {"customer": self.customer.pk, "quantity": 6})
        self.assertContains(page, "Touring saddle (5 left)")
        page = self.client.post(url, {"customer": self.customer.pk, "quantity": 5})
        self.assertRedirects(page, Order.objects.get().get_absolute_url())
        assert self.left() == [0, 2]


class Pages(TestCase):
    @classmethod
    def setUpTestData(cls):
        call_command("fill", orders=20, stdout=io.StringIO())

    def test_one_product_is_one_statement(self):
        pk = Product.objects.first().pk
        with self.assertNumQueries(1):
            assert self.client.get(f"/api/products/{pk}").json()["id"] == pk

    def test_totals(self):
        totals = self.client.get("/api/totals").json()
        assert totals["orders"] == 20
        assert totals["pieces"] == sum(OrderLine.objects.values_list("quantity", flat=True))
        self.assertContains(self.client.get("/dashboard/"), f"€ {totals['revenue']}")

    def test_the_list(self):
        self.assertContains(self.client.get("/?page=2"), "Page 2 of 5")
        self.assertNotContains(self.client.get("/?category=Tools"), "saddle")
        assert len(self.client.get("/api/products").json()["products"]) == 120

    def test_the_admin(self):
        self.client.force_login(User.objects.create_superuser("admin"))
        for model in ("product", "customer", "order"):
            assert self.client.get(f"/admin/shop/{model}/").status_code == 200
        style = self.client.get("/static/admin/css/base.css")
        assert b"body" in style.getvalue()


class LastPiece(TransactionTestCase):
    def test_of_two_concurrent_orders_one_gets_it(self):
        customer, product = make_customer(), make_product(1)

        def buy():
            try:
                return order(customer, {product.pk: 1}).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as threads:
            with transaction.atomic():
                Product.objects.select_for_update().get(pk=product.pk)
                buyers = [threads.submit(buy) for _ in range(2)]
                wait_for_waiters(2)
            assert sorted(buyer.result() for buyer in buyers) == [201, 409]
        product.refresh_from_db()
        assert product.stock == 0
        assert OrderLine.objects.count() == 1


def wait_for_waiters(count, patience=10):
    """Wait until the server says that so many sessions wait for a lock."""
    deadline = time.monotonic() + patience
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() == (count,):
                return
    raise AssertionError(f"there were never {count} sessions waiting for a lock")
