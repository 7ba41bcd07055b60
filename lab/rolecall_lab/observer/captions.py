"""One sentence per message of a flow, for present mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rolecall_lab.observer.picture import PARTIES, Picture, Row
from rolecall_lab.observer.texts import lowered

Event = dict[str, Any]

_GRANTS: Final[Mapping[str, str]] = {
    "authorization_code": "The client exchanges the code for tokens, directly and not through the browser.",
    "refresh_token": "The client exchanges its refresh token for new tokens, without the owner.",
    "client_credentials": "The client requests an access token without an owner.",
    "password": "The client sends the owner's password, which OAuth 2.1 has removed.",
}

_REQUESTS: Final[Mapping[str, str]] = {
    "/authorize": "The browser takes the client's authorization request to the authorization server.",
    "/callback": "The browser takes the authorization response back to the client.",
    "/introspect": "The resource server asks the authorization server whether the access token is active.",
    "/revoke": "The client asks the authorization server to revoke a token.",
    "/userinfo": "The client asks for claims about the signed-in user.",
    "/jwks": "{sender} fetches the public keys that verify signatures.",
    "/par": "The client sends its authorization request directly to the authorization server first.",
    "/register": "The client registers itself at the authorization server.",
}
"""By path; `{sender}` and `{receiver}` are the titles of the lanes."""

_RESPONSES: Final[Mapping[str, str]] = {
    "/revoke": "The authorization server has revoked the token.",
    "/userinfo": "The authorization server returns the claims that the owner agreed to share.",
    "/jwks": "The authorization server returns its public keys.",
    "/register": "The authorization server returns the client's ID and credentials.",
    "/par": "The authorization server returns a `request_uri` that stands for the request.",
}


def caption(row: Row, picture: Picture) -> str:
    """Return a sentence about a request, a response, or a refusal that no response tells; other rows have none."""
    event = picture.messages[row.number - 1] if row.number else None
    if event is not None and row.kind == "checks" and row.refused and not _is_told(row, picture):
        return _failed_check(row, row.checks, picture)
    if event is None or row.kind not in {"request", "response"}:
        return ""
    if row.kind == "request":
        if row.refused:
            return f"{the_party(row.start, picture)} sends a request, but gets no response: {event['failure']}."
        return _request(row, event, picture)
    if row.refused:
        return _refusal(row, event, picture)
    return _response(row, event, picture)


def _request(row: Row, event: Event, picture: Picture) -> str:
    repeated = _repeated_code(event, picture.messages[: row.number - 1])
    if repeated:
        return f"{the_party(row.start, picture)} sends the same code a second time, as happens when a code is stolen."
    grant = event["form"].get("grant_type")
    if isinstance(grant, str):
        return _GRANTS.get(grant, f"The client requests a token (`{grant[:40]}`).")
    if row.end == "authorization_server":
        text = _REQUESTS.get(f"/{event['path'].split('/')[1]}", "{sender} sends a request to {receiver}.")
        return _filled(text, row, picture)
    if row.end == "client":
        if event["path"] == "/callback" or "code" in event["query"] or "error" in event["query"]:
            return _REQUESTS["/callback"]
        is_form = event["method"] == "POST"
        return "The owner starts the flow in the client." if is_form else "The owner opens a page of the client."
    if row.end == "resource_server":
        has_token = any(value.kind == "access_token" for value, _ in row.carried)
        return f"The client calls the API {'with the access token' if has_token else 'without an access token'}."
    return _filled("{sender} fetches a document from {receiver}.", row, picture)


def _response(row: Row, event: Event, picture: Picture) -> str:
    location = event["response_headers"].get("location")
    parameters = location.get("parameters", {}) if isinstance(location, dict) else {}
    body = event["body"] if isinstance(event["body"], dict) else {}
    if row.start == "authorization_server":
        if "code" in parameters:
            return "The authorization server sends the browser back to the client with a one-time code."
        if tokens := [text for name, text in _TOKENS.items() if name in body]:
            return f"The authorization server issues {_and(tokens)}."
        if "active" in body:
            return _introspection(body)
        return _filled(_RESPONSES.get(f"/{event['path'].split('/')[1]}", "{sender} responds."), row, picture)
    if row.start == "client":
        if "response_type" in parameters or "request_uri" in parameters or "request" in parameters:
            return "The client sends the browser to the authorization server with an authorization request."
        is_redirect = event["status"] in range(300, 400)
        return "The client redirects the browser to its next page." if is_redirect else "The client shows the result."
    if row.start == "resource_server":
        is_local = event["request_headers"].get("rolecall-validator") == "jwt"
        how = "verifies the token's signature itself, without asking the server," if is_local else "accepts the token"
        return f"The API {how} and returns the data."
    return _filled("{sender} responds.", row, picture)


_TOKENS: Final = {"access_token": "an access token", "refresh_token": "a refresh token", "id_token": "an ID token"}


def _introspection(body: Mapping[str, Any]) -> str:
    if body["active"]:
        return "The token is active: the API learns whose it is, for which client, and its scope."
    return "The token is not active, so the API must not accept it."


def _refusal(row: Row, event: Event, picture: Picture) -> str:
    """Return who refused what, and why: the first failed check, the error code, or the status."""
    who = the_party(row.start, picture)
    location = event["response_headers"].get("location")
    parameters = location.get("parameters", {}) if isinstance(location, dict) else {}
    if parameters.get("error") == "access_denied":
        return f"{who} sends the browser back to the client: the owner denied access."
    if any(not check["passed"] for check in event["checks"]):
        return _failed_check(row, event["checks"], picture)
    body = event["body"] if isinstance(event["body"], dict) else {}
    reason = next((str(place["error"]) for place in (body, parameters) if place.get("error")), event["status"])
    return f"{who} refuses the request (`{reason}`)." if isinstance(reason, str) else f"{who} responds with {reason}."


def _is_told(row: Row, picture: Picture) -> bool:
    """Return whether the response already says that the message was refused, or that a token is not active."""
    if picture.messages[row.number - 1]["path"] == "/introspect":
        return True
    return any(other.kind == "response" and other.number == row.number and other.refused for other in picture.rows)


def _failed_check(row: Row, checks: Sequence[Mapping[str, Any]], picture: Picture) -> str:
    failed = next(check for check in checks if not check["passed"])
    reason = lowered(str(failed.get("description") or failed["name"])).rstrip(".")
    return f"{the_party(row.start, picture)} refuses: {reason}."


def _repeated_code(event: Event, earlier: Sequence[Event]) -> bool:
    """Return whether an earlier token request had the same code."""
    code = event["form"].get("code")
    if not isinstance(code, dict) or "grant_type" not in event["form"]:
        return False
    return any(other["form"].get("code") == code for other in earlier if "grant_type" in other["form"])


def _filled(text: str, row: Row, picture: Picture) -> str:
    receiver = the_party(row.end, picture)
    return text.format(sender=the_party(row.start, picture), receiver=receiver[0].lower() + receiver[1:])


def the_party(lane: str, picture: Picture) -> str:
    """Return the title of a lane at the beginning of a sentence; a host name has no article."""
    title = picture.title(lane)
    return f"The {title[0].lower()}{title[1:]}" if lane in PARTIES and title == PARTIES[lane][0] else title


def _and(texts: Sequence[str]) -> str:
    if len(texts) < 3:
        return " and ".join(texts)
    return f"{', '.join(texts[:-1])}, and {texts[-1]}"
