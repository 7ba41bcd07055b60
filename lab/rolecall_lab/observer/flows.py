"""Events sorted into flows as they come, in memory: the newest ones, so many in a flow and so many in all."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from rolecall.clock import monotonic
from rolecall_lab.recorder import MAX_EVENTS, SCHEMA, client_id, paired

Event = dict[str, Any]

MAX_IN_FLOW: Final = 400
"""Events; of a longer flow the first hundred and the newest are kept."""

KEEP_FIRST: Final = 100
MAX_LOSSES: Final = 200
MAX_ALIASES: Final = 2000


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that a process could not write, some time between two that it could.

    Args:
        since, until: the ids of those two; they sort by time.
        number: how many, at least.
        role: whose messages they were; `observer` when Redis forgot them.
    """

    since: str
    until: str
    number: int
    role: str


@dataclass(slots=True)
class Flow:
    """Messages that belong together.

    Args:
        id: stays when flows turn out to be one; the other's id leads here.
        events: by their start.
        version: grows with every event.
        omitted: how many are not kept, after the first hundred.
    """

    id: str
    events: list[Event] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    version: int = 0
    omitted: int = 0

    @property
    def is_shown(self) -> bool:
        """Whether something was asked for in it; a page or a key set that was merely looked at is no flow."""
        return any(
            event["handles"] or (event["channel"] == "back" and event["method"] == "POST") for event in self.events
        )

    def redeemed_before(self, identity: str) -> bool:
        """Whether somebody asked for a token in it before the event of this id."""
        return any("grant_type" in event["form"] and event["id"] < identity for event in self.events)


@dataclass(frozen=True, slots=True)
class Summary:
    """A line in the list of flows; times in seconds, the lab's clock."""

    id: str
    first: float
    last: float
    client_id: str | None
    messages: int
    roles: tuple[str, ...]
    refused: bool


