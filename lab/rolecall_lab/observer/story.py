"""What a recorded flow is about: its title and summary from the catalog, and its outcome."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rolecall_lab.recording.recorded_flow import client_id, client_name, failed_check, start_path

Event = dict[str, Any]

_CATALOG_START: Final = re.compile(r"/flows/([a-z0-9_A-Z]+)/start")

_BUTTONS: Final[Mapping[str, str]] = {
    "/connect": "authorization_code",
    "/sign-in": "sign_in",
    "/connect-and-sign-in": "connect_and_sign_in",
    "/refresh": "refresh_token",
    "/revoke": "revoke",
    "/disconnect": "disconnect",
}
"""The entry of the catalog that each button of the client starts."""


_PARTIES: Final[Mapping[str, str]] = {
    "authorization_server": "the authorization server",
    "client": "the client",
    "resource_server": "the API",
}


@dataclass(frozen=True, slots=True)
class Story:
    """What a flow is about; texts are empty if unknown.

    Args:
        failed: the name of the first check that refused a message.
        outcome: a sentence about the refusal, with its clause.
        is_expected: whether a refusal is the point of the flow.
    """

    title: str
    summary: str
    failed: str
    outcome: str
    is_expected: bool


def story(events: Sequence[Event]) -> Story:
    """Return what a flow is about."""
    title, summary, is_expected = _entry(start_path(events))
    check = failed_check(events)
    if check is None:
        return Story(title, summary, "", _error(events), is_expected)
    who = next(_PARTIES.get(event["role"], event["role"]) for event in events if check in event["checks"])
    kind = f"Refused by {who}{', as it should be' if is_expected else ''}"
    description = str(check.get("description") or check["name"]).rstrip(".")
    return Story(title, summary, str(check["name"]), f"{kind}: {description}. {check['clause']}", is_expected)


def _error(events: Sequence[Event]) -> str:
    """Return a sentence about the error of an authorization response, such as a denial, or an empty string."""
    errors = (event["query"].get("error") for event in events if event["to"] == "client")
    error = next((error for error in errors if isinstance(error, str)), "")
    if error == "access_denied":
        return "The owner denied access: access_denied. RFC 6749 section 4.1.2.1"
    return f"The authorization server returned the error {error}." if error else ""


def client_of(events: Sequence[Event]) -> str | None:
    """Return the client's registered name, or else its ID."""
    return next((name for read in (client_name, client_id) for event in events if (name := read(event))), None)


def title_of(path: str | None) -> str:
    """Return the title of the flow that a request to this path of the client starts, or an empty string."""
    return _entry(path)[0]


def _entry(path: str | None) -> tuple[str, str, bool]:
    from rolecall_lab.catalog.entries import ENTRIES  # noqa: PLC0415  the observer starts without it

    match = _CATALOG_START.fullmatch(path or "")
    entry = ENTRIES.get(match[1] if match else _BUTTONS.get(path or "", ""))
    return (entry.title, entry.summary, entry.is_refused) if entry else ("", "", False)
