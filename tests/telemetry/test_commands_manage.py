"""`manage.py carpool`: the commands with what the settings know, aliases and servers."""

import json
import socket

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from carpool.host import places
from carpool.management import servers
from carpool.options import Options


@pytest.fixture
def manage(capsys, directory, monkeypatch):
    """Run a command; returns its exit status, output and errors."""
    monkeypatch.setenv("CARPOOL_DIR", str(directory))

    def run(*words):
        code = 0
        with override_settings(INSTALLED_APPS=["carpool"]):
            try:
                call_command("carpool", *words)
            except SystemExit as ended:
                code = ended.code
        return code, *capsys.readouterr()

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


def test_an_alias_without_a_pool(manage, django_databases, tmp_path):
    stock = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    django_databases(default=stock)
    with pytest.raises(CommandError, match=r"^DATABASES\['default'\] has no pool$"):
        manage("status", "default")


def test_the_directory_is_that_of_the_settings(manage, django_databases, tmp_path):
    def sqlite(name):
        pool = {"broker_dir": str(tmp_path / name)} if name else True
        return {"ENGINE": "carpool.sqlite3", "NAME": name or "db", "OPTIONS": {"pool": pool}}

    django_databases(default=sqlite("there"))
    assert f"({places.directory(str(tmp_path / 'there'))})" in manage("status")[1]
    django_databases(default=sqlite("there"), other=sqlite(""))
    with pytest.raises(CommandError, match="in several directories.* name one by --directory: "):
        manage("status")
