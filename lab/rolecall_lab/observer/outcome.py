"""How a flow ended, for its page and for the list of flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from rolecall_lab.observer.texts import lowered
from rolecall_lab.recording.joining import is_authorization_request, redirects_to_authorization
from rolecall_lab.recording.recorded_flow import failed_check

Event = dict[str, Any]
Kind = Literal["completed", "refused", "denied", "failed", "open"]

LABELS: Final[Mapping[Kind, str]] = {
    "completed": "Completed",
    "refused": "Refused",
    "denied": "Denied",
    "failed": "Failed",
    "open": "In progress",
}

OPEN_SECONDS: Final = 600.0
"""Seconds without a message after which a flow that waits for one counts as abandoned."""

_PARTIES: Final[Mapping[str, str]] = {
    "authorization_server": "the authorization server",
    "client": "the client",
    "resource_server": "the API",
}

_RESPONSE: Final = frozenset({"code", "error", "response"})
"""Every authorization response has one of these parameters (RFC 6749 section 4.1.2, JARM section 2.3)."""

_DENIAL: Final = "RFC 6749 section 4.1.2.1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a flow ended.

    Args:
        reason: why it did not complete, as the end of a sentence; empty if it completed or is in progress.
        party: who refused the request.
        check: the name of the first check that refused a message.
        is_expected: whether the refusal is the point of the flow.
        is_abandoned: whether an open flow has been without messages for a long time.
    """

    kind: Kind
    reason: str = ""
    party: str = ""
    check: str = ""
    clause: str = ""
    is_expected: bool = False
    is_abandoned: bool = False

    @property
    def label(self) -> str:
        """The outcome in one or two words."""
        return "Not finished" if self.is_abandoned else LABELS[self.kind]

    @property
    def sentence(self) -> str:
        """The outcome with its party, its reason, and its clause."""
        if self.kind != "refused":
            return f"{self.label}: {self.reason}. {self.clause}".strip() if self.reason else self.label
        by = f" by {self.party}" if self.party else ""
        return f"Refused{by}{', as it should be' if self.is_expected else ''}: {self.reason}. {self.clause}".strip()

    @property
    def is_good(self) -> bool:
        """Whether the flow ended as it should."""
        return self.kind == "completed" or (self.kind == "refused" and self.is_expected)

    @property
    def sign(self) -> str:
        """A sign that shows the kind without color."""
        return {"completed": "✓", "open": "…"}.get(self.kind, "✕")


def outcome(events: Sequence[Event], *, is_refusal_expected: bool = False, now: float = 0.0) -> Outcome:
    """Return how a flow ended.

    Args:
        is_refusal_expected: whether the catalog expects a refusal.
        now: the lab's time; 0 if a flow that waits for a message is not to count as abandoned.
    """
    check = failed_check(events)
    if check is not None and check["name"] != "engine.access_denied":
        party = next(_party(event["role"]) for event in events if check in event["checks"])
        description = str(check.get("description") or check["name"])
        reason = lowered(description.partition(". ")[0].rstrip("."))
        is_expected = is_refusal_expected or (check["name"] == "token.active" and _was_revoked_before(check, events))
        return Outcome("refused", reason, party, str(check["name"]), str(check["clause"]), is_expected)
    errors = [error for event in events if (error := _error(event))]
    if check is not None or "access_denied" in errors:
        return Outcome("denied", "the owner denied access", check=str(check["name"]) if check else "", clause=_DENIAL)
    if errors:
        return Outcome("refused", errors[0], is_expected=is_refusal_expected)
    return _by_status(events) or _end(events, now)


def _was_revoked_before(check: Mapping[str, Any], events: Sequence[Event]) -> bool:
    """Return whether the client had asked to revoke a token before the check refused it."""
    number = next(number for number, event in enumerate(events) if check in event["checks"])
    return any(event["path"] == "/revoke" and event["to"] == "authorization_server" for event in events[:number])


def _party(role: str) -> str:
    return _PARTIES.get(role, role)


def _error(event: Event) -> str:
    """Return the error code of an authorization response or of a response to a direct request, if any."""
    location = event["response_headers"].get("location")
    redirected = location.get("parameters") if isinstance(location, dict) else None
    is_refused = (event["status"] or 0) >= 400
    places = [
        event["query"] if event["to"] == "client" else None,
        redirected if event["to"] == "authorization_server" else None,
        event["body"] if is_refused else None,
    ]
    errors = (place.get("error") for place in places if isinstance(place, dict))
    return next((error[:100] for error in errors if isinstance(error, str) and error), "")


def _by_status(events: Sequence[Event]) -> Outcome | None:
    """Return the outcome of a flow with a message that got no response, or a status that says why it ended."""
    for event in events:  # the cause of a 502 or 503 that another service returned
        if event["status"] is None:
            return Outcome("failed", f"no response from {_party(event['to'])}")
    for event in events:
        status, party = event["status"], _party(event["to"])
        if status >= 500:
            return Outcome("failed", f"status {status} from {party}")
        if status >= 400 and (event["channel"] == "back" or event["path"] in {"/authorize", "/callback"}):
            return Outcome("refused", f"status {status}", party)
    is_page = not any(is_authorization_request(event) or "grant_type" in event["form"] for event in events)
    if is_page and events[-1]["status"] >= 400:
        return Outcome("refused", f"status {events[-1]['status']}", _party(events[-1]["to"]))
    return None


def _end(events: Sequence[Event], now: float) -> Outcome:
    """Return whether the last authorization request led to an authorization response or to tokens."""
    requests = [
        number
        for number, event in enumerate(events)
        if is_authorization_request(event) or redirects_to_authorization(event)
    ]
    if not requests or any(_is_response(event) for event in events[requests[-1] :]):
        return Outcome("completed")
    return Outcome("open", is_abandoned=bool(now) and now - events[-1]["at"] > OPEN_SECONDS)


def _is_response(event: Event) -> bool:
    """Return whether a client received the authorization response, or requested a token."""
    is_at_client = event["to"] == "client" and not _RESPONSE.isdisjoint(event["query"].keys() | event["form"].keys())
    return is_at_client or "grant_type" in event["form"]
