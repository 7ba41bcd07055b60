"""The index of flows: finds the flow that an event belongs to, and joins flows that turn out to be the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from rolecall_lab.recording.joining import (
    client_chosen_keys,
    flow_id,
    index_keys,
    is_authorization_request,
    is_error_response,
    is_revocation,
    lookup_keys,
    other_end_keys,
    redirects_to_authorization,
    server_issued_handles,
    serving_keys,
)
from rolecall_lab.recording.recorded_flow import Event, RecordedFlow

RECENT: Final = 200
"""How many recent flows are searched for events that were recorded before the event that identifies their flow."""


class FlowIndex:
    """The flows by their keys, ordered by their last change."""

    def __init__(self) -> None:
        self._flows: OrderedDict[str, RecordedFlow] = OrderedDict()
        self._id_by_key: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def __iter__(self) -> Iterator[RecordedFlow]:
        """Iterate over the flows, from the least to the most recently changed."""
        return iter(self._flows.values())

    def __reversed__(self) -> Iterator[RecordedFlow]:
        return reversed(self._flows.values())

    def get(self, name: str) -> RecordedFlow | None:
        """Return the flow that has this ID, or an event from which this ID is derived."""
        return self._flows.get(name) or self.find(f"id:{name}")

    def find(self, key: str) -> RecordedFlow | None:
        """Return the flow that has this key."""
        return self._flows.get(self._id_by_key.get(key, ""))

    def add(self, event: Event) -> RecordedFlow:
        """Add the event to the flow that it belongs to, or to a new flow, and return the flow."""
        flow = self._flow_for(event)
        if flow is None:
            flow = RecordedFlow(flow_id(event))
            self._flows[flow.id] = flow
        flow.events.append(event)
        if len(flow.events) > 1 and flow.events[-2]["id"] > event["id"]:
            flow.events.sort(key=lambda each: each["id"])
        flow.version += 1
        keys = index_keys(event)
        flow.keys |= keys
        self._id_by_key.update(dict.fromkeys(keys, flow.id))
        self._flows.move_to_end(flow.id)
        return flow

    def reindex(self, flow: RecordedFlow) -> None:
        """Remove the keys that no event of the flow has anymore."""
        keys = {key for event in flow.events for key in index_keys(event)}
        self._remove_keys(flow, flow.keys - keys)
        flow.keys = keys

    def remove(self, flow: RecordedFlow) -> None:
        """Remove a flow."""
        del self._flows[flow.id]
        self._remove_keys(flow, flow.keys)

    def pop_least_recent(self) -> RecordedFlow:
        """Remove and return the least recently changed flow."""
        _, flow = self._flows.popitem(last=False)
        self._remove_keys(flow, flow.keys)
        return flow

    def _remove_keys(self, flow: RecordedFlow, keys: Iterable[str]) -> None:
        for key in keys:
            if self._id_by_key.get(key) == flow.id:
                del self._id_by_key[key]

    def _flow_for(self, event: Event) -> RecordedFlow | None:
        """Return the flow that the event belongs to, after joining the flows that the event shows to be the same."""
        if is_revocation(event) and (sender := self._flow_of_sender(event)) is not None:
            return sender
        flows, by_chosen = self._find_all(lookup_keys(event)), self._find_all(client_chosen_keys(event))
        flows += self._flows_presenting(event, flows)
        if flows:
            # events that the client recorded before any server did
            started = [flow for flow in by_chosen if flow not in flows and flow.has_only_begun(event["id"])]
            if redirects_to_authorization(event):
                others = [flow for flow in by_chosen if flow not in flows and flow.may_continue(event)]
                started += [min(others, key=_start)] if others else []
            return self._join([*flows, *started])
        if is_authorization_request(event) or redirects_to_authorization(event):
            by_chosen = [flow for flow in by_chosen if flow.may_begin_with(event)]
        if is_error_response(event):
            keys = client_chosen_keys(event)
            waiting = [
                flow for flow in self._recent() if not keys.isdisjoint(flow.keys) and flow.awaits_error_response()
            ]
            by_chosen = [min(waiting, key=_start)] if waiting else by_chosen
        return max(by_chosen, key=_start, default=None)

    def _flow_of_sender(self, event: Event) -> RecordedFlow | None:
        """Return the flow in which the client sent this revocation request, if it is known.

        The token can belong to an earlier flow: a client that connects again revokes the tokens that it replaces. If
        the receiver's event was added to that flow, it moves to the sender's. A request with no other purpose than the
        revocation belongs to the flow of the token.
        """
        serving, other_end = self._find_all(serving_keys(event)), self._find_all(other_end_keys(event))
        if serving and not serving[0].has_issued_values:
            return None
        if serving and other_end and serving != other_end:
            self._move(other_end_keys(event), other_end[0], serving[0])
        return next(iter(serving or other_end), None)

    def _move(self, keys: set[str], source: RecordedFlow, target: RecordedFlow) -> None:
        """Move the events that have one of these keys to another flow."""
        moved = [event for event in source.events if not keys.isdisjoint(index_keys(event))]
        source.events = [event for event in source.events if event not in moved]
        if source.events:
            self.reindex(source)
            source.version += 1
        else:
            self.remove(source)
        target.events = sorted([*target.events, *moved], key=lambda each: each["id"])
        moved_keys = {key for event in moved for key in index_keys(event)}
        target.keys |= moved_keys
        self._id_by_key.update(dict.fromkeys(moved_keys, target.id))

    def _find_all(self, keys: Iterable[str]) -> list[RecordedFlow]:
        ids = {self._id_by_key[key] for key in keys if key in self._id_by_key}
        return [self._flows[each] for each in ids]

    def _flows_presenting(self, event: Event, found: list[RecordedFlow]) -> list[RecordedFlow]:
        """Return further recent flows in which a value was presented that this event shows to be issued by a server."""
        new = {
            f"presented:{handle}"
            for handle in server_issued_handles(event)
            if f"handle:{handle}" not in self._id_by_key
        }
        if not new:
            return []
        return [flow for flow in self._recent() if not new.isdisjoint(flow.keys) and flow not in found]

    def _recent(self) -> Iterator[RecordedFlow]:
        return islice(reversed(self._flows.values()), RECENT)

    def _join(self, flows: list[RecordedFlow]) -> RecordedFlow:
        """Join flows that turned out to be the same into the oldest one, and return it."""
        flows.sort(key=_start)
        joined, *others = flows
        for other in others:
            joined.events = sorted([*joined.events, *other.events], key=lambda each: each["id"])
            joined.keys |= other.keys
            joined.version += other.version
            joined.omitted += other.omitted
            self._id_by_key.update(dict.fromkeys(other.keys, joined.id))
            del self._flows[other.id]
        return joined


def _start(flow: RecordedFlow) -> str:
    return str(flow.events[0]["id"])
