"""Recorded flows: groups of events that belong together, and the information derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from rolecall_lab.recording.joining import (
    is_authorization_request,
    is_error_response,
    redirects_to_authorization,
    redirects_with_error,
)

Event = dict[str, Any]

KEEP_FIRST: Final = 100
"""Number of events at the start of a long flow that are kept, in addition to the newest ones."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that a process could not write.

    Args:
        since, until: the IDs of the last event before and of the first event after the loss; they sort by time.
        number: the minimum number of lost events.
        role: the service that lost them; `observer` if Redis lost its data.
    """

    since: str
    until: str
    number: int
    role: str


@dataclass(slots=True)
class RecordedFlow:
    """Events that belong together.

    Args:
        id: the ID derived from the event that was read first. The IDs of the other events lead to the same flow, so
            that it is found even if the events are read again or in a different order.
        events: sorted by their start.
        keys: the keys under which the flow is found.
        version: increases with every event.
        omitted: the number of events that are not kept; they followed the first `KEEP_FIRST` events.
        losses: the losses that an imported file lists; None for flows that were recorded here.
    """

    id: str
    events: list[Event] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    version: int = 0
    omitted: int = 0
    losses: list[Loss] | None = None

    @property
    def gap(self) -> tuple[int, str]:
        """Return the number of omitted events and the ID of the first event after them."""
        return self.omitted, self.events[min(KEEP_FIRST, len(self.events) - 1)]["id"] if self.omitted else ""

    @property
    def is_listed(self) -> bool:
        """Return whether the flow does more than fetch a page or a key set."""
        return any(
            event["handles"] or (event["channel"] == "back" and event["method"] == "POST") for event in self.events
        )

    @property
    def has_issued_values(self) -> bool:
        """Return whether the flow has a value that a server issued."""
        return any(key.startswith("handle:") for key in self.keys)

    def has_only_begun(self, event_id: str) -> bool:
        """Return whether the flow began before this event and has no value issued by a server yet."""
        return self.events[0]["id"] < event_id and not self.has_issued_values

    def may_begin_with(self, event: Event) -> bool:
        """Return whether the event can be the authorization request of this flow, or the redirect to it.

        A flow has only one authorization request, before its token requests. However, a client may redirect the browser
        again; then its next authorization request belongs to the same flow.
        """
        earlier = [each for each in self.events if each["id"] < event["id"]]
        redirects = sum(map(redirects_to_authorization, earlier))
        requests = sum(map(is_authorization_request, earlier))
        if is_authorization_request(event) and redirects > requests:
            return True
        return not (
            requests
            or any("grant_type" in each["form"] for each in earlier)
            or (redirects and not is_authorization_request(event))
        )

    def may_continue(self, event: Event) -> bool:
        """Return whether the flow can begin with the authorization request to which this event redirects the browser.

        The authorization server may record the request before the client records the redirect.
        """
        return (
            event["id"] < self.events[0]["id"]
            and is_authorization_request(self.events[0])
            and not any(map(redirects_to_authorization, self.events))
        )

    def awaits_error_response(self) -> bool:
        """Return whether the server redirected the browser back with an error that has not arrived yet."""
        return sum(map(redirects_with_error, self.events)) > sum(map(is_error_response, self.events))


@dataclass(frozen=True, slots=True)
class Summary:
    """A row in the list of flows; `first` and `last` are times in seconds of the lab's clock.

    `started` is the path of the client at which it began, and `failed` the first check that refused a message.
    """

    id: str
    first: float
    last: float
    client_id: str | None
    messages: int
    roles: tuple[str, ...]
    refused: bool
    started: str | None
    failed: str | None


def summarize(flow: RecordedFlow) -> Summary:
    """Return the summary of a flow."""
    events = [event for event in paired(flow.events) if not event.get("shadowed")]
    return Summary(
        flow.id,
        events[0]["at"],
        events[-1]["at"],
        next((found for event in events if (found := client_id(event))), None),
        len(events),
        tuple(sorted({event[end] for event in events for end in ("from", "to")})),
        any((event["status"] or 599) >= 400 for event in events),
        start_path(events),
        str(check["name"]) if (check := failed_check(events)) else None,
    )


def start_path(events: Sequence[Event]) -> str | None:
    """Return the path of the first form that the browser sent to the client, which starts the flow."""
    starts = (event for event in events if event["to"] == "client" and event["method"] == "POST")
    return next((str(event["path"]) for event in starts), None)


def failed_check(events: Sequence[Event]) -> dict[str, Any] | None:
    """Return the first check that refused a message; later ones are often its consequences.

    A response of 200 to an introspection refuses nothing: the API does, which has a failed check too.
    """
    refused = (event for event in events if event["path"] != "/introspect" or event["status"] != HTTPStatus.OK)
    failed = (check for event in refused for check in event["checks"] if not check["passed"])
    return next(failed, None)


def paired(events: list[Event]) -> list[Event]:
    """Return copies of the events that show which of them describe the same message.

    If sender and receiver both recorded a message, the sender's event is `shadowed`, and the receiver's event names the
    sender. Otherwise, the event of a sender is not `shadowed`.
    """
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


def client_name(event: Event) -> str | None:
    """Return the name under which a client registered, if the event is a registration (RFC 7591 section 3.2.1)."""
    body = event["body"] if event["path"].startswith("/register") else None
    name = body.get("client_name") if isinstance(body, dict) else None
    return name if isinstance(name, str) and name else None


def client_id(event: Event) -> str | None:
    """Return the client ID that the event contains, if any."""
    authorization = event["request_headers"].get("authorization", {})
    marks = [event["form"].get("token"), event["form"].get("access_token"), authorization.get("token")]
    claims = [mark.get("unverified_claims") for mark in marks if isinstance(mark, dict)]
    body = [event["body"]] if isinstance(event["body"], dict) else []
    # at the introspection endpoint, a resource server authenticates
    credentials = [] if event["path"] == "/introspect" else [authorization]
    places = [event["query"], event["form"], *claims, *body, *credentials]
    values = (place.get("client_id") for place in places if isinstance(place, dict))
    return next((value for value in values if isinstance(value, str) and value), None)


def _message(event: Event) -> tuple[str, str]:
    """Return what the events of the sender and the receiver of a message have in common (W3C Trace Context)."""
    return event["trace"], event["span"]
