"""The rules of the protocol, one by one, so that each can be left out and the model must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """True: as the protocol has it."""

    # The worker's.
    owner_is_read_again: bool = True  # after the lock
    use_is_marked: bool = True  # before "go"
    use_is_unmarked_before_unlock: bool = True
    waiters_are_read_after_unlock: bool = True
    acquire_reads_waiters: bool = True  # others wait and the quantum is over: ask, be the last
    locked_in_vain_tells: bool = True  # ask, or read waiters and notify
    giving_up_closes_the_channel: bool = True
    only_the_owner_terminates: bool = True  # a robbed shell has the socket still
    watcher_takes_the_shell_out: bool = True  # a flock excludes nobody of the same description
    lock_belongs_to_description: bool = True  # flock; False: to the process, as POSIX locks do

    # The broker's.
    waiters_are_written_before_locks_are_tried: bool = True
    use_is_examined: bool = True  # of what it has locked
    granted_is_marked_before_sending: bool = True
    copy_is_closed_after_sending: bool = True
    steals_by_a_fresh_description: bool = True
    tries_without_waiting: bool = True
    cancelled_slot_stays: bool = True  # is lent to nobody until the cancel is over
    cancel_disowns: bool = True  # nor can who had it take it again
    end_of_cancel_is_an_event: bool = True
    orphans_are_tried_again: bool = True  # the kernel closes channels before it frees locks
    orphans_go_by_the_book: bool = True  # not by the word `owner`, which a cancel has changed
    old_locks_count: bool = True  # slots of an old generation that are locked
    old_tethers_count: bool = True  # slots of an old generation of which anybody has the socket
