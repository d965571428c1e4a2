"""Options: the table, and what a wrong one is told."""

import dataclasses
import math
import re

import pytest

from carpool import Options, OptionsError, Pool
from carpool.options import ELSEWHERE, KNOWN, parse

DEFAULTS = {
    "min_size": 0,
    "max_size": 10,
    "timeout": 10.0,
    "max_waiting": 0,
    "max_lifetime": 3600.0,
    "max_idle": 600.0,
    "reconnect_timeout": 300.0,
    "num_workers": 3,
    "name": None,
    "configure": None,
    "check": None,
    "reset": "auto",
    "check_after": 30.0,
    "leak_warning": 0.0,
    "credentials": None,
    "mode": "session",
    "share": "process",
    "max_per_process": 0,
    "reserve": 0,
    "reserve_timeout": 1.0,
    "broker_linger": 300.0,
    "broker_dir": None,
}
SECONDS = "a number of seconds, 0 or more"
HOOK = "a callable, its dotted path, or None"
RESET = "'auto', 'always', 'rollback', None, a callable or its dotted path"
WRONG = [
    *(("min_size", value, "a whole number of at least 0") for value in (-1, 1.5, True, "3", None)),
    *(("max_size", value, "a whole number of at least 1") for value in (0, -1, True, "3", None)),
    *(("max_waiting", value, "a whole number of at least 0") for value in (-1, False, 2.0)),
    *(("num_workers", value, "a whole number of at least 1") for value in (0, True, "1")),
    *(
        (key, value, SECONDS)
        for key in (
            "timeout",
            "max_idle",
            "reconnect_timeout",
            "check_after",
            "leak_warning",
            "reserve_timeout",
            "broker_linger",
        )
        for value in (-1, -0.1, math.nan, math.inf, True, "10", None)
    ),
    ("max_lifetime", 0, "a number of seconds above 0"),
    ("max_lifetime", 0.0, "a number of seconds above 0"),
    *(("max_lifetime", value, SECONDS) for value in (-1, math.nan, math.inf, False, "1h", None)),
    ("name", 3, "a string or None"),
    *((key, value, HOOK) for key in ("configure", "check", "credentials") for value in (3, "f")),
    ("configure", "math.pi", HOOK),
    ("reset", 3, RESET),
    ("reset", "sometimes", RESET),
    ("mode", "trip", "'session', 'transaction', 'statement'"),
    ("share", "hosts", "'process', 'host'"),
    ("share", 1, "'process', 'host'"),
    ("max_per_process", -1, "a whole number of at least 0"),
    ("reserve", -1, "a whole number of at least 0"),
    ("broker_dir", 3, "a string or None"),
]


def test_the_table_is_complete():
    assert {name: each.default for name, each in KNOWN.items()} == DEFAULTS
    for each in KNOWN.values():
        assert each.metadata["kind"]
        assert each.metadata["meaning"]


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG)
def test_a_wrong_value_is_told_what_is_allowed(key, value, allowed):
    with pytest.raises(OptionsError) as caught:
        parse({key: value})
    assert str(caught.value) == f"{key!r} is {value!r}; allowed: {allowed}"


@pytest.mark.parametrize("key", ["configure", "check", "credentials", "reset"])
@pytest.mark.parametrize("path", ["no.such.module", "math.nothing", "math..pi"])
def test_a_path_that_leads_nowhere(key, path):
    with pytest.raises(OptionsError) as caught:
        parse({key: path})
    allowed = re.escape(RESET if key == "reset" else HOOK)
    text = rf"'{key}' is '{re.escape(path)}'; allowed: {allowed} \(importing it failed: .+\)"
    assert re.fullmatch(text, str(caught.value))


def test_a_path_is_resolved():
    assert parse({"configure": "math.sqrt"}).configure is math.sqrt
    assert parse({"reset": "math.sqrt"}).reset is math.sqrt


def test_min_above_max():
    with pytest.raises(OptionsError) as caught:
        parse({"min_size": 3, "max_size": 2})
    assert str(caught.value) == (
        "'min_size' is 3, above 'max_size', which is 2; allowed: at most max_size"
    )


def test_an_unknown_key_is_told_a_near_one():
    with pytest.raises(OptionsError) as caught:
        parse({"max_sise": 3})
    assert str(caught.value) == (
        f"'max_sise' is not an option; did you mean 'max_size'?; allowed: {', '.join(DEFAULTS)}"
    )


def test_an_unknown_key_with_nothing_near():
    with pytest.raises(OptionsError, match=r"^'zzz' is not an option; see below; allowed: min_"):
        parse({"zzz": 3})
    with pytest.raises(OptionsError, match=r"^7 is not an option; "):
        parse({7: 3})


@pytest.mark.parametrize("key", ELSEWHERE)
def test_other_pools_names_are_told_ours(key):
    with pytest.raises(OptionsError) as caught:
        parse({key: 1})
    assert str(caught.value) == (
        f"{key!r} is not an option; here it is {ELSEWHERE[key]}; allowed: {', '.join(DEFAULTS)}"
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("pool_size", "max_size"),
        ("max_overflow", "max_size"),
        ("recycle", "max_lifetime"),
        ("pool_recycle", "max_lifetime"),
        ("pre_ping", "check_after"),
        ("pool_pre_ping", "check_after"),
        ("pool_timeout", "timeout"),
    ],
)
def test_sqlalchemys_names(theirs, ours):
    assert f"'{ours}'" in ELSEWHERE[theirs]


@pytest.mark.parametrize("value", [3, "yes", ["max_size"], object])
def test_what_is_no_dict(value):
    with pytest.raises(OptionsError) as caught:
        parse(value)
    assert str(caught.value) == f"it is {value!r}; allowed: True, False, or a dict of options"


def test_true_and_false():
    assert parse(True) == parse({}) == Options()
    assert parse(False) is parse(None) is None


def test_options_are_values():
    assert Options(max_size=3) == parse({"max_size": 3})
    assert hash(Options(max_size=3)) == hash(parse({"max_size": 3}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().max_size = 3


def test_resize_checks_its_sizes(driver, make_pool):
    pool = make_pool(max_size=2)
    with pytest.raises(OptionsError, match=r"^'min_size' is -1; allowed: a whole number"):
        pool.resize(-1)
    with pytest.raises(OptionsError, match="above 'max_size'"):
        pool.resize(3, 2)
    assert isinstance(pool, Pool)
    assert pool.get_stats()["pool_max"] == 2


def test_a_reserve_leaves_something_for_the_others():
    with pytest.raises(OptionsError, match="'reserve' is 3, of 'max_size' 3; allowed: less than"):
        parse({"max_size": 3, "reserve": 3})


@pytest.mark.parametrize("name", ["configure", "credentials"])
def test_a_broker_runs_no_code_of_the_projects(name):
    with pytest.raises(OptionsError, match=f"'{name}' is set and 'share' is 'host'; allowed: one"):
        parse({"share": "host", name: "os.getcwd"})
