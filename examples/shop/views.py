from django.core.paginator import Paginator
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe

from .forms import OrderForm
from .models import Order, Product
from .orders import OutOfStock, place_order
from .totals import best_sellers, by_category, latest_orders, totals


@require_safe
def product_list(request):
    category = request.GET.get("category", "")
    chosen = Product.objects.filter(category=category) if category else Product.objects.all()
    categories = Product.objects.order_by("category").values_list("category", flat=True).distinct()
    page = Paginator(chosen, 24).get_page(request.GET.get("page"))
    context = {"page": page, "categories": categories, "category": category}
    return render(request, "shop/products.html", context)


def product_page(request, pk):
    product = get_object_or_404(Product, pk=pk)
    form = OrderForm(request.POST or None)
    if form.is_valid():
        try:
            wanted = {pk: form.cleaned_data["quantity"]}
            return redirect(place_order(form.cleaned_data["customer"], wanted))
        except OutOfStock as refusal:
            form.add_error("quantity", str(refusal))
    return render(request, "shop/product.html", {"product": product, "form": form})


@require_safe
def order_page(request, pk):
    order = get_object_or_404(Order.objects.select_related("customer"), pk=pk)
    lines = list(order.lines.select_related("product"))
    context = {"order": order, "lines": lines, "total": sum(line.total for line in lines)}
    return render(request, "shop/order.html", context)


@require_safe
def dashboard(request):
    categories = by_category()
    context = {
        "totals": totals(),
        "categories": categories,
        "largest": max((row["revenue"] for row in categories), default=0),
        "best_sellers": best_sellers(10),
        "latest": latest_orders(10),
    }
    return render(request, "shop/dashboard.html", context)
