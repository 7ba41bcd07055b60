"""Which messages of a flow are the protocol itself; others are the owner's pages, setup, cleanup, or measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Literal
from urllib.parse import urlsplit

Event = dict[str, Any]
Part = Literal["", "owner", "setup", "cleanup", "measurement"]

_SIDES: Final = ("request", "response")

_REGISTRATION: Final = "/register"
_ENDS: Final = frozenset({"/revoke", "/disconnect"})
"""Paths of the client at which the owner ends the access; the revocation is then the purpose of the flow."""


_MEASUREMENTS: Final = frozenset({"/compare/measure", "/compare/again"})
"""Paths of the client at which the page that compares the validators sends the token repeatedly."""


def parts(messages: Sequence[Event], inner: Mapping[int, Sequence[int]]) -> dict[tuple[int, str], Part]:
    """Return the part of each side (`request` or `response`) of the messages that are not the protocol itself.

    Args:
        inner: maps the number of a message to the numbers of the messages sent while handling it; 0 has all others.
    """
    result: dict[tuple[int, str], Part] = {}
    for is_at_server, run in groupby(inner[0], lambda number: _is_at_server(messages[number - 1])):
        if is_at_server:
            result |= _owner_parts(messages, [*run])
    first = next((number for number, event in enumerate(messages, 1) if _is_grant(event)), len(messages) + 1)
    for number, event in enumerate(messages, 1):
        is_registration = event["path"].startswith(_REGISTRATION) and event["from"] == "client"
        if event["path"].startswith("/.well-known/") or (is_registration and number < first <= len(messages)):
            result[number, "request"] = result[number, "response"] = "setup"
    for number, event in enumerate(messages, 1):
        if event["to"] == "client" and event["path"] in _MEASUREMENTS:
            result |= dict.fromkeys(((number, "request"), (number, "response")), "measurement")
    for outer, numbers in inner.items():
        for number in _cleanup(messages, outer, [*numbers], first):
            result[number, "request"] = result[number, "response"] = "cleanup"
    return result


def _is_at_server(event: Event) -> bool:
    return bool(event["from"] == "browser" and event["to"] == "authorization_server")


def _is_grant(event: Event) -> bool:
    """Return whether the message requests an authorization or a token."""
    return event["to"] == "authorization_server" and (event["path"] == "/authorize" or "grant_type" in event["form"])


def _owner_parts(messages: Sequence[Event], numbers: list[int]) -> dict[tuple[int, str], Part]:
    """Mark everything between the authorization request and the authorization response (RFC 6749 section 4.1)."""
    while numbers and messages[numbers[0] - 1]["path"] != "/authorize":
        numbers = numbers[1:]
    if len(numbers) < 2:
        return {}
    result: dict[tuple[int, str], Part] = {(number, side): "owner" for number in numbers for side in _SIDES}
    del result[numbers[0], "request"]
    last = numbers[-1]
    following = messages[last] if last < len(messages) else None
    if _leaves(messages[last - 1]) or (following is not None and following["to"] == "client"):
        del result[last, "response"]
    return result


def _leaves(event: Event) -> bool:
    """Return whether a response ends the owner's visit: an error, or a redirect to another address."""
    location = event["response_headers"].get("location")
    url = urlsplit(str(location.get("url", "") if isinstance(location, dict) else location or ""))
    return (event["status"] or 599) >= 400 or bool(url.netloc and url.netloc != event["host"])


def _cleanup(messages: Sequence[Event], outer: int, numbers: list[int], first: int) -> list[int]:
    """Return the last of the inner messages, as far as they only revoke tokens or delete the client."""
    if not outer or messages[outer - 1]["path"] in _ENDS:
        return []
    ends = len(numbers)
    while ends and numbers[ends - 1] > first and _ends_something(messages[numbers[ends - 1] - 1]):
        ends -= 1
    return numbers[ends:] if ends or messages[outer - 1]["path"] == "/callback" else []


def _ends_something(event: Event) -> bool:
    is_deletion = event["method"] == "DELETE" and event["path"].startswith(_REGISTRATION)
    return bool(event["from"] == "client" and (is_deletion or event["path"] == "/revoke"))
