"""One JSON event an exchange, through a bounded queue into a Redis Stream; `flows` reads them back.

An event (schema 2) has: `id` (sorts by the exchange's start), `schema`, `at` (seconds, the lab's clock), `role` (who
recorded), `direction` (received, sent), `from`, `to`, `channel` (front: a browser carried it; back), `method`,
`host`, `path`, `query`, `form`, `request_headers`, `status` and `failure` (one of them is null), `response_headers`,
`body` (of a JSON answer), `milliseconds`, `checks`, `changes`, `handles`, `chosen` (those of them that a client
made), `trace` and `span` (of the request's `traceparent`), `process`, `dropped` (how many events this process had
lost so far). Reading adds `flow`, and to what was sent `shadowed`: whether the receiver recorded it too.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import redis

from rolecall import clock
from rolecall.storage import connect
from rolecall_lab.redaction import Redaction, masked
from rolecall_lab.settings import LabSettings, Party

log = logging.getLogger(__name__)

SCHEMA: Final = 2
STREAM: Final = "lab:events"
MAX_EVENTS: Final = 5000
MAX_WAITING: Final = 2000
MAX_EVENT: Final = 48 * 1024
"""Characters of an event."""

MAX_BATCH: Final = 100
TOGETHER: Final = 0.02
"""Seconds that an event waits for others to be written with."""

_NEVER_SET: Final = threading.Event()

KEEP: Final = 86400
"""Seconds after which Redis forgets a stream that nobody writes to."""

_CALLERS: Final[dict[str, Party]] = {"/introspect": "resource_server", "/jwks": "resource_server"}
"""Who asks on the back channel when it is not the client; the sender's own event knows better."""


@dataclass(slots=True)
class Exchange:
    """A message and its answer as they were, secrets and all: only ever in memory. `started` by the monotonic clock."""

    direction: str
    method: str
    url: str
    request_headers: Mapping[str, str]
    milliseconds: float
    back_channel: bool = True
    trace: str | None = None
    form: bytes = b""
    status: int | None = None
    failure: str | None = None
    response_headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    notes: list[dict[str, Any]] = field(default_factory=list)
    own_cookies: tuple[str, ...] = ()
    ended: float = field(default_factory=clock.now)
    offset: float = field(default_factory=clock.offset)


class Recorder:
    """Takes exchanges without ever waiting; one daemon thread a process redacts them and writes them to Redis.

    What cannot be kept, because Redis is away or the queue is full, is dropped and counted.
    """

    def __init__(self, lab: LabSettings) -> None:
        self._lab = lab
        self._lock = threading.Lock()
        self._pid = 0
        self._queue: queue.Queue[Exchange | threading.Event] = queue.Queue(MAX_WAITING)
        self._dropped = 0

    def record(self, exchange: Exchange) -> None:
        """Hand over an exchange."""
        try:
            self._start()
            self._queue.put_nowait(exchange)
        except (queue.Full, RuntimeError):  # RuntimeError: the system gives no more threads
            self._drop(1)

    def flush(self, seconds: float = 2.0) -> bool:
        """Wait until what was handed over is written or dropped; False when that takes longer than `seconds`."""
        if self._pid != os.getpid():
            return True
        written = threading.Event()
        try:
            self._queue.put(written, timeout=seconds)
        except queue.Full:
            return False
        return written.wait(seconds)

    def _start(self) -> None:
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._queue = queue.Queue(MAX_WAITING)  # what the parent process had waiting is the parent's
                self._dropped = 0
                threading.Thread(target=self._run, args=(self._queue,), name="lab-recorder", daemon=True).start()
                self._pid = os.getpid()

    def _run(self, waiting: queue.Queue[Exchange | threading.Event]) -> None:
        client = connect(self._lab.lab_redis_url)
        while True:
            items = [waiting.get()]
            if isinstance(items[0], Exchange):
                # one trip to Redis for all that comes meanwhile
                _NEVER_SET.wait(TOGETHER)
            while len(items) < MAX_BATCH and not waiting.empty():
                items.append(waiting.get())
            self._write(client, [item for item in items if isinstance(item, Exchange)])
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()

    def _write(self, client: redis.Redis, exchanges: list[Exchange]) -> None:
        if not exchanges:
            return
        pipeline = client.pipeline(transaction=False)
        written = 0
        for exchange in exchanges:
            try:
                event = self._written(exchange)
            except Exception as error:  # whatever a stranger sent: the thread lives on, and the loss is counted
                log.warning("exchange not recorded", extra={"detail": type(error).__name__})
                self._drop(1)
                continue
            pipeline.xadd(STREAM, {"event": event}, maxlen=MAX_EVENTS)
            written += 1
        pipeline.expire(STREAM, KEEP)
        try:
            pipeline.execute()
        except (redis.RedisError, OSError):
            self._drop(written)

    def _written(self, exchange: Exchange) -> str:
        """The event as JSON; of one that is very long only what tells what it was."""
        described = self._described(exchange)
        text = json.dumps(described, separators=(",", ":"), allow_nan=False)
        if len(text) > MAX_EVENT:
            described |= {"query": {}, "form": {}, "body": None, "request_headers": {}, "response_headers": {}}
            text = json.dumps(masked(described), separators=(",", ":"), allow_nan=False)
        return text

    def _described(self, exchange: Exchange) -> dict[str, Any]:
        return {**describe(exchange, self._lab), "process": os.getpid(), "dropped": self._dropped}

    def _drop(self, number: int) -> None:
        with self._lock:
            self._dropped += number


