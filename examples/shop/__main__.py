"""The site's manage.py: `python -m examples.shop <command>`."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.shop.settings")
    sys.argv[0] = "python -m examples.shop"
    execute_from_command_line(sys.argv)
