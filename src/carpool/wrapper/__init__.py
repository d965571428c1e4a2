"""Where Django's DatabaseWrapper meets the pool: the one room that knows both.

`Pooled` goes before an engine's DatabaseWrapper and takes over how long it has a connection:
`session.py` for the mode of that name, `leases.py` and `transaction.py` for those that give it back
sooner.
"""

from carpool.wrapper.settings import copied
from carpool.wrapper.transaction import Pooled

__all__ = ["Pooled", "copied"]
