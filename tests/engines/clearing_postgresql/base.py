"""The recipe with a reset by statements, and a ping of one's own."""

from functools import partial

from django.db.backends.postgresql.base import DatabaseWrapper as Engine

from carpool.engine import EngineDriver, pooled

driver = partial(EngineDriver, ping="SELECT 'alive'", reset=["DISCARD ALL"])
DatabaseWrapper = pooled(Engine, driver)
