"""The pool of one process. Imports no Django and no database driver."""

from carpool.pool.pool import Pool

__all__ = ["Pool"]
