"""Serve the site of the tests: `python -m tests.web.serve PORT`; see `running.py`.

WEB_MADE_UP=1: its figures are those that the test writes into report.json, what is ordered lies in
orders.txt, and the number of an order in number.txt. Ends when its input does.
"""

import json
import os
import sys
import threading
from unittest import mock

import django
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_):
        pass


def made_up(folder):
    """Return what tells figures and takes orders in place of the host's processes."""

    def gather(directory=None):
        return json.loads((folder / "report.json").read_text())

    def give(directory, verb, pool, *, sizes=None):
        with (folder / "orders.txt").open("a") as file:
            print(json.dumps([verb, pool, sizes]), file=file)
        return int((folder / "number.txt").read_text())

    return gather, give


def main(port):
    django.setup()
    from tests.web.settings import FOLDER  # noqa: PLC0415 - needs the environment

    if os.environ.get("WEB_MADE_UP"):
        gather, give = made_up(FOLDER)
        mock.patch("carpool.telemetry.gather.gather", gather).start()
        mock.patch("carpool.telemetry.orders.give", give).start()
        mock.patch("carpool.telemetry.ours.names", return_value=None).start()  # all are its own
    server = ThreadedWSGIServer(("127.0.0.1", port), Quiet)
    server.daemon_threads = True
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
