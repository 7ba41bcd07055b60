"""The recorded flows, in memory: events are sorted into flows as they arrive, within limits.

Events are joined by values that a server issues only once (codes, tokens, pushed requests), by the request that a
service was serving when it sent another one, and by the span that sender and receiver of a message share (W3C Trace
Context). Values that a third party can invent do not join events: a trace from outside, or a code or token that no
server issued or accepted. Values that a client chooses (`state` and the code challenge) only join events if nothing
else does, because a client may reuse them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import redis

from rolecall.clock import monotonic
from rolecall_lab.recording.event import SUPPORTED_SCHEMAS
from rolecall_lab.recording.flow_index import FlowIndex
from rolecall_lab.recording.flow_limits import MAX_IN_FLOW, MAX_SIZE, FlowLimits
from rolecall_lab.recording.losses import LossLog, is_affected
from rolecall_lab.recording.recorded_flow import Event, Loss, RecordedFlow, Summary, paired, summarize
from rolecall_lab.recording.recorder import MAX_EVENTS, STREAM


class Flows:
    """The flows in memory.

    One thread adds events, and many threads read. All flows that are returned are copies.

    Args:
        max_events: maximum number of events.
        max_in_flow: maximum number of events of a flow.
        max_size: maximum size of all events, in characters of their recorded JSON.
    """

    def __init__(self, max_events: int = MAX_EVENTS, max_in_flow: int = MAX_IN_FLOW, max_size: int = MAX_SIZE) -> None:
        self._changed = threading.Condition()
        self._index = FlowIndex()
        self._limits = FlowLimits(max_events, max_in_flow, max_size)
        self._losses = LossLog()
        self._store_unavailable = False
        self._revision = 0

    def add(self, events: Iterable[Event], sizes: Mapping[str, int] | None = None) -> list[str]:
        """Add events; those of unsupported schemas are ignored.

        Returns the IDs of events that were omitted because their flow has too many.

        Args:
            sizes: the size of each event in characters of its recorded JSON, by ID.
        """
        omitted = []
        with self._changed:
            for event in events:
                if isinstance(event, dict) and event.get("schema") in SUPPORTED_SCHEMAS:
                    omitted += self._add(event, (sizes or {}).get(event["id"], 0))
            self._notify()
        return omitted

    def set_store_unavailable(self, unavailable: bool) -> None:
        """Set whether Redis is unavailable, and notify the readers of a change."""
        with self._changed:
            if self._store_unavailable != unavailable:
                self._store_unavailable = unavailable
                self._touch(self._index)
                self._notify()

    def note_data_loss(self) -> None:
        """Note that Redis lost its data: events may be missing before the next event."""
        with self._changed:
            self._losses.add_data_loss()
            self._touch(self._index)
            self._notify()

    @property
    def store_unavailable(self) -> bool:
        """Return whether Redis is unavailable."""
        return self._store_unavailable

    def get(self, name: str) -> RecordedFlow | None:
        """Return the flow of this ID."""
        with self._changed:
            return _copy(self._index.get(name))

    def wait_for_trace(self, trace: str, seconds: float) -> RecordedFlow | None:
        """Wait for a request of this trace (32 hexadecimal digits), and return its flow; None after the timeout."""
        return self._wait(lambda: self._index.find(f"trace:{trace}"), seconds)

    def wait(self, name: str, version: int, seconds: float) -> RecordedFlow | None:
        """Wait until the flow has a different version, and return it; None after the timeout."""

        def changed() -> RecordedFlow | None:
            flow = self._index.get(name)
            return flow if flow is not None and flow.version != version else None

        return self._wait(changed, seconds)

    @property
    def revision(self) -> int:
        """Return a number that increases with every change of any flow."""
        return self._revision

    def wait_for_change(self, revision: int, seconds: float) -> None:
        """Wait until any flow has changed since this revision, or until the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision != revision, seconds)

    def versions(self) -> tuple[int, dict[str, int]]:
        """Return the revision, and the version of each flow by ID."""
        with self._changed:
            return self._revision, {flow.id: flow.version for flow in self._index}

    def losses(self, flow: RecordedFlow) -> list[Loss]:
        """Return the losses that may have affected the flow, by time; for an imported flow, those of its file."""
        if flow.losses is not None:
            return flow.losses
        if not flow.events:
            return []
        with self._changed:
            return sorted(self._losses.affecting(flow), key=lambda loss: loss.until)

    def newest(self, number: int = 100) -> list[Summary]:
        """Return summaries of the flows, most recently changed first."""
        with self._changed:
            listed = [flow for flow in reversed(self._index) if flow.is_listed][:number]
            return [summarize(flow) for flow in listed]

    def snapshot(self) -> list[RecordedFlow]:
        """Return all flows."""
        with self._changed:
            return [copy for flow in self._index if (copy := _copy(flow)) is not None]

    def count(self) -> tuple[int, int]:
        """Return the number of flows and the number of events."""
        with self._changed:
            return len(self._index), self._limits.events

    def forget_before(self, event_id: str) -> None:
        """Remove the flows whose last event is older than this ID."""
        with self._changed:
            for flow in [flow for flow in self._index if flow.events[-1]["id"] < event_id]:
                self._index.remove(flow)
                self._limits.remove(flow)
            self._notify()

    def _wait(self, find: Callable[[], RecordedFlow | None], seconds: float) -> RecordedFlow | None:
        until = monotonic() + seconds
        with self._changed:
            while True:
                flow = find()
                left = until - monotonic()
                if flow is not None or left <= 0:
                    return _copy(flow)
                self._changed.wait(left)

    def _add(self, event: Event, size: int) -> list[str]:
        loss = self._losses.add(event)
        if loss is not None:
            self._touch(flow for flow in self._index if is_affected(flow, loss))
        if self._losses.close_data_loss(event):
            self._touch(self._index)
        flow = self._index.add(event)
        self._losses.set_newest(event)
        self._limits.add(event, size)
        omitted = self._limits.trim(flow)
        if omitted:
            self._index.reindex(flow)
        while self._limits.are_exceeded and len(self._index) > 1:
            self._limits.remove(self._index.pop_least_recent())
        return omitted

    def _notify(self) -> None:
        self._revision += 1
        self._changed.notify_all()

    def _touch(self, flows: Iterable[RecordedFlow]) -> None:
        for flow in flows:
            flow.version += 1


