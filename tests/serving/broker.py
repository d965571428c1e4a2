"""Celery's broker and its results as files in a folder, for worker and client alike.

kombu and Celery write where they are read, so that half a file may be read. Here a file gets its
name when it is whole.
"""

import os
import time
import uuid
from pathlib import Path

from celery.backends.filesystem import FilesystemBackend
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.encoding import ensure_bytes
from kombu.utils.json import dumps


def write(path, data):
    part = f"{path}.part"
    Path(part).write_bytes(data)
    Path(part).replace(path)


class Channel(filesystem.Channel):
    def _put(self, queue, payload, **_kwargs):
        name = f"{time.monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg"
        write(Path(self.data_folder_out) / name, dumps(payload).encode())


class Transport(filesystem.Transport):
    Channel = Channel


class Results(FilesystemBackend):
    def set(self, key, value):
        write(os.fsdecode(self._filename(key)), ensure_bytes(value))


TRANSPORT_ALIASES["whole-files"] = f"{__name__}:Transport"


def settings(folder):
    """Return the settings of a Celery app."""
    for name in ("queue", "control", "results"):
        (folder / name).mkdir(exist_ok=True)
    return {
        "broker_url": "whole-files://localhost",
        "broker_transport_options": {
            "data_folder_in": str(folder / "queue"),
            "data_folder_out": str(folder / "queue"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.01,
        },
        "worker_lost_wait": 0.1,  # seconds until a task of a child that was killed has failed
        "result_backend": f"{__name__}:Results+file://{folder / 'results'}",
    }
