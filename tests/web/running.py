"""The site of the tests in processes of its own."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

SET_UP = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from tests.web import users
users.make()
"""


class Site:
    """One process that serves the site; its address is `url`."""

    def __init__(self, folder, environment, port):
        command = [sys.executable, "-W", "error", "-m", "tests.web.serve", str(port)]
        self.folder = folder
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.port = int(self.process.stdout.readline() or 0)
        if not self.port:
            raise RuntimeError(self.process.communicate()[1])
        self.url = f"http://127.0.0.1:{self.port}/admin/carpool_web/pool/"

    def stop(self):
        """End the process, and see that it had nothing to complain of."""
        if self.process.poll() is None:
            _, complaints = self.process.communicate(timeout=60)
            assert complaints == ""

    def show(self, report):
        """Have a site with made-up figures tell these from now on."""
        new = self.folder / "report.new"
        new.write_text(json.dumps(report))
        new.replace(self.folder / "report.json")

    def answer(self, number):
        """Have a site with made-up figures give orders this number from now on."""
        (self.folder / "number.txt").write_text(str(number))

    def orders(self):
        """Return what has been ordered of a site with made-up figures."""
        path = self.folder / "orders.txt"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def sites(folder, number=1, port=0, fresh=True, **more):
    """Run the site in several processes, with tables and users made; `more`: environment."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.web.settings",
        "WEB_FOLDER": str(folder),
        "CARPOOL_DIR": str(folder / "carpool"),
        **more,
    }
    if fresh:
        subprocess.run([sys.executable, "-W", "error", "-c", SET_UP], env=environment, check=True)
    running = []
    try:
        running += [Site(folder, environment, port) for _ in range(number)]
        yield running
    finally:
        for each in running:
            each.stop()
