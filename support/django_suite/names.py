"""The database names that the suite, its settings and the clean-up afterwards agree on."""

REAL_DATABASES = {"default": "site", "other": "site_other"}
"""What the settings name, by alias; the tests must leave these alone and use `test_site*`."""
