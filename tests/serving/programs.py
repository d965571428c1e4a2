"""Programs of one's own: what the tests of threads and of multiprocessing share."""

from contextlib import contextmanager

from tests.host.brokers import own_place
from tests.probing import report_of, start_program
from tests.serving.shared import quit_broker
from tests.serving.shown import shown_database

HEAD = """
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import django

django.setup()

from django.db import OperationalError, connection, transaction
from tests.serving.work import Token, begin_by_hand, leave_marks, reads, run, write

SIZE = {size}


def report(fact):
    print(json.dumps(fact), flush=True)


def in_threads(function, tokens):
    "Call a function in a thread of its own for each token, all at once; return the results."
    results, start = dict.fromkeys(tokens), threading.Barrier(len(tokens))

    def call(token):
        start.wait()
        results[token] = function(token)

    threads = [threading.Thread(target=call, args=[token]) for token in tokens]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return results


def check(answers):
    assert all(answer["after"] == [token] for token, answer in answers.items()), answers


def all_at_once(name):
    "Have every slot in use at the same moment."
    together = threading.Barrier(SIZE)

    def meet(token):
        with transaction.atomic():
            Token.objects.create(text=token)
            together.wait(30)
        return {{"after": reads(token)}}

    check(in_threads(meet, [f"{{name}} {{number}}" for number in range(SIZE)]))


"""


@contextmanager
def program(server, mode, path, text, *, size, limit, share="process"):
    """Run a program after the head above, a warning being an error; yield its report, the server.

    `size` is the pool's `max_size`, `limit` how many sessions the server admits.
    """
    with own_place() as place, shown_database(server, limit) as shown:
        database = shown.django(max_size=size, mode=mode, share=share)
        params = {"database": database, "early": False}
        flags = ("-X", "dev", "-W", "error")
        env = {"DJANGO_SETTINGS_MODULE": "tests.serving.settings", "CARPOOL_DIR": str(place.root)}
        started = start_program(path, HEAD.format(size=size) + text, params, *flags, **env)
        yield report_of(started), shown
        if share == "host":
            quit_broker(place)
        shown.wait_until_nobody_is_there()
