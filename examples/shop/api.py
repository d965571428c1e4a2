"""The JSON side. One product is one statement: the page on which the demo counts them."""

import json

from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from .models import Customer, Product
from .orders import OutOfStock, place_order
from .totals import totals


@require_safe
def product_list(_request):
    return JsonResponse({"products": list(Product.objects.values("id", "name", "price", "stock"))})


@require_safe
def product(_request, pk):
    found = get_object_or_404(Product, pk=pk)
    return JsonResponse(
        {"id": found.pk, "name": found.name, "price": found.price, "stock": found.stock}
    )


@csrf_exempt  # the demo's clients have no session to protect
@require_POST
def order(request):
    try:
        customer_id, wanted = parse_order(request.body)
    except (ValueError, KeyError, TypeError, AttributeError):
        message = 'Expected {"customer": 1, "lines": {"<product id>": <quantity>, ...}}'
        return JsonResponse({"error": message}, status=400)
    customer = get_object_or_404(Customer, pk=customer_id)
    try:
        placed = place_order(customer, wanted)
    except Product.DoesNotExist as error:
        return JsonResponse({"error": str(error)}, status=404)
    except OutOfStock as refusal:
        return JsonResponse({"error": str(refusal)}, status=409)
    return JsonResponse({"id": placed.pk, "url": placed.get_absolute_url()}, status=201)


def parse_order(body):
    data = json.loads(body)
    wanted = {int(product): int(quantity) for product, quantity in data["lines"].items()}
    if not wanted or min(wanted.values()) < 1:
        raise ValueError("an order has at least one line, and every line at least one piece")
    return int(data["customer"]), wanted


@require_safe
def dashboard(_request):
    return JsonResponse(totals())
