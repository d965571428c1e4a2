"""`manage.py carpool`: the commands with what the settings know, aliases and servers."""

import io
import json
import os
import socket
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from carpool.host import places
from carpool.management import servers
from carpool.options import Options
from carpool.telemetry import health
from support import brokers
from tests.probing import ROOT, STUCK


@pytest.fixture
def manage(capsys, directory, monkeypatch):
    """Run a command; returns its exit status, output and errors.

    To it, a process that has told nothing for some seconds is well.
    """
    monkeypatch.setenv("CARPOOL_DIR", str(directory))
    monkeypatch.setattr(health, "STALE", STUCK)

    def run(*words):
        code = 0
        with override_settings(INSTALLED_APPS=["carpool"]):
            try:
                call_command("carpool", *words)
            except CommandError as error:
                code = error.returncode
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(manage):
    """Run a command that cannot be done; returns its exit status, and what Django is told."""

    def run(*words):
        with (
            override_settings(INSTALLED_APPS=["carpool"]),
            pytest.raises(CommandError) as error,
        ):
            call_command("carpool", *words)
        return error.value.returncode, str(error.value)

    return run


def entry(database, **options):
    return database.django(ENGINE="carpool.postgresql", OPTIONS={"pool": options or True})


def test_status_asks_the_server_itself(manage, project, database, django_databases):
    databases = {"default": entry(database, name="shop", max_size=3)}
    django_databases(**databases)
    first, second = project(databases), project(databases)
    first.do("ask()")
    second.do("request()")
    for each in (first, second):
        each.do("publisher.publisher.publish()")
    code, out, _ = manage("status")
    assert code == 0
    assert len(database.sessions()) == 2
    assert "\n  server     2 sessions of ours, " in out
    assert "\n             room for 197: max_connections 200 less 3 reserved\n" in out
    told = json.loads(manage("status", "default", "--json")[1])
    assert (told["server"]["shop"]["sessions"], told["pools"][0]["open"]) == (2, 2)


@pytest.mark.parametrize("timeout", [10, 1e12])
def test_how_any_client_gets_a_session_is_told_by_alias(
    manage, database, django_databases, directory, timeout
):
    """Also where no process has asked for the pool yet: then it is made."""
    django_databases(default=entry(database, share="host", timeout=timeout))
    code, out, _ = manage("broker", "url", "default")
    brokers.end_broker(str(directory))
    assert code == 0
    assert out.startswith(f"postgresql:///{database.name}?host={directory}/")


def test_a_server_whose_pool_nobody_uses_is_told_of(manage, database, django_databases):
    django_databases(default=entry(database, name="shop"))
    code, out, _ = manage("status")
    assert code == 3
    assert "\nshop, which no process uses now\n  server     0 sessions of ours" in out


def test_a_server_that_is_away_is_told_of(manage, django_databases):
    away = {"ENGINE": "carpool.postgresql", "HOST": "127.0.0.1", "PORT": "1", "USER": "me"}
    django_databases(default={**away, "NAME": "shop", "OPTIONS": {"pool": {"name": "shop"}}})
    code, out, _ = manage("status")
    assert code == 1
    assert "\n  server     does not answer: connection failed: " in out
    assert "\nunhealthy: shop: the server does not answer: connection failed: " in out


