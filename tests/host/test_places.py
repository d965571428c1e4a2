"""Where the broker lives: the choice of the directory, who may use it, how long paths may be."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from carpool import __version__
from carpool.errors import PoolError
from carpool.host import places
from tests.probing import ROOT


@pytest.fixture
def short():
    """A directory with a short name: paths of sockets are bounded."""
    path = tempfile.mkdtemp(prefix="carpool-")
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def free(monkeypatch, short):
    """No variable says where; the directory for temporary files is `short`."""
    for name in ("CARPOOL_DIR", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    return monkeypatch


def test_the_option_goes_before_the_environment_and_that_before_the_defaults(free, short):
    uid = os.geteuid()
    assert places.directory() == short / f"carpool-{uid}"
    (short / "run").mkdir()
    free.setenv("XDG_RUNTIME_DIR", str(short / "run"))
    assert places.directory() == short / "run" / "carpool"
    free.setenv("CARPOOL_DIR", str(short / "env"))
    assert places.directory() == short / "env"
    assert places.directory(str(short / "option")) == short / "option"


def test_what_is_in_it(short):
    place = places.find(str(short / "d"))
    assert place.root == short / "d"
    assert place.folder == short / "d" / __version__
    assert {place.control.parent, place.lock.parent, place.log.parent} == {place.folder}
    assert place.pool("abc") == place.folder / "abc"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_it_is_made_for_this_user_alone(short, umask):
    before = os.umask(umask)
    try:
        place = places.find(str(short / "d"))
    finally:
        os.umask(before)
    for path in (place.root, place.folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert places.find(str(short / "d")) == place


def test_a_relative_one_is_meant_from_here(free, short):
    free.chdir(short)
    assert places.directory("d") == short / "d"


@pytest.mark.parametrize("value", ["relative", "/nonexistent/carpool", ""])
def test_a_runtime_directory_of_the_session_that_is_none_is_ignored(free, short, value):
    free.setenv("XDG_RUNTIME_DIR", value)
    assert places.directory().parent == short


def test_a_runtime_directory_of_another_user_is_ignored(free, short):
    (short / "run").mkdir()
    free.setenv("XDG_RUNTIME_DIR", str(short / "run"))
    uid = os.geteuid()
    free.setattr(os, "geteuid", lambda: uid + 1)
    assert places.defaults() == [short / f"carpool-{uid + 1}"]


@pytest.mark.parametrize("mode", [0o710, 0o701, 0o750, 0o707, 0o777])
@pytest.mark.parametrize("part", [".", __version__])
def test_one_that_others_may_use_is_refused(short, mode, part):
    place = places.find(str(short / "d"))
    (place.root / part).chmod(mode)
    with pytest.raises(places.NoBroker) as caught:
        places.find(str(place.root))
    assert str(place.root / part) in str(caught.value)
    assert f"mode {mode:o}" in str(caught.value)
    assert "CARPOOL_DIR" in str(caught.value)


def test_another_user_s_is_refused_also_by_root(free, short):
    (short / "d").mkdir(mode=0o700)
    uid = os.geteuid()
    free.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(places.NoBroker, match=f"belongs to the user with uid {uid}, not to"):
        places.directory(str(short / "d"))


@pytest.mark.parametrize("target", [".", "nowhere"])
def test_a_symbolic_link_is_refused(short, target):
    (short / "target").mkdir(mode=0o700)
    (short / "d").symlink_to(short / "target" / target)
    with pytest.raises(places.NoBroker):
        places.directory(str(short / "d"))
    assert not list((short / "target").iterdir())


def test_a_file_is_refused(short):
    (short / "d").touch()
    with pytest.raises(places.NoBroker, match="cannot be made"):
        places.directory(str(short / "d"))


def test_where_none_can_be_made(free):
    def nowhere():
        raise FileNotFoundError("no usable temporary directory found")

    free.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(places.NoBroker, match=r"no usable temporary.*broker_dir, or --directory"):
        places.directory()


def fitting(short):
    """Return the longest runtime directory that is allowed, and its deepest socket."""
    below = Path(__version__) / ("x" * places.POOL_ID) / places.POSTGRESQL_SOCKET
    length = places.LONGEST_SOCKET_PATH - len(str(below)) - 1
    root = short / ("d" * (length - len(str(short)) - 1))
    return root, root / below


def test_the_longest_path_that_is_allowed_can_be_listened_on(short):
    root, deepest = fitting(short)
    places.find(str(root)).pool("x" * places.POOL_ID).mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(deepest))


def test_one_longer_is_refused_as_the_system_would(short):
    root, deepest = fitting(short)
    with pytest.raises(places.NoBroker, match="1 bytes too long for Unix sockets") as caught:
        places.find(f"{root}d")
    assert "--directory" in str(caught.value)
    deepest.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, pytest.raises(OSError, match="too long"):
        listener.bind(f"{deepest}d")


def test_the_error_is_one_that_django_projects_catch():
    from django.db import OperationalError  # noqa: PLC0415 - the one test with Django

    assert issubclass(places.NoBroker, PoolError)
    assert issubclass(places.NoBroker, OperationalError)


def test_it_needs_no_environment_at_all(short):
    text = "from carpool.host import places; print(places.directory())"
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(short)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == str(short / f"carpool-{os.geteuid()}")
