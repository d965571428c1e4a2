"""Made-up figures, for what only shows them."""

from carpool.pool.histogram import BOUNDS, Histogram

NOW = 1_800_000_000.0


def counted(*seconds):

    histogram = Histogram()
    for each in seconds:
        histogram.count(each)
    return histogram.tell()


def sample_figures(**changes):
    """Return a `PoolFigures`."""
    figures = {
        "name": "shop on db.internal as shop",
        "aliases": ["default"],
        "vendor": "postgresql",
        "database": "shop",
        "mode": "transaction",
        "share": "process",
        "min_size": 0,
        "max_size": 10,
        "timeout": 10.0,
        "paused": False,
        "obeyed": 0,
        "open": 5,
        "idle": 2,
        "leased": 3,
        "resetting": 0,
        "opening": 0,
        "closing": 0,
        "pinned": 1,
        "waiting": 0,
        "longest_wait": 0.0,
        "acquires": 12_345,
        "waits": 67,
        "timeouts": 2,
        "refusals": 1,
        "opened": 9,
        "open_errors": 1,
        "resets": 21,
        "leaks": 1,
        "returns_bad": 0,
        "closed": {"idle": 3, "lifetime": 1},
        "pins": {"SET": 4, "temporary table": 1},
        "wait_time": counted(*[0.002] * 60, *[0.04] * 7),
        "use_time": counted(*[0.004] * 300, *[0.02] * 40, 1.5),
        "create_time": counted(*[0.005] * 9),
        "peak_leased": 7,
        "peak_waiting": 4,
        "last_error": "",
        "leases": [
            {
                "held": 12.5,
                "pid": 4711,
                "alias": "default",
                "thread": "Thread-4",
                "pinned": "SET",
                "acquired": "",
                "now": '  File "/srv/shop/views.py", line 12, in report\n    time.sleep(60)\n',
            },
        ],
        "recent": [(n % 5, max(0, n % 7 - 4), 200 + 10 * (n % 9)) for n in range(60)],
    }
    assert not changes.keys() - figures.keys()
    return figures | changes


def sample_part(pid=4711, **changes):
    """Return a `Part`: one process' part in a pool."""
    return {
        "pid": pid,
        "command": "/srv/shop/bin/python /srv/shop/bin/gunicorn -w 4 shop.wsgi",
        "settings": "shop.settings",
        "at": NOW,
        "threads": 8,
        "figures": sample_figures(**changes),
    }


def sample_pool(parts=2, broker=None, **changes):
    """Return a `Total`; the figures of its parts are not what it is the sum of."""
    return {
        **sample_figures(**changes),
        "capacity": 20,
        "parts": [sample_part(4711 + number, **changes) for number in range(parts)],
        "broker": broker,
    }


def sample_report(*pools, **changes):
    """Return a `Report`."""
    return {
        "at": NOW,
        "directory": "/run/user/1000/carpool",
        "pools": list(pools or [sample_pool()]),
        "processes": 2,
        "broker": None,
        "faults": [],
    } | changes


assert len(sample_figures()["use_time"]["buckets"]) == len(BOUNDS) + 1