def _copy(flow: RecordedFlow | None) -> RecordedFlow | None:
    return flow and RecordedFlow(flow.id, [*flow.events], set(), flow.version, flow.omitted)


def read_events(client: redis.Redis, flow: str | None = None, limit: int = MAX_EVENTS) -> list[Event]:
    """Return the newest `limit` events, of one flow or of all, sorted by their start, each with the ID of its `flow`.

    Args:
        flow: a flow ID from the observer or from an earlier result.

    Raises:
        redis.RedisError: Redis does not respond.
    """
    return read_after(client, "", flow, limit)[0]


def read_after(
    client: redis.Redis, after: str, flow: str | None = None, limit: int = MAX_EVENTS
) -> tuple[list[Event], str]:
    """Return the events that were written after an entry of the stream, as `read_events`, and the ID of the last entry.

    Flows are computed from these events only.

    Args:
        after: the ID of an entry, from an earlier call; empty to read the entire stream.

    Raises:
        redis.RedisError: Redis does not respond.
    """
    flows, last = _read(client, after)
    selected = flows.snapshot() if flow is None else [flows.get(flow)]
    events = [{**event, "flow": each.id} for each in selected if each is not None for event in paired(each.events)]
    return sorted(events, key=lambda event: event["id"])[-limit:], last


def read_flows(client: redis.Redis) -> list[Summary]:
    """Return summaries of the flows, newest first.

    Raises:
        redis.RedisError: Redis does not respond.
    """
    return sorted(_read(client)[0].newest(MAX_EVENTS), key=lambda flow: flow.first, reverse=True)


def _read(client: redis.Redis, after: str = "") -> tuple[Flows, str]:
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(STREAM, f"({after}" if after else "-"))
    flows = Flows(max_in_flow=MAX_EVENTS)
    flows.add(sorted((json.loads(fields[b"event"]) for _, fields in entries), key=lambda event: str(event.get("id"))))
    return flows, entries[-1][0].decode() if entries else after
