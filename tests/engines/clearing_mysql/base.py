"""The recipe with a reset by a function of the module's, and a ping of one's own."""

from django.db.backends.mysql.base import DatabaseWrapper as Engine

from carpool.engine import EngineDriver, pooled


def driver(wrapper):
    login = [wrapper.settings_dict[key] for key in ("USER", "PASSWORD", "NAME")]
    return EngineDriver(wrapper, ping="SELECT 'alive'", reset=lambda real: real.change_user(*login))


DatabaseWrapper = pooled(Engine, driver)
