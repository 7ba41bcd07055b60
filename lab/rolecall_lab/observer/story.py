"""The story of a recorded flow: its title, its summary from the catalog, and its outcome."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rolecall_lab.observer.outcome import Outcome, outcome
from rolecall_lab.recording.joining import is_authorization_request

Event = dict[str, Any]

_CATALOG_START: Final = re.compile(r"/flows/([a-z0-9_A-Z]+)/start")

_BUTTONS: Final[Mapping[str, tuple[str, str]]] = {
    "/connect": ("authorization_code", "Connect Tally"),
    "/compare/connect": ("authorization_code", "Connect Tally"),
    "/sign-in": ("sign_in", "Sign in to Tally"),
    "/connect-and-sign-in": ("connect_and_sign_in", "Connect and sign in to Tally"),
    "/refresh": ("refresh_token", "Refresh Tally's access token"),
    "/revoke": ("revoke", "Revoke Tally's access token"),
    "/disconnect": ("disconnect", "Disconnect Tally"),
}
"""The entry of the catalog that each button of the client starts, and the title of the flow."""

_GRANTS: Final[Mapping[str, str]] = {
    "authorization_code": "Authorization code flow",
    "refresh_token": "Token refresh",
    "client_credentials": "Client credentials grant",
    "password": "Password grant",
}

_ENDPOINTS: Final[tuple[tuple[str, str], ...]] = (
    ("/introspect", "Token introspection"),
    ("/userinfo", "Userinfo request"),
    ("/revoke", "Token revocation"),
    ("/par", "Pushed authorization request"),
)

_SETUP: Final[tuple[tuple[str, str], ...]] = (
    ("/register", "Client registration"),
    ("/sign-up", "Sign-up"),
    ("/sign-in", "Sign-in page"),
    ("/sign-out", "Sign-out"),
    ("/apps", "Connected apps"),
    ("/jwks", "Public keys"),
    ("/.well-known", "Server metadata"),
)
"""Titles of flows that only prepare other flows or clean up after them."""

_SUMMARIES: Final[Mapping[str, str]] = {
    "OpenID Connect code flow": "A client signs a user in: it sends the browser to the authorization server, and "
    "exchanges a code for an ID token.",
    "Authorization code flow": "A client asks a user for access: it sends the browser to the authorization server, and "
    "exchanges a code for tokens.",
    "Token refresh": "A client exchanges its refresh token for new tokens, without the user.",
    "Client credentials grant": "A client gets an access token for itself, without a user.",
    "Password grant": "A client sends a user's password to get tokens, which this server does not support.",
    "Token introspection": "An API asks the authorization server whether a token is valid.",
    "Userinfo request": "A client asks the authorization server for claims about the user.",
    "Token revocation": "A client asks the authorization server to revoke a token.",
    "API request": "A client calls the API.",
    "Client registration": "A client registers itself at the authorization server.",
}
"""A sentence for flows that were not started in the client, by title."""

_PAGES: Final[Mapping[str, str]] = {
    "client": "Page of Tally",
    "authorization_server": "Page of the authorization server",
}

MAX_LATER: Final = 3
"""Number of later starts that a title lists."""


@dataclass(frozen=True, slots=True)
class Story:
    """The story of a flow; texts are empty if unknown.

    Args:
        details: the technical name if the title is that of a button, and the titles of later starts in the flow.
        started: the ID of the message that started the flow most recently; empty if it only prepares or cleans up.
        is_setup: whether the flow only prepares other flows or cleans up after them.
    """

    title: str
    details: str
    summary: str
    outcome: Outcome
    started: str
    is_setup: bool


def story(events: Sequence[Event], now: float = 0.0) -> Story:
    """Return the story of a flow.

    Args:
        now: the lab's time; 0 if a flow that waits for a message is not to count as abandoned.
    """
    starts = [(event["id"], *found) for event in events if (found := _start(event))]
    is_refused = bool(starts) and starts[0][-1]
    ended = outcome(events, is_refusal_expected=is_refused, now=now)
    if not starts:
        title, is_setup = _title_of_messages(events)
        return Story(title, "", _SUMMARIES.get(title, ""), ended, _grant_id(events), is_setup)
    _, title, technique, summary, _ = starts[0]
    later = [*dict.fromkeys(each[1] for each in starts[1:])]
    shown = [text for text in (technique, *(f"then: {each}" for each in later[:MAX_LATER])) if text]
    return Story(title, " · ".join(shown), summary, ended, starts[-1][0], is_setup=False)


def _start(event: Event) -> tuple[str, str, str, bool] | None:
    """Return the title, technical name, and summary of a form that starts a flow, and whether it must be refused."""
    if event["to"] != "client" or event["method"] != "POST":
        return None
    from rolecall_lab.catalog.entries import ENTRIES  # noqa: PLC0415  the observer starts without it

    match = _CATALOG_START.fullmatch(event["path"])
    name, title = (match[1], "") if match else _BUTTONS.get(event["path"], ("", ""))
    entry = ENTRIES.get(name)
    if entry is None:
        return None
    return title or entry.title, entry.title if title else "", entry.summary, entry.is_refused


def _title_of_messages(events: Sequence[Event]) -> tuple[str, bool]:
    """Return a title for a flow that was not started in the client, and whether it is only setup or cleanup."""
    requests = [event for event in events if is_authorization_request(event)]
    if requests:
        scope = next((event["query"].get("scope") for event in requests), None)
        is_openid = isinstance(scope, str) and "openid" in scope.split()
        kind = next((event["query"].get("response_type") for event in requests), None)
        if isinstance(kind, str) and "code" not in kind.split():
            return f"Authorization request with response_type={kind[:40]}", False
        return ("OpenID Connect code flow" if is_openid else "Authorization code flow"), False
    grant = next((event["form"]["grant_type"] for event in events if "grant_type" in event["form"]), None)
    if grant is not None:
        return _GRANTS.get(str(grant), f"Token request with grant_type={str(grant)[:60]}"), False
    if any(event["to"] == "resource_server" for event in events):
        return "API request", False
    for titles, is_setup in ((_ENDPOINTS, False), (_SETUP, True)):
        for path, title in titles:
            if any(event["to"] == "authorization_server" and event["path"].startswith(path) for event in events):
                return title, is_setup
    if events[0]["to"] in _PAGES:
        return f"{_PAGES[events[0]['to']]}: {events[0]['path'][:60]}", True
    return "", True


def _grant_id(events: Sequence[Event]) -> str:
    """Return the ID of the first message that requests an authorization or a token, or an empty string."""
    grants = (event["id"] for event in events if is_authorization_request(event) or "grant_type" in event["form"])
    return str(next(grants, ""))
