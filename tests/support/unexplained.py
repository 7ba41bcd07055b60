"""A search for the parts of recorded messages that the observer cannot explain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rolecall_lab.observer.explanations import change_name, explain
from rolecall_lab.observer.texts import is_text


def unexplained(events: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Return the place, name, and path of everything in the events that has no explanation."""
    return {item for event in events for item in _items(event) if explain(*item) is None}


def _items(event: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the place, name, and path of everything in an event that should have an explanation."""
    path = event["path"]
    for name in (*event["query"], *event["form"]):
        yield "parameter", name, path
    for name in _members(event.get("json")):
        yield "member", name, path
    for name in (*event["request_headers"], *event["response_headers"]):
        yield "header", name, path
    if event["status"] is not None:
        yield "status", str(event["status"]), path
    location = event["response_headers"].get("location")
    redirect = location.get("parameters", {}) if isinstance(location, dict) else {}
    for name in redirect:
        yield "parameter", name, path
    body = event["body"] if isinstance(event["body"], dict) else {}
    for name in _members(body):
        yield "member", name, path
    challenge = str(event["response_headers"].get("www-authenticate", ""))
    errors = (part["error"] for part in (event["query"], event["form"], redirect, body) if "error" in part)
    for error in (*re.findall(r'\berror="([^"]*)"', challenge), *errors):
        yield "error", str(error), path
    for check in event["checks"]:
        yield "check", check["name"], path
    for change in event["changes"]:
        yield "change", change_name(change), path
    parts = ("query", "form", "json", "request_headers", "response_headers", "body")
    yield from _token_items([event.get(part) for part in parts])


def _members(value: Any) -> Iterator[str]:
    """Yield the member names of JSON at any depth, except for those of objects that the recorder substituted."""
    if isinstance(value, list):
        for item in value:
            yield from _members(item)
    elif not is_text(value):
        for name, member in value.items():
            yield name
            yield from _members(member)


def _token_items(value: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, dict):
        for name in value.get("unverified_header") or ():
            yield "jose", name, ""
        for name in _members(value.get("unverified_claims")):
            yield "claim", name, ""
        for member in value.values():
            yield from _token_items(member)
    elif isinstance(value, list):
        for item in value:
            yield from _token_items(item)
