"""What `manage.py check --database` asks an engine: here it asks `carpool.checks` as well."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.validation import BaseDatabaseValidation
from django.db.utils import Error

if TYPE_CHECKING:
    from django.core.checks import CheckMessage


class Checks(BaseDatabaseValidation):
    """A mixin for an engine's checks. They raise nothing where ours have told what is wrong."""

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """As the engine's, where it can be asked."""
        from carpool import checks  # noqa: PLC0415 - only who checks needs them

        found, reachable = checks.of_database(self.connection)
        return [*found, *super().check(**kwargs)] if reachable else found

    def check_field(self, field: Any, **kwargs: Any) -> list[CheckMessage]:
        """As the engine's, where it can be asked."""
        with suppress(ImproperlyConfigured, Error):
            return super().check_field(field, **kwargs)
        return []


@cache
def with_checks(validation: type[BaseDatabaseValidation]) -> type[BaseDatabaseValidation]:
    """Return an engine's class of checks with ours."""
    return type("DatabaseValidation", (Checks, validation), {"__doc__": validation.__doc__})
