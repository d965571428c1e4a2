"""Django's own test suite, run with carpool and with stock Django, and compared test by test.

What stock Django passes on this machine, carpool must pass: `python -m support.django_suite`.
"""
