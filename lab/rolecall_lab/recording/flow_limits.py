"""The limits of the flows in memory: events per flow, events, and characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rolecall_lab.recording.recorded_flow import KEEP_FIRST, Event, RecordedFlow

MAX_SIZE: Final = 32 * 1024 * 1024
"""Maximum size of all events, in characters of their recorded JSON."""

MAX_IN_FLOW: Final = 400
"""Maximum number of events of a flow; of a longer flow, the first `KEEP_FIRST` and the newest events are kept."""


class FlowLimits:
    """Counts the events and their sizes."""

    def __init__(self, max_events: int, max_in_flow: int, max_size: int) -> None:
        self._max_events = max_events
        self._max_in_flow = max_in_flow
        self._max_size = max_size
        self._sizes: dict[str, int] = {}
        self._size = 0
        self.events = 0

    @property
    def are_exceeded(self) -> bool:
        """Return whether there are too many events, or the events are too large."""
        return self.events > self._max_events or self._size > self._max_size

    def add(self, event: Event, size: int) -> None:
        """Count an event."""
        self.events += 1
        self._sizes[event["id"]] = size
        self._size += size

    def remove(self, flow: RecordedFlow) -> None:
        """Stop counting the events of a flow."""
        self._remove(event["id"] for event in flow.events)
        self.events -= len(flow.events)

    def trim(self, flow: RecordedFlow) -> list[str]:
        """Remove events from a flow that is too long, and return their IDs."""
        excess = len(flow.events) - self._max_in_flow
        if excess <= 0:
            return []
        omitted = [event["id"] for event in flow.events[KEEP_FIRST : KEEP_FIRST + excess]]
        del flow.events[KEEP_FIRST : KEEP_FIRST + excess]
        flow.omitted += excess
        self._remove(omitted)
        self.events -= excess
        return omitted

    def _remove(self, event_ids: Iterable[str]) -> None:
        self._size -= sum(self._sizes.pop(each, 0) for each in event_ids)
