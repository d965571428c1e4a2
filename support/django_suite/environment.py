"""Django's tests and an environment to run them in, made once and kept in `.cache`.

The tests come from Django's source distribution, of the very version that is installed here.
The environment has this checkout and the same Django and driver as the running one, and besides
what Django's tests want: among it `psycopg_pool`, without which stock Django's own tests of
pooling cannot pass. carpool does not use it, and the other tests show that it need not be there.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "django_suite"

_AS_HERE = ("Django", "psycopg", "psycopg-binary", "PyMySQL", "asgiref", "sqlparse")
_IF_HERE = ("mysqlclient",)  # pip has to build it, which not every machine can
_BESIDES = (
    "psycopg-pool==3.3.3",
    "Jinja2==3.1.6",
    "PyYAML==6.0.3",
    "tzdata==2026.6",
)


class SuiteError(RuntimeError):
    """The suite cannot be run; the text says why and what to do."""


def versions() -> dict[str, str]:
    """Return what decides the outcomes of Django's tests, but for the server."""
    return {"python": sys.version, **_as_here()}


def tests_folder() -> Path:
    """Return the folder `tests` of Django's source distribution, fetched once."""
    name = f"django-{version('Django')}"
    if not (CACHE / name).exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as making:
            _fetch(Path(making)).rename(CACHE / name)
    return CACHE / name / "tests"


def test_packages() -> list[str]:
    """Return the names of all packages in Django's tests."""
    return [path.parent.name for path in tests_folder().glob("*/__init__.py")]


def interpreter() -> Path:
    """Return the Python of the environment for the tests, made when there is none like it."""
    recipe = hashlib.sha256(_recipe().encode()).hexdigest()[:8]
    folder = CACHE / f"venv-{platform.python_version()}-django-{version('Django')}-{recipe}"
    python, stamp = folder / "bin" / "python", folder / "complete"
    if not stamp.exists():
        print(f"Making the environment for Django's tests in {folder.relative_to(ROOT)}")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=False, symlinks=True)
        _pip("--python", str(python), "install", "--editable", str(ROOT), *_requirements())
        stamp.touch()
    return python


def _requirements() -> list[str]:
    return [*(f"{name}=={number}" for name, number in _as_here().items()), *_BESIDES]


def _as_here() -> dict[str, str]:
    found = {name: version(name) for name in _AS_HERE}
    for name in _IF_HERE:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _recipe() -> str:
    """Return a text that changes when another environment is needed."""
    metadata = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return "\n".join((sys.version, metadata, str(ROOT), *_requirements()))


def _fetch(folder: Path) -> Path:
    """Download and unpack the source distribution; return its folder."""
    django = f"Django=={version('Django')}"
    print(f"Fetching the source distribution of {django}")
    _pip("download", "--no-deps", "--no-binary", "django", "--dest", str(folder), django)
    archives = list(folder.glob("*.tar.gz"))
    if len(archives) != 1:
        raise SuiteError(f"the package index has no source distribution of {django}")
    with tarfile.open(archives[0]) as archive:
        # The argument `filter` came with Python 3.11.4.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(folder)
    return archives[0].with_suffix("").with_suffix("")


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SuiteError(f"pip {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
