"""One JSON event an exchange, through a bounded queue into a Redis Stream; `flows` reads them back.

An event (schema 3) has: `id` (sorts by the exchange's start), `schema`, `at` (seconds, the lab's clock), `role` (who
recorded), `direction` (received, sent), `from`, `to`, `channel` (front: a browser carried it; back), `method`,
`host`, `path`, `query`, `form`, `json` (of a request with JSON; else null), `request_headers`, `status` and `failure`
(one of them is null), `response_headers`, `body` (of a JSON answer), `milliseconds`, `checks`, `changes`, `cut` (the
members of which something was left out, because it was too long), `handles`, `chosen` (those of them that a client
made), `presented` (those that were only shown, and of which nobody has said that they are good), `trace` and `span`
(of the request's `traceparent`), `serving` (random: a received request and what was sent to serve it have the same),
`process` (random), `dropped` (how many events this process had lost so far). Reading adds `flow`, and to what was sent
`shadowed`: whether the receiver recorded it too. Schema 2 had no `json`, `cut`, `presented` and `serving`.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import redis

from rolecall import clock
from rolecall.storage import connect
from rolecall_lab.recording.redaction import Redaction
from rolecall_lab.settings import LabSettings, Party

log = logging.getLogger(__name__)

SCHEMA: Final = 3
READ: Final = frozenset({2, 3})
"""Schemas that are read."""

STREAM: Final = "lab:events"
MAX_EVENTS: Final = 5000
MAX_EVENT: Final = 32 * 1024
"""Characters of an event; most have three thousand."""

MAX_STREAM: Final = 48 * 1024 * 1024
"""Bytes of the stream in Redis, looked at after each `WEIGH_AFTER` events of a process."""

WEIGH_AFTER: Final = 100

MAX_WAITING: Final = 2000
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Of the exchanges that wait in a process, about."""

MAX_FORM: Final = 64 * 1024
"""Bytes of a request's body; of a longer form the end is left out."""

MAX_BATCH: Final = 100
TOGETHER: Final = 0.02
"""Seconds that an event waits for others to be written with."""

_NEVER_SET: Final = threading.Event()

KEEP: Final = 86400
"""Seconds after which Redis forgets a stream that nobody writes to."""

_CALLERS: Final[dict[str, Party]] = {"/introspect": "resource_server"}
"""Who asks on the back channel when it is not the client; the sender's own event knows better."""

_LARGE: Final[dict[str, Any]] = {
    "query": {}, "form": {}, "json": None, "request_headers": {}, "response_headers": {}, "body": None,
    "checks": [], "changes": [],
}  # fmt: skip
"""The members of an event that somebody else decides the size of, as they are when they are left out."""


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
    serving: str = ""
    request_body: bytes = b""
    status: int | None = None
    failure: str | None = None
    response_headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    notes: list[dict[str, Any]] = field(default_factory=list)
    own_cookies: tuple[str, ...] = ()
    ended: float = field(default_factory=clock.now)
    offset: float = field(default_factory=clock.offset)

    @property
    def size(self) -> int:
        """Bytes, about: what can be large of it."""
        return 2000 + len(self.url) + len(self.request_body) + len(self.body)


