"""Readers of server-sent events, and what they have seen together."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

STALLED = 30.0  # seconds without an event that is due every second
REQUEST = b"GET / HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


class StreamError(Exception):
    """A stream went wrong: `kind` in a word or two, `text` in full."""

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(text or kind)
        self.kind = kind


@dataclass
class Tally:
    """What all streams have seen so far. For one event loop."""

    waiting: int  # for their first event
    open: int = 0
    late: list[float] = field(default_factory=list)  # seconds after the event was due
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def failed(self, error: StreamError) -> None:
        """Count an error; the first of its kind is kept."""
        self.errors[error.kind] += 1
        self.examples.setdefault(error.kind, str(error))

    def begun(self) -> None:
        """Count a stream that no longer waits: it has had an event or an error."""
        self.waiting -= 1
        if not self.waiting:
            self.settled.set()


async def follow(port: int, tally: Tally) -> None:
    """Read one stream until the task is cancelled, or until the stream goes wrong."""
    reading = _Stream(tally)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(REQUEST)
            await reading.read(reader)
        finally:
            writer.close()
    except OSError as error:
        tally.failed(StreamError(type(error).__name__, str(error)))
    except StreamError as error:
        tally.failed(error)
    finally:
        reading.end()


class _Stream:
    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._begun = False
        self._last = ""

    async def read(self, reader: asyncio.StreamReader) -> None:
        head = await _until(reader, b"\r\n\r\n")
        status = head.partition("\r\n")[0]
        if " 200 " not in status:
            raise StreamError(status or "no answer")
        while True:
            self._event(await _until(reader, b"\n\n"))

    def _event(self, event: str) -> None:
        name, _, data = event.rpartition("data: ")
        first, second = json.loads(data)
        if name.startswith("event: error"):
            raise StreamError(first, second)
        if second == self._last:
            raise StreamError("stale result", f"{second} came twice")
        self._last = second
        self._tally.late.append(time.monotonic() - first)
        if not self._begun:
            self._begun = True
            self._tally.open += 1
            self._tally.begun()

    def end(self) -> None:
        if self._begun:
            self._tally.open -= 1
        else:
            self._tally.begun()


async def _until(reader: asyncio.StreamReader, end: bytes) -> str:
    try:
        async with asyncio.timeout(STALLED):
            return (await reader.readuntil(end)).decode()
    except TimeoutError:
        raise StreamError("stalled", f"no event for {STALLED:g} s") from None
    except asyncio.IncompleteReadError:
        raise StreamError("ended", "the server closed the stream") from None
