"""A thread that reads the services' events from Redis as they arrive; Redis may stop and come back empty."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from typing import Any, Final, cast

import redis

from rolecall.clock import monotonic
from rolecall.storage import connect
from rolecall_lab.control.clock import KEY as CLOCK
from rolecall_lab.observer.exports.json_events import fault
from rolecall_lab.observer.texts import clean
from rolecall_lab.recording.flows import Flows
from rolecall_lab.recording.recorder import KEEP, MAX_EVENTS, STREAM
from rolecall_lab.recording.sharing import Sharing

log = logging.getLogger(__name__)

BATCH: Final = 1000
"""Events read at a time."""

BLOCK: Final = 500
"""Milliseconds that Redis waits for a new event; shorter than the timeout of the connection."""

SETTLE: Final = 0.06
"""Seconds to wait for related events; a recorder collects events for a third of this time before writing them."""

RETRY_DELAY: Final = 0.5
"""Seconds before Redis is tried again after an error."""


class Tail:
    """Read the stream from its start into `flows`, and delete the events that `flows` drops from the stream."""

    def __init__(self, redis_url: str, flows: Flows) -> None:
        self._client = connect(redis_url)
        self._flows = flows
        self.offset = 0.0  # Seconds between the lab's clock and the system clock.
        self._last = "0"
        self._next_cleanup = 0.0
        self._sharing = Sharing()
        self._entries: OrderedDict[str, str] = OrderedDict()  # Event ID to the ID of its stream entry.
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Call this once per process."""
        self._thread = threading.Thread(target=self._run, name="observer-tail", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, waiting up to two seconds for it to end."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.read(BLOCK)
                if monotonic() > self._next_cleanup:
                    self._delete_expired()
                self._flows.set_store_unavailable(False)
            except (redis.RedisError, OSError) as error:
                if not self._flows.store_unavailable:
                    log.warning("Redis is not responding", extra={"detail": " ".join(str(error).split())[:300]})
                self._flows.set_store_unavailable(True)
                self._stopped.wait(RETRY_DELAY)

    def read(self, block: int | None = None) -> int:
        """Add the new events to `flows`, and return their number.

        Args:
            block: milliseconds to wait for a new event; None to return immediately.

        Raises:
            redis.RedisError: Redis is not responding.
        """
        if block and self._client.xread({STREAM: self._last}, count=1, block=block):
            # Services write independently, so an exchange that began earlier may be written slightly later.
            self._stopped.wait(SETTLE)
        entries = self._read_new()
        events, sizes = [], {}
        for name, fields in entries:
            self._last = name.decode()
            try:
                event = self._sharing.share(clean(json.loads(fields[b"event"])))
                if fault(event) or not all(isinstance(event.get(member), int) for member in ("process", "dropped")):
                    raise ValueError(self._last)
                self._entries[event["id"]] = self._last
                sizes[event["id"]] = len(fields[b"event"])
            except (KeyError, TypeError, ValueError, RecursionError):
                log.warning("ignoring an invalid event", extra={"detail": self._last})
            else:
                events.append(event)
        events.sort(key=lambda event: event["id"])
        while len(self._entries) > MAX_EVENTS:
            self._entries.popitem(last=False)
        if events:
            omitted = [self._entries.pop(event_id, "") for event_id in self._flows.add(events, sizes)]
            if deletable := [entry for entry in omitted if entry not in {"", self._last}]:
                # A very long flow must not push the other flows out of the stream.
                self._client.xdel(STREAM, *deletable)
        return len(events)

    def _read_new(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return the new entries, and check in the same transaction that the last entry read is still in the stream."""
        pipeline = self._client.pipeline()
        pipeline.xrange(STREAM, self._last, self._last)
        pipeline.xrevrange(STREAM, count=1)
        pipeline.xread({STREAM: self._last}, count=BATCH)
        pipeline.hget(CLOCK, "offset")
        last_entry, newest, response, offset = cast(
            "tuple[list[Any], list[Any], list[Any], bytes | None]", pipeline.execute()
        )
        self.offset = float(offset or 0)
        if self._last != "0" and not last_entry:
            # The stream was emptied, or trimmed beyond the last entry read; later entries may be missing as well.
            self._flows.note_data_loss()
            self._last = newest[0][0].decode() if newest else "0"
        return [entry for _, entries in response or [] for entry in entries]

    def is_alive(self) -> bool:
        """Return whether the thread is running or was never started."""
        return self._thread is None or self._thread.is_alive()

    def _delete_expired(self) -> None:
        """Delete events older than `KEEP` by Redis's clock, in the stream and in `flows`."""
        seconds, _ = self._client.time()
        oldest = (seconds - KEEP) * 1000
        self._client.xtrim(STREAM, minid=oldest)
        if int(self._last.partition("-")[0]) < oldest:
            self._last = "0"  # No entry that was read is left, which is not a loss.
        self._flows.forget_before(f"{(seconds - KEEP) * 1_000_000:016x}")
        self._next_cleanup = monotonic() + 60
