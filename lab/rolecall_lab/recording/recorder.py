"""The recorder: writes events through a bounded queue to a Redis Stream, which `flows` reads."""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import threading
import time
from contextlib import suppress
from typing import Any, Final

import redis

from rolecall.storage import connect
from rolecall_lab.recording.event import Exchange, encode
from rolecall_lab.recording.wiping import compact
from rolecall_lab.settings import LabSettings

log = logging.getLogger(__name__)

STREAM: Final = "lab:events"
MAX_EVENTS: Final = 2500
"""Maximum number of events in the stream."""

MAX_EVENT: Final = 32 * 1024
"""Maximum size of an event, in bytes; most have three thousand."""

MAX_STREAM: Final = 48 * 1024 * 1024
"""Maximum size of the stream in Redis, in bytes, checked after each `WEIGH_AFTER` events of a process."""

WEIGH_AFTER: Final = 100

MAX_WAITING: Final = 2000
"""Maximum number of exchanges in a process's queue."""

MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Maximum size of these exchanges, approximately."""

MAX_BATCH: Final = 100
"""Maximum number of events that are written in one round trip to Redis."""

BATCH_DELAY: Final = 0.02
"""Seconds to wait for more events before a batch is written."""

KEEP: Final = 86400
"""Seconds after the last event until Redis deletes the stream."""

_EMPTY: Final[dict[str, Any]] = {
    "query": {}, "form": {}, "json": None, "request_headers": {}, "response_headers": {}, "body": None,
    "checks": [], "changes": [],
}  # fmt: skip
"""The members of an event whose size depends on the sender, with the values that replace them if they are too large."""


_ADD: Final = """
for number = 3, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[number])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""
"""Adds events to the stream; one command takes the client less time than one for each event."""


class Recorder:
    """Accepts exchanges without blocking; a daemon thread in each process redacts them and writes them to Redis.

    Exchanges are dropped and counted if Redis is unavailable or the queue is full.
    """

    def __init__(self, lab: LabSettings) -> None:
        self._lab = lab
        self._lock = threading.Lock()
        self._pid = 0
        self._process = 0
        self._queue: queue.SimpleQueue[Exchange | threading.Event] = queue.SimpleQueue()
        self._dropped = 0
        self._waiting = 0  # bytes
        self._unweighed = 0  # events

    def record(self, exchange: Exchange) -> None:
        """Queue an exchange, or drop it if the queue is full."""
        size = exchange.size
        try:
            self._start()
        except RuntimeError:  # the system cannot start another thread
            self._drop(1)
            return
        with self._lock:
            is_full = self._waiting + size > MAX_WAITING_BYTES or self._queue.qsize() >= MAX_WAITING
            if is_full:
                self._dropped += 1
            else:
                self._waiting += size
        if not is_full:
            self._queue.put(exchange)

    def flush(self, seconds: float = 2.0) -> bool:
        """Wait until all queued exchanges are written or dropped; return False if that takes longer than `seconds`."""
        if self._pid != os.getpid():
            return True
        written = threading.Event()
        self._queue.put(written)
        return written.wait(seconds)

    def _start(self) -> None:
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._queue = queue.SimpleQueue()  # the parent process writes its own queue
                self._dropped = self._waiting = 0
                self._process = secrets.randbits(48)  # process IDs are reused
                threading.Thread(target=self._run, args=(self._queue,), name="lab-recorder", daemon=True).start()
                self._pid = os.getpid()

    def _run(self, waiting: queue.SimpleQueue[Exchange | threading.Event]) -> None:
        client = connect(self._lab.lab_redis_url)
        while True:
            items = [waiting.get()]
            if isinstance(items[0], Exchange):
                time.sleep(BATCH_DELAY)
            while len(items) < MAX_BATCH and not waiting.empty():
                items.append(waiting.get())
            exchanges = [item for item in items if isinstance(item, Exchange)]
            self._write(client, exchanges)
            with self._lock:
                self._waiting -= sum(exchange.size for exchange in exchanges)
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()

    def _write(self, client: redis.Redis, exchanges: list[Exchange]) -> None:
        if not exchanges:
            return
        events = []
        for exchange in exchanges:
            try:
                events.append(self._encode(exchange))
            except Exception as error:  # no input may end the thread; the loss is counted
                log.warning("exchange not recorded", extra={"detail": type(error).__name__})
                self._drop(1)
        try:
            client.eval(_ADD, 1, STREAM, MAX_EVENTS, KEEP, *events)
        except (redis.RedisError, OSError):
            self._drop(len(events))
            return
        self._unweighed += len(events)
        if self._unweighed >= WEIGH_AFTER:
            self._unweighed = 0
            with suppress(redis.RedisError, OSError):
                _trim_stream(client)

    def _encode(self, exchange: Exchange) -> bytes:
        """Return the event as JSON; if it is too large, its largest members are left out and listed in `cut`."""
        text = encode(exchange, self._lab, process=self._process, dropped=self._dropped)
        if len(text) > MAX_EVENT:
            event = json.loads(text)
            sizes = {name: len(compact(event[name])) for name in _EMPTY}
            for name in sorted(sizes, key=lambda name: -sizes[name]):
                event[name] = _EMPTY[name]
                event["cut"] = sorted({*event["cut"], name})
                text = compact(event)
                if len(text) <= MAX_EVENT:
                    break
        return text

    def _drop(self, number: int) -> None:
        with self._lock:
            self._dropped += number


def _trim_stream(client: redis.Redis) -> None:
    """Remove the oldest events if the stream is too large."""
    used = int(client.memory_usage(STREAM, samples=0) or 0)  # samples=0: measure all entries
    if used > MAX_STREAM:
        client.xtrim(STREAM, maxlen=int(client.xlen(STREAM)) * MAX_STREAM // used, approximate=False)