class Flows:
    """All flows that are kept. One thread adds, many read; `wait` gives a flow when it has changed."""

    def __init__(self, most: int = MAX_EVENTS) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._flows: OrderedDict[str, Flow] = OrderedDict()  # the one that was added to last is the last
        self._of_name: dict[str, str] = {}
        self._aliases: OrderedDict[str, str] = OrderedDict()
        self._dropped: OrderedDict[tuple[str, int], tuple[int, str]] = OrderedDict()
        self._losses: deque[Loss] = deque(maxlen=MAX_LOSSES)
        self._count = 0
        self._newest = ""
        self._away = False

    def add(self, events: Iterable[Event]) -> list[str]:
        """Take in what was recorded; what is of another schema, or no event, is left out.

        Gives the ids of the events that their flows have no more room for.
        """
        omitted = []
        with self._changed:
            for event in events:
                if isinstance(event, dict) and event.get("schema") == SCHEMA:
                    omitted += self._add(event)
            self._changed.notify_all()
        return omitted

    def is_away(self, away: bool) -> None:
        """Redis does not answer, or does again; viewers are told."""
        with self._changed:
            if self._away != away:
                self._away = away
                for flow in self._flows.values():
                    flow.version += 1
                self._changed.notify_all()

    def forgot(self) -> None:
        """Redis lost what it held: from here on messages may be missing."""
        with self._changed:
            self._losses.append(Loss(self._newest, "~", 0, "observer"))
            for flow in self._flows.values():
                flow.version += 1
            self._changed.notify_all()

    @property
    def away(self) -> bool:
        """Whether Redis does not answer now."""
        return self._away

    def get(self, name: str) -> Flow | None:
        """The flow of this id, or the one that it has become part of; a copy."""
        with self._changed:
            return self._copy(name)

    def wait_for_trace(self, trace: str, seconds: float) -> Flow | None:
        """The flow that a request of this trace (32 hexadecimal digits) belongs to, as soon as it was recorded."""
        until = monotonic() + seconds
        with self._changed:
            while True:
                flow = self._copy(self._of_name.get(f"trace:{trace}", ""))
                left = until - monotonic()
                if flow is not None or left <= 0:
                    return flow
                self._changed.wait(left)

    def wait(self, name: str, version: int, seconds: float) -> Flow | None:
        """The flow as soon as it has another version than this one; None when it has not within `seconds`."""
        until = monotonic() + seconds
        with self._changed:
            while True:
                flow = self._copy(name)
                left = until - monotonic()
                if (flow is not None and flow.version != version) or left <= 0:
                    return flow if flow is not None and flow.version != version else None
                self._changed.wait(left)

    def losses(self, flow: Flow) -> list[Loss]:
        """Those that may have hit this flow, by their time."""
        if not flow.events:
            return []
        first, last = flow.events[0]["id"], flow.events[-1]["id"]
        with self._changed:
            return sorted(
                (loss for loss in self._losses if loss.since <= last and loss.until >= first),
                key=lambda loss: loss.until,
            )

    def newest(self, number: int = 100) -> list[Summary]:
        """The flows that were added to last come first."""
        with self._changed:
            shown = [flow for flow in reversed(self._flows.values()) if flow.is_shown][:number]
            return [_summary(flow) for flow in shown]

    def count(self) -> tuple[int, int]:
        """How many flows and events are kept."""
        with self._changed:
            return len(self._flows), self._count

    def _copy(self, name: str) -> Flow | None:
        flow = self._flows.get(self._aliases.get(name, name))
        return flow and Flow(flow.id, [*flow.events], set(), flow.version, flow.omitted)

    def _add(self, event: Event) -> list[str]:
        self._note_loss(event)
        names = _names(event)
        found = {self._of_name[name] for name in names if self._of_name.get(name, "") in self._flows}
        if "response_type" in event["query"] or "response_type" in event["form"]:
            # a client may use its state again, as many an example does: what has had its token is another flow
            found = {known for known in found if not self._flows[known].redeemed_before(event["id"])}
        flow = self._joined([self._flows[known] for known in found]) if found else None
        if flow is None:
            flow = Flow(sha256(event["id"].encode()).hexdigest()[:16])
            self._flows[flow.id] = flow
        self._newest = max(self._newest, event["id"])
        flow.events.append(event)
        if len(flow.events) > 1 and flow.events[-2]["id"] > event["id"]:
            flow.events.sort(key=lambda each: each["id"])
        flow.names |= names
        flow.version += 1
        self._count += 1
        self._of_name.update(dict.fromkeys(names, flow.id))
        self._flows.move_to_end(flow.id)
        return self._bound(flow)

    def _joined(self, flows: list[Flow]) -> Flow:
        """One flow of several that turned out to be the same: the oldest, with all that the others have."""
        flows.sort(key=lambda flow: flow.events[0]["id"])
        into, *others = flows
        for other in others:
            into.events = sorted([*into.events, *other.events], key=lambda each: each["id"])
            into.names |= other.names
            into.version += other.version
            into.omitted += other.omitted
            self._of_name.update(dict.fromkeys(other.names, into.id))
            del self._flows[other.id]
            for old, target in [*self._aliases.items(), (other.id, other.id)]:
                if target == other.id:
                    self._aliases[old] = into.id
        while len(self._aliases) > MAX_ALIASES:
            self._aliases.popitem(last=False)
        return into

    def _bound(self, flow: Flow) -> list[str]:
        omitted: list[str] = []
        if (more := len(flow.events) - MAX_IN_FLOW) > 0:
            omitted = [event["id"] for event in flow.events[KEEP_FIRST : KEEP_FIRST + more]]
            del flow.events[KEEP_FIRST : KEEP_FIRST + more]
            flow.omitted += more
            self._count -= more
            self._forget_names(flow)
        while self._count > self._most and len(self._flows) > 1:
            self._drop(self._flows.popitem(last=False)[1])
        return omitted

    def _forget_names(self, flow: Flow) -> None:
        """Those that only omitted events had."""
        kept = {name for event in flow.events for name in _names(event)}
        for name in flow.names - kept:
            if self._of_name.get(name) == flow.id:
                del self._of_name[name]
        flow.names = kept

    def forget_before(self, identity: str) -> None:
        """Drop the flows whose last event is older than this id."""
        with self._changed:
            for flow in [flow for flow in self._flows.values() if flow.events[-1]["id"] < identity]:
                self._drop(self._flows.pop(flow.id))

    def _drop(self, flow: Flow) -> None:
        self._count -= len(flow.events)
        for name in flow.names:
            if self._of_name.get(name) == flow.id:
                del self._of_name[name]

    def _note_loss(self, event: Event) -> None:
        process = (str(event["role"]), int(event["process"]))
        before, last = self._dropped.get(process, (0, ""))
        if event["dropped"] > before:
            loss = Loss(last, event["id"], event["dropped"] - before, process[0])
            self._losses.append(loss)
            for flow in self._flows.values():
                if loss.since <= flow.events[-1]["id"] and loss.until >= flow.events[0]["id"]:
                    flow.version += 1
        self._dropped[process] = (event["dropped"], event["id"])
        self._dropped.move_to_end(process)
        if len(self._dropped) > MAX_LOSSES:
            self._dropped.popitem(last=False)


def _names(event: Event) -> set[str]:
    """By what an event is joined to others."""
    names = {f"handle:{handle}" for handle in event["handles"]}
    return names | {f"trace:{event['trace']}"} if event["trace"] else names


def _summary(flow: Flow) -> Summary:
    events = [event for event in paired(flow.events) if not event.get("shadowed")]
    return Summary(
        flow.id,
        events[0]["at"],
        events[-1]["at"],
        next((found for event in events if (found := client_id(event))), None),
        len(events),
        tuple(sorted({event[end] for event in events for end in ("from", "to")})),
        any((event["status"] or 599) >= 400 for event in events),
    )
