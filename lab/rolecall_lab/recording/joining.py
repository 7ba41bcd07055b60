"""What of an event tells which others are of the same flow: the names by which it is found, and those that it seeks."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

Event = dict[str, Any]

_REQUEST: Final = frozenset({"response_type", "request", "request_uri"})
"""One of them is in every authorization request (RFC 6749 section 4.1.1, RFC 9101 section 5)."""


def asks(event: Event) -> bool:
    """Whether it is an authorization request."""
    return not _REQUEST.isdisjoint(event["query"].keys() | event["form"].keys())


def sends(event: Event) -> bool:
    """Whether a client sends the browser to make one."""
    location = event["response_headers"].get("location")
    return isinstance(location, dict) and not _REQUEST.isdisjoint(location.get("parameters", {}))


def sends_refusal(event: Event) -> bool:
    """Whether a server sends the browser back with an error (RFC 6749 section 4.1.2.1)."""
    location = event["response_headers"].get("location")
    sends = event["to"] == "authorization_server" and isinstance(location, dict)
    return sends and "error" in location.get("parameters", {})


def is_refusal(event: Event) -> bool:
    """Whether the browser brings it to the client."""
    return event["to"] == "client" and ("error" in event["query"] or "error" in event["form"])


def made(event: Event) -> set[str]:
    """The handles of what a server made, or took for its own."""
    return {*event["handles"]} - {*event.get("chosen", ())} - {*event.get("presented", ())}


def chosen_names(event: Event) -> set[str]:
    """By what it is joined where nothing else tells."""
    return {f"chosen:{handle}" for handle in event.get("chosen", ())}


def _message_names(event: Event) -> tuple[set[str], set[str]]:
    """What one end of a message is called, and what the other end: only a service of ours says that it sent one."""
    if not event["trace"] or not event["span"]:
        return set(), set()
    names = {f"received:{event['trace']}-{event['span']}"}, {f"sent:{event['trace']}-{event['span']}"}
    return names if event["direction"] == "received" else names[::-1]


def sought(event: Event) -> set[str]:
    """By what an event is joined to others, whatever else they have."""
    handles = {f"handle:{handle}" for handle in event["handles"] if handle not in event.get("chosen", ())}
    serving = {f"serving:{event['serving']}"} if event.get("serving") else set()
    return handles | serving | _message_names(event)[1]


def all_names(event: Event) -> set[str]:
    """By what the flow of an event is found."""
    names = {f"handle:{handle}" for handle in made(event)} | {f"id:{id_by(event)}"}
    names |= {f"presented:{handle}" for handle in event.get("presented", ())}
    names |= {f"serving:{event['serving']}"} if event.get("serving") else set()
    names |= {f"trace:{event['trace']}"} if event["trace"] else set()
    return names | chosen_names(event) | _message_names(event)[0]


def id_by(event: Event) -> str:
    """What a flow is called that begins with it."""
    return sha256(event["id"].encode()).hexdigest()[:16]
