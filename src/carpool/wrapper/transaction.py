"""Transaction and statement mode: what Django does with transactions, on short leases.

`atomic` and `set_autocommit` need no connection yet: what they ask for is noted, and done to the
connection that the next statement gets.
"""

from __future__ import annotations

from carpool.wrapper.leases import ShortLeases, no_transactions


class Pooled(ShortLeases):
    """What goes before an engine's DatabaseWrapper. It belongs to one thread, as Django's."""

    def get_autocommit(self) -> bool:
        """As Django's."""
        if not self._is_loose():
            return super().get_autocommit()
        self._begin()
        return self.autocommit

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        """As Django's; without a connection it is noted for the next.

        Raises NoTransactions in statement mode.
        """
        force = force_begin_transaction_with_broken_autocommit
        if not self._is_loose():
            super().set_autocommit(autocommit, force)
            return
        self._begin()
        self.validate_no_atomic_block()
        if not autocommit and self._mode == "statement":
            raise no_transactions(self.alias)
        if not autocommit:
            self.rest()  # there may be a cursor that nobody has used yet
        self._by_atomic = force and not autocommit
        if self._lessor is not None:
            super().set_autocommit(autocommit, force)
            self.rest()
            return
        self.autocommit = autocommit
        if autocommit and self.run_commit_hooks_on_set_autocommit_on:
            self.run_and_clear_commit_hooks()
            self.run_commit_hooks_on_set_autocommit_on = False

    def run_and_clear_commit_hooks(self) -> None:
        """As Django's; hooks may take long, so they do not hold a connection."""
        if self._mode != "session":
            self.rest()
        super().run_and_clear_commit_hooks()

    def commit(self) -> None:
        """As Django's."""
        super().commit()
        if self._mode != "session" and not self._by_atomic:  # which goes on by itself
            self.rest()

    def rollback(self) -> None:
        """As Django's."""
        super().rollback()
        if self._mode != "session" and not self._by_atomic:
            self.rest()

    def _commit(self) -> None:
        if self._mode == "session" or self._lessor is not None:
            super()._commit()  # type: ignore[misc] # the stubs leave it out

    def _rollback(self) -> None:
        if self._mode == "session" or self._lessor is not None:
            super()._rollback()  # type: ignore[misc] # the stubs leave it out
