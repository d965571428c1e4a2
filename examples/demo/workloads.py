"""What the clients ask for. Every freshly filled shop has the ids that are used here."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random


def one_product(random: Random) -> bytes:
    return http("GET", f"/api/products/{random.randint(1, 100)}")


def one_order(random: Random) -> bytes:
    lines = {product: random.randint(1, 3) for product in random.sample(range(1, 101), 2)}
    order = {"customer": random.randint(1, 50), "lines": lines}
    return http("POST", "/api/orders", json.dumps(order).encode())


def http(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


@dataclass(frozen=True)
class Workload:
    title: str
    request: Callable[[Random], bytes]


WORKLOADS = {
    "product": Workload("One product, one query (GET /api/products/<id>)", one_product),
    "order": Workload("An order of two products, a transaction (POST /api/orders)", one_order),
}
