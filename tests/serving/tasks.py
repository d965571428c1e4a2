"""The site's work as Celery's tasks, by the names of its pages."""

import os
from pathlib import Path

import django
from celery import Celery
from celery.signals import worker_init

from tests.serving import broker

django.setup()

from tests.serving import work  # noqa: E402 - it has models, which need Django

app = Celery("tests.serving")
app.conf.update(broker.settings(Path(os.environ["FOLDER"])))


@app.task(name="ready")
def ready(token):
    return os.getpid()


for name, function in work.PAGES.items():
    app.task(function, name=name)


@worker_init.connect
def query_early(**_kwargs):
    """Query before the fork. Celery closes that itself, and the pool with it."""
    work.reads("nothing")
