"""The events that were lost before they could be recorded or read."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from rolecall_lab.recording.recorded_flow import Event, Loss, RecordedFlow

MAX_LOSSES: Final = 200

OPEN: Final = "~"
"""Sorts after all event IDs: no event has been read since the loss."""


class LossLog:
    """The most recent losses."""

    def __init__(self) -> None:
        self._losses: deque[Loss] = deque(maxlen=MAX_LOSSES)
        self._dropped: OrderedDict[tuple[str, int], tuple[int, str]] = OrderedDict()
        self._newest = ""
        self._is_open = False

    def add_data_loss(self) -> None:
        """Record that Redis lost its data: events may be missing before the next event."""
        if not self._is_open:
            self._losses.append(Loss(self._newest, OPEN, 0, "observer"))
        self._is_open = True

    def close_data_loss(self, event: Event) -> bool:
        """Record the first event after a loss of data in Redis; return whether data had been lost."""
        if not self._is_open:
            return False
        self._losses = deque(
            (
                replace(loss, until=max(event["id"], loss.since)) if loss.until == OPEN else loss
                for loss in self._losses
            ),
            MAX_LOSSES,
        )
        self._is_open = False
        return True

    def add(self, event: Event) -> Loss | None:
        """Return the loss that is evident from the event's counter of dropped events, if any."""
        process = (str(event["role"]), int(event["process"]))
        count, last = self._dropped.get(process, (0, ""))
        if event["dropped"] < count:
            return None  # the exchange began before events that were written earlier
        loss = None
        if event["dropped"] > count:
            loss = Loss(last, event["id"], event["dropped"] - count, process[0])
            self._losses.append(loss)
        self._dropped[process] = (event["dropped"], event["id"])
        self._dropped.move_to_end(process)
        if len(self._dropped) > MAX_LOSSES:
            self._dropped.popitem(last=False)
        return loss

    def set_newest(self, event: Event) -> None:
        """Remember the newest event, after which data may be lost."""
        self._newest = max(self._newest, event["id"])

    def affecting(self, flow: RecordedFlow) -> Iterator[Loss]:
        """Yield the losses that may have affected the flow."""
        return (loss for loss in self._losses if is_affected(flow, loss))


def is_affected(flow: RecordedFlow, loss: Loss) -> bool:
    """Return whether the loss overlaps with the flow."""
    first, last = str(flow.events[0]["id"]), str(flow.events[-1]["id"])
    return loss.since <= last and loss.until >= first
