from django.db import models
from django.urls import reverse


class Product(models.Model):
    name = models.CharField(max_length=80, unique=True)
    category = models.CharField(max_length=30, db_index=True)
    description = models.TextField()
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.PositiveIntegerField()

    class Meta:
        ordering = ("category", "name")

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("product", args=[self.pk])

    @property
    def hue(self):
        """Colour of the product's tile, in degrees; neighbours get colours far apart."""
        return self.pk * 137 % 360


class Customer(models.Model):
    name = models.CharField(max_length=80)
    email = models.EmailField(unique=True)
    city = models.CharField(max_length=60)

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name


class Order(models.Model):
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="orders")
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-pk",)

    def __str__(self):
        return f"Order {self.pk}"

    def get_absolute_url(self):
        return reverse("order", args=[self.pk])


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT, related_name="lines")
    quantity = models.PositiveIntegerField()
    price = models.DecimalField("price of one piece", max_digits=8, decimal_places=2)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("order", "product"), name="one_line_per_product"),
            models.CheckConstraint(condition=models.Q(quantity__gt=0), name="quantity_positive"),
        )

    def __str__(self):
        return f"{self.quantity} x {self.product}"

    @property
    def total(self):
        return self.quantity * self.price