class Recorder:
    """Takes exchanges without ever waiting; one daemon thread a process redacts them and writes them to Redis.

    What cannot be kept, because Redis is away or too much waits already, is dropped and counted.
    """

    def __init__(self, lab: LabSettings) -> None:
        self._lab = lab
        self._lock = threading.Lock()
        self._pid = 0
        self._process = 0
        self._queue: queue.Queue[Exchange | threading.Event] = queue.Queue(MAX_WAITING)
        self._dropped = 0
        self._waiting = 0  # bytes
        self._unweighed = 0  # events

    def record(self, exchange: Exchange) -> None:
        """Hand over an exchange."""
        size = exchange.size
        try:
            self._start()
            if self._waiting + size > MAX_WAITING_BYTES:
                raise queue.Full
            self._queue.put_nowait(exchange)
        except (queue.Full, RuntimeError):  # RuntimeError: the system gives no more threads
            self._drop(1)
        else:
            with self._lock:
                self._waiting += size

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
                self._dropped = self._waiting = 0
                self._process = secrets.randbits(48)  # the system gives a process's id to others after it
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
            return
        self._unweighed += written
        if self._unweighed >= WEIGH_AFTER:
            self._unweighed = 0
            with suppress(redis.RedisError, OSError):
                _bound(client)

    def _written(self, exchange: Exchange) -> str:
        """The event as JSON; of one that is very long the longest members are left out, and it says which."""
        described = self._described(exchange)
        text = _compact(described)
        if len(text) > MAX_EVENT:
            sizes = {name: len(_compact(described[name])) for name in _LARGE}
            for name in sorted(sizes, key=lambda name: -sizes[name]):
                described[name] = _LARGE[name]
                described["cut"] = sorted({*described["cut"], name})
                text = _compact(described)
                if len(text) <= MAX_EVENT:
                    break
        return text

    def _described(self, exchange: Exchange) -> dict[str, Any]:
        return {**describe(exchange, self._lab), "process": self._process, "dropped": self._dropped}

    def _drop(self, number: int) -> None:
        with self._lock:
            self._dropped += number


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _bound(client: redis.Redis) -> None:
    """Take the oldest events out of a stream that needs too many bytes."""
    used = int(client.memory_usage(STREAM, samples=0) or 0)  # all of it is weighed
    if used > MAX_STREAM:
        client.xtrim(STREAM, maxlen=int(client.xlen(STREAM)) * MAX_STREAM // used, approximate=False)


def describe(exchange: Exchange, lab: LabSettings) -> dict[str, Any]:
    """The event of an exchange: only what may be kept."""
    redaction = Redaction(lab.lab_key, exchange.own_cookies)
    cut = []

    def part(name: str, value: Any) -> Any:
        if redaction.cut:
            cut.append(name)
            redaction.cut = False
        return value

    parts = urlsplit(exchange.url)
    headers = {name.lower(): text for name, text in exchange.request_headers.items()}
    answer_headers = [(name.lower(), text) for name, text in exchange.response_headers]
    trace, span = _trace(headers.get("traceparent", ""))
    began = exchange.ended - exchange.milliseconds / 1000
    kind, answer_kind = headers.get("content-type", ""), dict(answer_headers).get("content-type", "")
    asked = {
        "host": (parts.netloc.rpartition("@")[2] or headers.get("host", ""))[:200],
        "path": part("path", redaction.path(parts.path or "/")),
        "query": part("query", redaction.query(parts.query)),
        "form": part("form", _form(redaction, exchange.request_body) if _is_form(kind) else {}),
        "json": part("json", redaction.json_body(exchange.request_body) if is_json(kind) else None),
        "request_headers": part("request_headers", redaction.request_headers(headers)),
    }
    shown, redaction.handles = redaction.handles, set()
    told = asked | {
        "response_headers": part("response_headers", redaction.response_headers(answer_headers)),
        "body": part("body", redaction.json_body(exchange.body, joins=True) if is_json(answer_kind) else None),
        "checks": part(
            "checks",
            [
                {key: redaction.fact(note.get(key)) for key in ("expected", "actual")}
                for note in exchange.notes
                if note["kind"] == "check"
            ],
        ),
        "changes": part(
            "changes",
            [
                {key: redaction.fact(each) for key, each in note.items() if key != "kind"}
                for note in exchange.notes
                if note["kind"] == "state"
            ],
        ),
    }
    given = redaction.handles
    told = redaction.wipe(told)
    # names and clauses are our own words
    checks = (note for note in exchange.notes if note["kind"] == "check")
    told["checks"] = [
        {"name": check["name"], "passed": check["passed"], "clause": check["clause"], **facts}
        for check, facts in zip(checks, told["checks"], strict=True)
    ]
    parties = _parties(exchange, lab, parts.path)
    return {
        # by the system's clock: a turned one does not change what came first
        "id": f"{int((began - exchange.offset) * 1e6):016x}{secrets.token_hex(4)}",
        "schema": SCHEMA,
        "at": round(began, 6),
        "role": lab.role,
        "direction": exchange.direction,
        **parties,
        "method": exchange.method[:20],
        **told,
        "status": exchange.status,
        "failure": exchange.failure,
        "milliseconds": round(exchange.milliseconds, 2),
        "cut": cut,
        "handles": sorted(shown | given),
        "chosen": sorted(redaction.chosen),
        "presented": [] if _is_taken(exchange, parties["to"], told) else sorted(shown - given - redaction.chosen),
        "trace": exchange.trace or trace,
        "span": span,
        "serving": exchange.serving or None,
    }


def _is_taken(exchange: Exchange, to: str, told: dict[str, Any]) -> bool:
    """Whether a server took what was shown to it for good: the token of a call, or what a grant is asked for with.

    An answer to a question about a token says nothing of the kind: 200 may mean that it is none (RFC 7662 section 2.2,
    RFC 7009 section 2.2).
    """
    if to == "client" or exchange.status is None or exchange.status >= 400:
        return False
    return "token" in told["request_headers"].get("authorization", {}) or "grant_type" in told["form"]


def _parties(exchange: Exchange, lab: LabSettings, path: str) -> dict[str, Party | str]:
    if exchange.direction == "sent":
        return {"from": lab.role, "to": lab.role_of(exchange.url), "channel": "back"}
    if exchange.back_channel:
        return {"from": _CALLERS.get(path, "client"), "to": lab.role, "channel": "back"}
    return {"from": "browser", "to": lab.role, "channel": "front"}


def _trace(traceparent: str) -> tuple[str | None, str | None]:
    parts = traceparent.split("-")
    return (parts[1][:32], parts[2][:16]) if len(parts) == 4 else (None, None)


def _form(redaction: Redaction, body: bytes) -> dict[str, Any]:
    redaction.cut |= len(body) > MAX_FORM
    return redaction.query(body[:MAX_FORM].decode(errors="replace"))


def _is_form(content_type: str) -> bool:
    return content_type.startswith("application/x-www-form-urlencoded")


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON or one that is made of it (RFC 6839 section 3.1)."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")
