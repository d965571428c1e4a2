"""Twenty seconds of the soak; `python -m tests.host.soak` has ten minutes of it."""

from contextlib import ExitStack

from support.databases import fresh_database
from tests.host.soak import soak


def test_what_dies_at_random_harms_nobody(nursery, postgres, mariadb, record_property):
    with ExitStack() as stack:
        databases = [stack.enter_context(fresh_database(each)) for each in (postgres, mariadb)]
        summary, faults = soak(nursery, databases, 15, 5, print)
    record_property("soak", summary)
    assert not faults, "\n".join(faults)
