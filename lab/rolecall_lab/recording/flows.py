"""Events sorted into flows as they come, in memory: the newest ones, so many in a flow and so many in all.

What belongs together follows from what a server made and makes once (codes, tokens, pushed requests), from the request
that a service was serving when it sent another, and from the span that both ends of a message know (W3C Trace Context).
Nothing that a stranger made up joins anything: a trace of its own, a code or a token that no server gave or took. What
a client made, `state` and its challenge, only counts where nothing else tells: a client may use it again.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, cast

import redis

from rolecall.clock import monotonic
from rolecall_lab.recording.joining import (
    all_names,
    asks,
    chosen_names,
    id_by,
    is_refusal,
    made,
    sends,
    sends_refusal,
    sought,
)
from rolecall_lab.recording.recorder import MAX_EVENTS, READ, STREAM

Event = dict[str, Any]

MAX_SIZE: Final = 32 * 1024 * 1024
"""Characters of all events that are kept in memory, as they were recorded."""

MAX_IN_FLOW: Final = 400
"""Events; of a longer flow the first hundred and the newest are kept."""

KEEP_FIRST: Final = 100
MAX_LOSSES: Final = 200
RECENT: Final = 200
"""Flows in which one looks for what was written before that which tells whose it is."""

OPEN: Final = "~"
"""After all ids: nothing has come since."""


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
        id: that of its event which came first; those of its other events lead here too, so that whoever reads them in
            another order, or anew, finds the same flow.
        events: by their start.
        version: grows with every event.
        omitted: how many are not kept, after the first hundred.
        losses: those that stand in the file that it is from; None of a flow that was recorded here.
    """

    id: str
    events: list[Event] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    version: int = 0
    omitted: int = 0
    losses: list[Loss] | None = None

    @property
    def gap(self) -> tuple[int, str]:
        """How many events are not kept, and the id of the first one after them."""
        return self.omitted, self.events[min(KEEP_FIRST, len(self.events) - 1)]["id"] if self.omitted else ""

    @property
    def is_shown(self) -> bool:
        """Whether something was asked for in it; a page or a key set that was merely looked at is no flow."""
        return any(
            event["handles"] or (event["channel"] == "back" and event["method"] == "POST") for event in self.events
        )

    def has_only_begun(self, identity: str) -> bool:
        """Whether it holds nothing yet that a server made, and began before the event of this id."""
        return self.events[0]["id"] < identity and not any(name.startswith("handle:") for name in self.names)

    def may_begin_with(self, event: Event) -> bool:
        """Whether it has no authorization request before this one, nor what comes after one; or has sent the browser
        off once more, and waits for it to arrive."""
        before = [each for each in self.events if each["id"] < event["id"]]
        sent, arrived = sum(map(sends, before)), sum(map(asks, before))
        if asks(event) and sent > arrived:
            return True
        return not (arrived or any("grant_type" in each["form"] for each in before) or (sent and not asks(event)))

    def awaits_refusal(self) -> bool:
        """Whether its server has sent the browser back with an error more often than it has arrived."""
        return sum(map(sends_refusal, self.events)) > sum(map(is_refusal, self.events))


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

    def __init__(self, most: int = MAX_EVENTS, in_flow: int = MAX_IN_FLOW, most_size: int = MAX_SIZE) -> None:
        self._most = most
        self._most_size = most_size
        self._in_flow = in_flow
        self._changed = threading.Condition()
        self._flows: OrderedDict[str, Flow] = OrderedDict()  # the one that was added to last is the last
        self._of_name: dict[str, str] = {}
        self._dropped: OrderedDict[tuple[str, int], tuple[int, str]] = OrderedDict()
        self._losses: deque[Loss] = deque(maxlen=MAX_LOSSES)
        self._sizes: dict[str, int] = {}
        self._count = self._size = 0
        self._newest = ""
        self._away = False
        self._forgot = False

    def add(self, events: Iterable[Event], sizes: Mapping[str, int] | None = None) -> list[str]:
        """Take in what was recorded; what is of another schema, or no event, is left out.

        Gives the ids of the events that their flows have no more room for.

        Args:
            sizes: characters of each as it was recorded, by its id.
        """
        omitted = []
        with self._changed:
            for event in events:
                if isinstance(event, dict) and event.get("schema") in READ:
                    omitted += self._add(event, (sizes or {}).get(event["id"], 0))
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
        """Redis lost what it held: messages may be missing between what was read last and what comes next."""
        with self._changed:
            if not self._forgot:
                self._losses.append(Loss(self._newest, OPEN, 0, "observer"))
            self._forgot = True
            for flow in self._flows.values():
                flow.version += 1
            self._changed.notify_all()

    @property
    def away(self) -> bool:
        """Whether Redis does not answer now."""
        return self._away

    def get(self, name: str) -> Flow | None:
        """The flow of this id; a copy."""
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
        """Those that may have hit this flow, by their time; of one from a file, what stands there."""
        if flow.losses is not None:
            return flow.losses
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

    def everything(self) -> list[Flow]:
        """All that are kept; copies."""
        with self._changed:
            return [copy for name in self._flows if (copy := self._copy(name)) is not None]

    def count(self) -> tuple[int, int]:
        """How many flows and events are kept."""
        with self._changed:
            return len(self._flows), self._count

    def _copy(self, name: str) -> Flow | None:
        flow = self._flows.get(name) or self._flows.get(self._of_name.get(f"id:{name}", ""))
        return flow and Flow(flow.id, [*flow.events], set(), flow.version, flow.omitted)

    def _add(self, event: Event, size: int) -> list[str]:
        self._note_loss(event)
        if self._forgot:
            self._losses = deque(
                (
                    replace(loss, until=max(event["id"], loss.since)) if loss.until == OPEN else loss
                    for loss in self._losses
                ),
                MAX_LOSSES,
            )
            self._forgot = False
            for each in self._flows.values():
                each.version += 1
        names = all_names(event)
        flow = self._flow_of(event)
        if flow is None:
            flow = Flow(id_by(event))
            self._flows[flow.id] = flow
        self._newest = max(self._newest, event["id"])
        flow.events.append(event)
        if len(flow.events) > 1 and flow.events[-2]["id"] > event["id"]:
            flow.events.sort(key=lambda each: each["id"])
        flow.names |= names
        flow.version += 1
        self._count += 1
        self._sizes[event["id"]] = size
        self._size += size
        self._of_name.update(dict.fromkeys(names, flow.id))
        self._flows.move_to_end(flow.id)
        return self._bound(flow)

    def _flows_of(self, names: Iterable[str]) -> list[Flow]:
        found = {self._of_name[name] for name in names if name in self._of_name}
        return [self._flows[known] for known in found]

    def _flow_of(self, event: Event) -> Flow | None:
        """The one that an event belongs to; several may turn out to be one."""
        mine, chosen = self._flows_of(sought(event)), self._flows_of(chosen_names(event))
        if new := {f"presented:{handle}" for handle in made(event) if f"handle:{handle}" not in self._of_name}:
            late = islice(reversed(self._flows.values()), RECENT)
            mine += [flow for flow in late if not new.isdisjoint(flow.names) and flow not in mine]
        if mine:
            # what its client recorded before any server did
            begun = [flow for flow in chosen if flow not in mine and flow.has_only_begun(event["id"])]
            return self._joined([*mine, *begun])
        if asks(event) or sends(event):
            chosen = [flow for flow in chosen if flow.may_begin_with(event)]
        if is_refusal(event):
            recent, names = islice(reversed(self._flows.values()), RECENT), chosen_names(event)
            waiting = [flow for flow in recent if not names.isdisjoint(flow.names) and flow.awaits_refusal()]
            chosen = [min(waiting, key=lambda flow: flow.events[0]["id"])] if waiting else chosen
        return max(chosen, key=lambda flow: flow.events[0]["id"], default=None)

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
        return into

    def _bound(self, flow: Flow) -> list[str]:
        omitted: list[str] = []
        if (more := len(flow.events) - self._in_flow) > 0:
            omitted = [event["id"] for event in flow.events[KEEP_FIRST : KEEP_FIRST + more]]
            del flow.events[KEEP_FIRST : KEEP_FIRST + more]
            flow.omitted += more
            self._count -= more
            self._size -= sum(self._sizes.pop(event, 0) for event in omitted)
            self._forget_names(flow)
        while (self._count > self._most or self._size > self._most_size) and len(self._flows) > 1:
            self._drop(self._flows.popitem(last=False)[1])
        return omitted

    def _forget_names(self, flow: Flow) -> None:
        """Those that only omitted events had."""
        kept = {name for event in flow.events for name in all_names(event)}
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
        self._size -= sum(self._sizes.pop(event["id"], 0) for event in flow.events)
        for name in flow.names:
            if self._of_name.get(name) == flow.id:
                del self._of_name[name]

    def _note_loss(self, event: Event) -> None:
        process = (str(event["role"]), int(event["process"]))
        before, last = self._dropped.get(process, (0, ""))
        if event["dropped"] < before:
            return  # it began before what was written before it
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