def test_a_server_that_says_nothing_is_not_waited_for(manage, django_databases, monkeypatch):
    monkeypatch.setattr(servers, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = {"ENGINE": "carpool.postgresql", "HOST": "127.0.0.1", "USER": "me", "NAME": "shop"}
        mute["PORT"] = str(silent.getsockname()[1])
        django_databases(default={**mute, "OPTIONS": {"pool": {"name": "shop"}}})
        code, out, _ = manage("status")
    assert code == 1
    assert "unhealthy: shop: the server does not answer: no answer within 0.2 s" in out


def test_a_function_of_credentials_that_fails_is_told_of():
    def fails():
        raise KeyError("TOKEN")

    class Driver:
        name = "shop"

    options = Options(credentials=fails)
    assert servers.ask([(Driver(), options)]) == {"shop": "'TOKEN'"}


def test_what_has_no_server_is_left_out(manage, project, django_databases, tmp_path):
    databases = {"default": {"ENGINE": "carpool.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}}
    django_databases(**databases)
    process = project(databases)
    process.do("request()")
    process.do("publisher.publisher.publish()")
    code, out, _ = manage("status", "default")
    assert code == 0
    assert "\n  server " not in out


def test_an_alias_means_the_pool_of_this_project(manage, project, django_databases, tmp_path):
    def databases(name):
        pool = {"name": name}
        sqlite = {"ENGINE": "carpool.sqlite3", "NAME": str(tmp_path / name)}
        return {"default": {**sqlite, "OPTIONS": {"pool": pool}}}

    for name in ("ours", "theirs"):
        process = project(databases(name))
        process.do("request()")
        process.do("publisher.publisher.publish()")
    django_databases(**databases("ours"))
    code, out, _ = manage("drain", "default")
    assert code == 0
    assert out.splitlines()[0] == "Order given to drain ours (1 process)"


def test_an_alias_without_a_pool(refused, django_databases, tmp_path):
    stock = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    django_databases(default=stock)
    assert refused("status", "default") == (2, "DATABASES['default'] has no pool")


def test_the_directory_is_that_of_the_settings(manage, refused, django_databases, tmp_path):
    def sqlite(name):
        pool = {"broker_dir": str(tmp_path / name)} if name else True
        return {"ENGINE": "carpool.sqlite3", "NAME": name or "db", "OPTIONS": {"pool": pool}}

    django_databases(default=sqlite("there"))
    assert f"({places.directory(str(tmp_path / 'there'))})" in manage("status")[1]
    django_databases(default=sqlite("there"), other=sqlite(""))
    code, said = refused("status")
    assert code == 2
    assert "in several directories (option broker_dir), name one by --directory: " in said


# ------------------------------------------------------------------ as a Django command


SQLITE = {"ENGINE": "carpool.sqlite3", "NAME": "db"}


def test_an_order_to_a_pool_that_is_in_no_process_names_the_alias(refused, django_databases):
    django_databases(default={**SQLITE, "OPTIONS": {"pool": {"name": "shop"}}})
    code, said = refused("drain", "default")
    assert code == 2
    assert said.startswith("the pool of 'default', 'shop', is in no process: no process with a ")


def test_settings_that_are_wrong_are_told_of_and_the_others_looked_at(
    manage, refused, database, django_databases
):
    wrong = {**SQLITE, "OPTIONS": {"pool": {"max_sise": 3}}}
    django_databases(default=entry(database, name="shop"), stock=wrong)
    code, out, _ = manage("status")
    assert code == 1
    assert "\nshop, which no process uses now\n  server     0 sessions of ours" in out
    [told] = [line for line in out.splitlines() if line.startswith("unhealthy: ")]
    assert "stock" in told
    assert "max_sise" in told
    code, said = refused("drain", "stock")
    assert code == 2
    assert said.startswith("DATABASES['stock'] has no pool: ")
    assert "max_sise" in said


def test_output_goes_where_django_is_told_to_put_it(django_databases, directory, capsys):
    django_databases(default={**SQLITE, "OPTIONS": {"pool": True}})
    out = io.StringIO()
    with (
        override_settings(INSTALLED_APPS=["carpool"]),
        pytest.raises(CommandError, match="exit status 3") as error,
    ):
        call_command("carpool", "status", directory=str(directory), stdout=out)
    assert error.value.returncode == 3
    assert out.getvalue() == (
        f"No process of this user has a pool open ({directory})\n\nnothing to tell of\n"
    )
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def program(directory, tmp_path):
    """Run `django-admin carpool` as a program; its settings must be named."""
    (tmp_path / "of_a_shop.py").write_text(
        "INSTALLED_APPS = ['carpool']\n"
        "DATABASES = {'default': {'ENGINE': 'carpool.sqlite3', 'NAME': ':memory:',"
        " 'OPTIONS': {'pool': True}}}\n"
    )

    def run(*words):
        environment = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "django", "carpool", *words],
            env=environment | {"CARPOOL_DIR": str(directory)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=STUCK,
            check=False,
        )

    return run


@pytest.mark.parametrize("words", [["status"], ["broker", "status"]])
def test_options_of_django_stand_before_and_after_the_command(program, tmp_path, words):
    more = [
        "--settings",
        "of_a_shop",
        f"--pythonpath={tmp_path}",
        "-v",
        "2",
        "--no-color",
        "--traceback",
    ]
    last, first = program(*words, *more[:-1]), program(*more[:-1], *words)
    assert (last.returncode, last.stdout) == (first.returncode, first.stdout)
    assert last.stderr == first.stderr
    assert last.returncode == {"status": 3, "broker": 1}[words[0]]
    assert "Traceback" in program("drain", "default", *more).stderr
    assert "Traceback" in program(*more, "drain", "default").stderr


def test_exit_statuses_of_the_program(program, tmp_path):
    ended = program("status", "--settings=of_a_shop", f"--pythonpath={tmp_path}")
    assert (ended.returncode, ended.stderr) == (3, "")
    assert ended.stdout.endswith("\n\nnothing to tell of\n")
    ended = program("drain", "default", "--settings=of_a_shop", f"--pythonpath={tmp_path}")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("CommandError: ")
