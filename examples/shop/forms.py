from django import forms

from .models import Customer


class OrderForm(forms.Form):
    customer = forms.ModelChoiceField(Customer.objects.all(), empty_label=None)
    quantity = forms.IntegerField(min_value=1, max_value=1000, initial=1)