def describe(exchange: Exchange, lab: LabSettings) -> dict[str, Any]:
    """The event of an exchange: only what may be kept."""
    redaction = Redaction(lab.lab_key, exchange.own_cookies)
    parts = urlsplit(exchange.url)
    headers = {name.lower(): text for name, text in exchange.request_headers.items()}
    answer_headers = [(name.lower(), text) for name, text in exchange.response_headers]
    trace, span = _trace(headers.get("traceparent", ""))
    began = exchange.ended - exchange.milliseconds / 1000
    told = {
        "host": (parts.netloc.rpartition("@")[2] or headers.get("host", ""))[:200],
        "path": redaction.path(parts.path or "/"),
        "query": redaction.query(parts.query),
        "form": redaction.query(exchange.form.decode(errors="replace")) if _is_form(headers) else {},
        "request_headers": redaction.request_headers(headers),
        "response_headers": redaction.response_headers(answer_headers),
        "body": redaction.json_body(exchange.body) if is_json(dict(answer_headers).get("content-type", "")) else None,
        "checks": [
            {key: redaction.fact(note.get(key)) for key in ("expected", "actual")}
            for note in exchange.notes
            if note["kind"] == "check"
        ],
        "changes": [
            {key: redaction.fact(each) for key, each in note.items() if key != "kind"}
            for note in exchange.notes
            if note["kind"] == "state"
        ],
    }
    told = redaction.wipe(told)
    # names and clauses are our own words
    checks = (note for note in exchange.notes if note["kind"] == "check")
    told["checks"] = [
        {"name": check["name"], "passed": check["passed"], "clause": check["clause"], **facts}
        for check, facts in zip(checks, told["checks"], strict=True)
    ]
    return {
        # by the system's clock: a turned one does not change what came first
        "id": f"{int((began - exchange.offset) * 1e6):016x}{secrets.token_hex(4)}",
        "schema": SCHEMA,
        "at": round(began, 6),
        "role": lab.role,
        "direction": exchange.direction,
        **_parties(exchange, lab, parts.path),
        "method": exchange.method[:20],
        **told,
        "status": exchange.status,
        "failure": exchange.failure,
        "milliseconds": round(exchange.milliseconds, 2),
        "handles": sorted(redaction.handles),
        "chosen": sorted(redaction.chosen),
        "trace": exchange.trace or trace,
        "span": span,
    }


def _parties(exchange: Exchange, lab: LabSettings, path: str) -> dict[str, Party | str]:
    if exchange.direction == "sent":
        return {"from": lab.role, "to": lab.role_of(exchange.url), "channel": "back"}
    if exchange.back_channel:
        return {"from": _CALLERS.get(path, "client"), "to": lab.role, "channel": "back"}
    return {"from": "browser", "to": lab.role, "channel": "front"}


def _trace(traceparent: str) -> tuple[str | None, str | None]:
    parts = traceparent.split("-")
    return (parts[1][:32], parts[2][:16]) if len(parts) == 4 else (None, None)


def _is_form(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON or one that is made of it (RFC 6839 section 3.1)."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")
