"""What the drivers for psycopg 3 and psycopg 2 have in common."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from carpool.looking import text_of
from carpool.postgresql import looking
from carpool.sessions import EVERY_MODE, C, SessionDriver

# libpq gives no SQLSTATE for a refused login; these are its two texts for 53300.
NO_ROOM = re.compile(r"FATAL: +(sorry, )?too many|FATAL: +remaining connection slots")


class PostgreSQLDriver(SessionDriver[C]):
    """The part of a `Driver` that is the same for both."""

    operational_error: ClassVar[type[Exception]]
    modes = EVERY_MODE

    def looks_back(self, text: Any) -> str | None:
        """See `Driver`."""
        return looking.looks_back(text if type(text) is str else text_of(text))

    def no_room(self, error: BaseException) -> bool:
        """See `Driver`."""
        return isinstance(error, self.operational_error) and bool(NO_ROOM.search(str(error)))
