"""Requests to views that query: one process for each way to, and its side of the conversation.

    python -m benchmarks.async_peer SETTINGS VIEW    SETTINGS: an entry of DATABASES, as JSON

reads one JSON object per line (a `Load`) and answers each with one line. The requests go through
Django's handlers (ASGIHandler, WSGIHandler) as from a server, without a network between.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any
from wsgiref.util import setup_testing_defaults


@dataclass(frozen=True)
class Load:
    """How many requests are under way at once, how many queries each makes, for how long."""

    requests: int
    queries: int
    seconds: float


class Peer:
    """The process, as the benchmark sees it."""

    def __init__(self, database: dict[str, Any], view: str) -> None:
        self._name = f"{view} on {database['ENGINE']}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.async_peer", json.dumps(database), view],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, load: Load) -> dict[str, Any]:
        """Return the `queries` made, and in seconds what they took: `wall` and `cpu`."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(load)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process for {self._name} has died: see its message above")
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


async def asgi_request(handler: Any, queries: int) -> None:
    """Have Django answer one request. Raises RuntimeError if that is an error."""
    messages = iter([{"type": "http.request"}])

    async def receive() -> Any:
        for message in messages:
            return message
        return await asyncio.Event().wait()  # a client that stays

    async def send(message: Any) -> None:
        if message.get("status", 200) != 200:
            raise RuntimeError(f"status {message['status']}")

    await handler(
        {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": str(queries).encode(),
            "headers": [],
        },
        receive,
        send,
    )


def wsgi_request(handler: Any, queries: int) -> None:
    """Do the same without a coroutine."""

    def start_response(status: str, *_rest: object) -> None:
        if not status.startswith("200"):
            raise RuntimeError(f"status {status}")

    environ: dict[str, Any] = {"QUERY_STRING": str(queries)}
    setup_testing_defaults(environ)
    response = handler(environ, start_response)
    b"".join(response)
    response.close()


async def asgi_load(handler: Any, load: Load) -> int:
    """Make requests with coroutines for as long as asked for; return how many."""
    end = time.perf_counter() + load.seconds

    async def client() -> int:
        made = 0
        while time.perf_counter() < end or not made:
            await asgi_request(handler, load.queries)
            made += 1
        return made

    return sum(await asyncio.gather(*(client() for _ in range(load.requests))))


async def wsgi_load(handler: Any, load: Load) -> int:
    """Make requests with threads."""
    end = time.perf_counter() + load.seconds

    def client(_number: int) -> int:
        made = 0
        while time.perf_counter() < end or not made:
            wsgi_request(handler, load.queries)
            made += 1
        return made

    with ThreadPoolExecutor(load.requests) as threads:
        return sum(threads.map(client, range(load.requests)))


async def serve(handler: Any, run: Any) -> None:
    """Answer until the input ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        load = Load(**json.loads(line))
        await run(handler, Load(load.requests, load.queries, load.seconds / 10))  # to get warm
        wall, cpu = time.perf_counter(), time.process_time()
        made = await run(handler, load)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"queries": made * load.queries, "wall": wall, "cpu": cpu}), flush=True)


def main(database: str, name: str) -> None:
    """Set Django up with one view and serve it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the input is what ends us
    import django  # noqa: PLC0415 - only the process that runs it needs it
    from django.conf import settings  # noqa: PLC0415 - see above

    entry = json.loads(database)
    native = entry["ENGINE"].startswith("django_async_backend")
    settings.configure(
        DATABASES={"default": entry},
        INSTALLED_APPS=["django_async_backend"] if native else [],
        ASYNC_BACKEND_DISABLE_POOL_WARNING=True,
        ROOT_URLCONF="benchmarks.async_views",
        ALLOWED_HOSTS=["*"],
        DEBUG_PROPAGATE_EXCEPTIONS=True,
        USE_TZ=True,
    )
    django.setup()
    from django.core.asgi import get_asgi_application  # noqa: PLC0415 - Django is set up now
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - see above

    from benchmarks import async_views  # noqa: PLC0415 - see above

    view = async_views.use(name)
    gc.freeze()
    if asyncio.iscoroutinefunction(view):
        asyncio.run(serve(get_asgi_application(), asgi_load))
    else:
        asyncio.run(serve(get_wsgi_application(), wsgi_load))


if __name__ == "__main__":
    main(*sys.argv[1:])
