"""Reads what the services record as it comes, in a thread; Redis may go away and come back empty."""

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

log = logging.getLogger(__name__)

BATCH: Final = 1000
BLOCK: Final = 500
"""Milliseconds that Redis waits for something new; less than a client's patience."""

SETTLE: Final = 0.06
"""Seconds in which whatever was recorded together comes; a recorder waits a third of it for others to write with."""

PAUSE: Final = 0.5
"""Seconds until Redis is asked again when it did not answer."""


class Tail:
    """Follows the stream from its beginning, and adds to `flows`; what they have no room for leaves the stream too."""

    def __init__(self, redis_url: str, flows: Flows) -> None:
        self._client = connect(redis_url)
        self._flows = flows
        self.offset = 0.0  # seconds by which the lab's clock is turned
        self._last = "0"
        self._old_at = 0.0
        self._entries: OrderedDict[str, str] = OrderedDict()  # of the events' ids, those in the stream
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; once a process."""
        self._thread = threading.Thread(target=self._run, name="observer-tail", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End within a second."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join(2)

    def _run(self) -> None:
        while not self._ends.is_set():
            try:
                self.read(BLOCK)
                if monotonic() > self._old_at:
                    self._forget_what_is_old()
                self._flows.set_store_unavailable(False)
            except (redis.RedisError, OSError) as error:
                if not self._flows.store_unavailable:
                    log.warning("Redis does not answer", extra={"detail": " ".join(str(error).split())[:300]})
                self._flows.set_store_unavailable(True)
                self._ends.wait(PAUSE)

    def read(self, block: int | None = None) -> int:
        """Take in what is new; gives the number of events.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        if block and self._client.xread({STREAM: self._last}, count=1, block=block):
            # services write in their own time: what began first may be written a little later
            self._ends.wait(SETTLE)
        found = self._new()
        events, sizes = [], {}
        for name, fields in found:
            self._last = name.decode()
            try:
                event = clean(json.loads(fields[b"event"]))
                if fault(event) or not all(isinstance(event.get(each), int) for each in ("process", "dropped")):
                    raise ValueError(self._last)
                self._entries[event["id"]] = self._last
                sizes[event["id"]] = len(fields[b"event"])
            except (KeyError, TypeError, ValueError, RecursionError):
                log.warning("not an event", extra={"detail": self._last})
            else:
                events.append(event)
        events.sort(key=lambda event: event["id"])
        while len(self._entries) > MAX_EVENTS:
            self._entries.popitem(last=False)
        if events:
            omitted = [self._entries.pop(event, "") for event in self._flows.add(events, sizes)]
            if entries := [entry for entry in omitted if entry not in {"", self._last}]:
                # a flow that goes on and on must not push the others out
                self._client.xdel(STREAM, *entries)
        return len(events)

    def _new(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """What came after what was read last, and whether that still stands before it: all at one moment."""
        pipeline = self._client.pipeline()
        pipeline.xrange(STREAM, self._last, self._last)
        pipeline.xrevrange(STREAM, count=1)
        pipeline.xread({STREAM: self._last}, count=BATCH)
        pipeline.hget(CLOCK, "offset")
        there, newest, answer, offset = cast("tuple[list[Any], list[Any], list[Any], bytes | None]", pipeline.execute())
        self.offset = float(offset or 0)
        if self._last != "0" and not there:
            # emptied, or so much has come that it is thrown away already, and perhaps what came after it as well
            self._flows.note_data_loss()
            self._last = newest[0][0].decode() if newest else "0"
        return [entry for _, entries in answer or [] for entry in entries]

    def is_well(self) -> bool:
        """Whether the thread reads."""
        return self._thread is None or self._thread.is_alive()

    def _forget_what_is_old(self) -> None:
        """What is older than a day, by Redis's clock, in the stream and here."""
        seconds, _ = self._client.time()
        oldest = (seconds - KEEP) * 1000
        self._client.xtrim(STREAM, minid=oldest)
        if int(self._last.partition("-")[0]) < oldest:
            self._last = "0"  # nothing of what was read is left, as it should be
        self._flows.forget_before(f"{(seconds - KEEP) * 1_000_000:016x}")
        self._old_at = monotonic() + 60