def read_events(client: redis.Redis, flow: str | None = None, limit: int = MAX_EVENTS) -> list[Event]:
    """The newest `limit` events in the order in which the exchanges began, of one flow or of all, each with its `flow`.

    Args:
        flow: an id by which the observer, or an earlier answer, knew it.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    return read_after(client, "", flow, limit)[0]


def read_after(
    client: redis.Redis, after: str, flow: str | None = None, limit: int = MAX_EVENTS
) -> tuple[list[Event], str]:
    """As `read_events`, of what was written after an entry of the stream alone; and the entry that was written last.

    The flows are those that these events make among themselves.

    Args:
        after: an entry's id, that an earlier call gave; empty for all that there is.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    flows, last = _read(client, after)
    kept = flows.everything() if flow is None else [flows.get(flow)]
    found = [{**event, "flow": each.id} for each in kept if each is not None for event in paired(each.events)]
    return sorted(found, key=lambda event: event["id"])[-limit:], last


def read_flows(client: redis.Redis) -> list[Summary]:
    """The flows, the newest first.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    return sorted(_read(client)[0].newest(MAX_EVENTS), key=lambda flow: flow.first, reverse=True)


def _read(client: redis.Redis, after: str = "") -> tuple[Flows, str]:
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(STREAM, f"({after}" if after else "-"))
    flows = Flows(in_flow=MAX_EVENTS)
    flows.add(sorted((json.loads(fields[b"event"]) for _, fields in entries), key=lambda event: str(event.get("id"))))
    return flows, entries[-1][0].decode() if entries else after


def paired(events: list[Event]) -> list[Event]:
    """Copies that know of each other: a sent one is `shadowed` where the receiver recorded it, and knows by whom."""
    received = {_message(event): event for event in events if event["direction"] == "received" and event["span"]}
    sent = {_message(event): event for event in events if event["direction"] == "sent"}
    copies = []
    for event in events:
        if event["direction"] == "sent":
            copies.append({**event, "shadowed": _message(event) in received})
        elif event["span"] and (sender := sent.get(_message(event))):
            copies.append({**event, "from": sender["from"], "channel": "back"})
        else:
            copies.append(event)
    return copies


def _message(event: Event) -> tuple[str, str]:
    """What sender and receiver of one message have in common (W3C Trace Context)."""
    return event["trace"], event["span"]


def client_name(event: Event) -> str | None:
    """What a client called itself when it registered, if the event is that (RFC 7591 section 3.2.1)."""
    body = event["body"] if event["path"].startswith("/register") else None
    name = body.get("client_name") if isinstance(body, dict) else None
    return name if isinstance(name, str) and name else None


def client_id(event: Event) -> str | None:
    """The client that the event names, if any."""
    token = event["request_headers"].get("authorization", {})
    marked = [event["form"].get("token"), event["form"].get("access_token"), token.get("token")]
    claims = [each.get("unverified_claims") for each in marked if isinstance(each, dict)]
    body = [event["body"]] if isinstance(event["body"], dict) else []
    introspects = event["path"] == "/introspect"  # there it is a resource that authenticates
    places = [event["query"], event["form"], *claims, *body, *([] if introspects else [token])]
    found = (place.get("client_id") for place in places if isinstance(place, dict))
    return next((each for each in found if isinstance(each, str) and each), None)
