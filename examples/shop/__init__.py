"""A small bicycle shop: the example site of django-carpool."""
