"""A page in Django's admin about the pools of this host; `"carpool.web"` in INSTALLED_APPS."""
