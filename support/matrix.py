"""`make test-matrix`: the tests with every supported pair of Python and Django.

Each pair has a virtual environment of its own in .cache. Exit status 1 if a pair failed; the pairs
whose Python this machine lacks are named at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

DJANGOS = {
    "3.11": ("5.2",),
    "3.12": ("5.2", "6.0", "6.1"),
    "3.13": ("5.2", "6.0", "6.1"),
    "3.14": ("5.2", "6.0", "6.1"),
}


def main() -> int:
    """Run every pair that can be run, then say how each went."""
    pythons = present()
    verdicts = {}
    for version, djangos in DJANGOS.items():
        for django in djangos:
            verdicts[f"Python {version}, Django {django}"] = (
                run(version, pythons[version], django)
                if version in pythons
                else f"not run: no Python {version} on this machine"
            )
    print("\nThe pairs:", *(f"  {pair}: {verdict}" for pair, verdict in verdicts.items()), sep="\n")
    return int(any(verdict.startswith("FAILED") for verdict in verdicts.values()))


def present() -> dict[str, str]:
    """Return the paths of the supported Pythons of this machine by version."""
    found = subprocess.run(["support/pythons"], stdout=subprocess.PIPE, text=True, check=True)
    return dict(line.split(" ", 1) for line in found.stdout.splitlines())


def run(version: str, python: str, django: str) -> str:
    """Run the tests with one pair; return the verdict."""
    print(f"\n== Python {version}, Django {django}", flush=True)
    begun = time.monotonic()
    venv = f"VENV=.cache/python{version}-django{django}"
    make = [os.environ.get("MAKE", "make"), "--no-print-directory", "pytest"]
    done = subprocess.run([*make, venv, f"PYTHON={python}", f"DJANGO={django}"], check=False)
    return f"{'FAILED' if done.returncode else 'passed'} in {time.monotonic() - begun:.0f} s"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
