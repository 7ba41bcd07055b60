"""The keys by which the events of a flow are joined and found."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

Event = dict[str, Any]

_REQUEST_PARAMETERS: Final = frozenset({"response_type", "request", "request_uri"})
"""Every authorization request has one of these (RFC 6749 section 4.1.1, RFC 9101 section 5)."""


def is_authorization_request(event: Event) -> bool:
    """Return whether the event is an authorization request."""
    return not _REQUEST_PARAMETERS.isdisjoint(event["query"].keys() | event["form"].keys())


def redirects_to_authorization(event: Event) -> bool:
    """Return whether the response redirects the browser to an authorization request."""
    location = event["response_headers"].get("location")
    return isinstance(location, dict) and not _REQUEST_PARAMETERS.isdisjoint(location.get("parameters", {}))


def redirects_with_error(event: Event) -> bool:
    """Return whether the authorization server redirects the browser back with an error (RFC 6749 section 4.1.2.1)."""
    location = event["response_headers"].get("location")
    is_redirect = event["to"] == "authorization_server" and isinstance(location, dict)
    return is_redirect and "error" in location.get("parameters", {})


def is_error_response(event: Event) -> bool:
    """Return whether the browser delivers such an error to the client."""
    return event["to"] == "client" and ("error" in event["query"] or "error" in event["form"])


def is_revocation(event: Event) -> bool:
    """Return whether the event is a revocation request (RFC 7009 section 2.1)."""
    return event["method"] == "POST" and str(event["path"]).endswith("/revoke") and "token" in event["form"]


def server_issued_handles(event: Event) -> set[str]:
    """Return the handles of values that a server issued or accepted."""
    return {*event["handles"]} - {*event.get("chosen", ())} - {*event.get("presented", ())}


def client_chosen_keys(event: Event) -> set[str]:
    """Return the keys that join the event to others only if no other key does."""
    return {f"chosen:{handle}" for handle in event.get("chosen", ())}


def lookup_keys(event: Event) -> set[str]:
    """Return the keys under which to look for the flow that the event belongs to."""
    handles = {f"handle:{handle}" for handle in event["handles"] if handle not in event.get("chosen", ())}
    return handles | serving_keys(event) | other_end_keys(event)


def serving_keys(event: Event) -> set[str]:
    """Return the key of the request that the service was serving, if any."""
    return {f"serving:{event['serving']}"} if event.get("serving") else set()


def other_end_keys(event: Event) -> set[str]:
    """Return the key of the event that the other party of the message records, if any."""
    return _message_keys(event)[1]


def index_keys(event: Event) -> set[str]:
    """Return the keys under which later events find the flow of this event."""
    keys = {f"handle:{handle}" for handle in server_issued_handles(event)} | {f"id:{flow_id(event)}"}
    keys |= {f"presented:{handle}" for handle in event.get("presented", ())}
    keys |= serving_keys(event)
    keys |= {f"trace:{event['trace']}"} if event["trace"] else set()
    return keys | client_chosen_keys(event) | _message_keys(event)[0]


def flow_id(event: Event) -> str:
    """Return the ID of a flow that starts with this event."""
    return sha256(event["id"].encode()).hexdigest()[:16]


def _message_keys(event: Event) -> tuple[set[str], set[str]]:
    """Return the key of this end of the message and the key of its other end (W3C Trace Context).

    Only our own services record that they sent a message.
    """
    if not event["trace"] or not event["span"]:
        return set(), set()
    keys = {f"received:{event['trace']}-{event['span']}"}, {f"sent:{event['trace']}-{event['span']}"}
    return keys if event["direction"] == "received" else keys[::-1]
