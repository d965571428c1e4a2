"""Fill an empty shop: the same products, customers and orders every time."""

from decimal import Decimal
from itertools import product as pairs
from random import Random

from django.core.management.base import BaseCommand
from django.db import transaction

from examples.shop.models import Customer, Product
from examples.shop.orders import place_order

KINDS = {
    "Brakes": ("rim brake", "disc brake", "brake lever", "brake pads"),
    "Drivetrain": ("chain", "cassette", "crankset", "derailleur"),
    "Lights": ("head light", "tail light", "hub dynamo", "reflector set"),
    "Saddles": ("saddle", "seat post", "saddle cover", "saddle bag"),
    "Tools": ("hex key set", "chain tool", "floor pump", "tyre levers"),
    "Wheels": ("front wheel", "rear wheel", "tyre", "inner tube"),
}
LINES = ("City", "Touring", "Race", "Cargo", "Trail")
FIRST = ("Ada", "Bruno", "Chiara", "Dmitri", "Esra", "Femi", "Greta", "Hiro", "Ines", "Jakub")
LAST = ("Andersen", "Brandt", "Costa", "Diallo", "Evans", "Fischer", "Garcia", "Hansen")
CITIES = ("Bergen", "Ghent", "Lyon", "Porto", "Utrecht", "Vilnius")


class Command(BaseCommand):
    help = "Fill an empty shop with products, customers and orders."

    def add_arguments(self, parser):
        parser.add_argument("--orders", type=int, default=300, help="orders to place (300)")
        parser.add_argument("--stock", type=int, default=500, help="pieces of each product (500)")

    @transaction.atomic
    def handle(self, *, orders, stock, **_options):
        random = Random(18)
        products = Product.objects.bulk_create(make_products(random, stock))
        customers = Customer.objects.bulk_create(make_customers(random))
        for _ in range(orders):
            wanted = {p.pk: random.randint(1, 3) for p in random.sample(products, 2)}
            place_order(random.choice(customers), wanted)
        self.stdout.write(f"{len(products)} products, {len(customers)} customers, {orders} orders")


def make_products(random, stock):
    return [
        Product(
            name=f"{line} {kind}",
            category=category,
            description=f"A {kind} from our {line.lower()} range, made to be ridden and repaired.",
            price=Decimal(random.randrange(490, 18990, 50)) / 100,
            stock=stock,
        )
        for category, kinds in KINDS.items()
        for kind, line in pairs(kinds, LINES)
    ]


def make_customers(random):
    return [
        Customer(
            name=f"{first} {last}",
            email=f"{first}.{last}@example.org".lower(),
            city=random.choice(CITIES),
        )
        for first, last in pairs(FIRST, LAST)
    ]
