"""A flow's events as they were recorded, in a file that any observer can display."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any, Final

from rolecall_lab.observer.picture import PARTIES
from rolecall_lab.observer.texts import clean, is_mark
from rolecall_lab.recording.event import SCHEMA, SUPPORTED_SCHEMAS
from rolecall_lab.recording.losses import MAX_LOSSES
from rolecall_lab.recording.recorded_flow import Loss, RecordedFlow

KIND: Final = "rolecall-flow"
MAX_EVENTS: Final = 2000
MAX_BYTES: Final = 2 * 1024 * 1024

MAX_DEPTH: Final = 64
"""Levels of nested objects and lists; the recorder writes far fewer."""

LARGEST: Final = 1e300
"""The limit for numbers, because Python reads 1e999 as infinity and also reads integers too large for a float."""

LATEST: Final = 2**35
"""Seconds since 1970, in the year 3058: the limit for times and durations."""

_STRINGS: Final = ("id", "role", "direction", "from", "to", "channel", "method", "host", "path")
_OBJECTS: Final = ("query", "form", "request_headers", "response_headers")
_LISTS: Final = ("checks", "changes", "handles")
_NUMBERS: Final = ("at", "milliseconds")


def write(events: list[dict[str, Any]], losses: list[Loss], omitted: tuple[int, str]) -> str:
    """Return the text of the file."""
    missing = {"losses": [asdict(loss) for loss in losses], "omitted": omitted[0]}
    return json.dumps({"kind": KIND, "schema": SCHEMA, **missing, "events": events}, indent=1) + "\n"


def load(text: str) -> RecordedFlow:
    """Return the flow in the text of an exported file.

    Raises:
        ValueError: the file is invalid; the message is a sentence without its period.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"The file is longer than {MAX_BYTES // 1024 // 1024} MB")
    try:
        document = clean(json.loads(text, parse_constant=_reject_constant))
    except (ValueError, RecursionError):
        raise ValueError("The file is not JSON") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise ValueError("The file is not a flow exported by an observer as JSON events")
    if document.get("schema") not in SUPPORTED_SCHEMAS:
        raise ValueError(f"The events have an unsupported schema version; this observer writes version {SCHEMA}")
    events = document.get("events")
    if not isinstance(events, list) or not 1 <= len(events) <= MAX_EVENTS:
        raise ValueError(f"The file must have between 1 and {MAX_EVENTS} events")
    for number, event in enumerate(events, 1):
        if problem := fault(event):
            raise ValueError(f"Event {number} {problem}")
    losses, omitted = document.get("losses", []), document.get("omitted", 0)
    if not isinstance(losses, list) or len(losses) > MAX_LOSSES or not all(map(_is_loss, losses)):
        raise ValueError(f"The member losses must be a list of at most {MAX_LOSSES} losses")
    if isinstance(omitted, bool) or not isinstance(omitted, int) or not 0 <= omitted < LARGEST:
        raise ValueError("The member omitted must be the number of events that were dropped")
    name = "file-" + hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
    events.sort(key=lambda event: str(event["id"]))
    return RecordedFlow(name, events, version=1, omitted=omitted, losses=[Loss(**loss) for loss in losses])


def _is_loss(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"since", "until", "number", "role"}
        and all(isinstance(value[name], str) for name in ("since", "until", "role"))
        and isinstance(value["number"], int)
        and 0 <= value["number"] < LARGEST
    )


def fault(event: Any) -> str:
    """Return what is wrong with an event, as the rest of a sentence such as `Event 7 is not an object`.

    The result is an empty string if the event is valid. Missing optional members are added with their defaults.
    """
    if not isinstance(event, dict):
        return "is not an object"
    for name in _STRINGS:
        if not isinstance(event.get(name), str):
            return f"has {name} that is missing or not a string"
    if event["from"] not in PARTIES or event["to"] not in PARTIES:
        return "has an unknown party in from or to"
    if not event["id"][:16].isascii() or not all(digit in "0123456789abcdef" for digit in event["id"][:16]):
        return "has an id that does not start with 16 hexadecimal digits"
    for names, kind, description in ((_OBJECTS, dict, "an object"), (_LISTS, list, "a list")):
        for name in names:
            if not isinstance(event.get(name), kind):
                return f"has {name} that is not {description}"
    for name in _NUMBERS:
        if isinstance(event.get(name), bool) or not isinstance(event.get(name), int | float):
            return f"has {name} that is not a number"
        if not 0 <= event[name] < LATEST:
            return f"has {name} that is not between 0 and {LATEST}"
    if not (event.get("status") is None or (isinstance(event["status"], int) and 100 <= event["status"] <= 599)):
        return "has a status that is not between 100 and 599"
    return _member_fault(event)


def _member_fault(event: dict[str, Any]) -> str:
    if not all(isinstance(check, dict) and isinstance(check.get("passed"), bool) for check in event["checks"]):
        return "has a check that is not an object with passed"
    if not all({"name", "clause", "expected", "actual"} <= check.keys() for check in event["checks"]):
        return "has a check without name, clause, expected, or actual"
    if not all(isinstance(check[name], str) for check in event["checks"] for name in ("name", "clause")):
        return "has a check whose name or clause is not a string"
    if not all(isinstance(change, dict) for change in event["changes"]):
        return "has a change that is not an object"
    if not all(isinstance(handle, str) for handle in event["handles"]):
        return "has a handle that is not a string"
    for name in ("trace", "span", "failure", "serving"):
        if not isinstance(event.setdefault(name, None), str | None):
            return f"has {name} that is not a string"
    for name in ("body", "json"):
        event.setdefault(name, None)
    if not isinstance(event.setdefault("base", ""), str):
        return "has base that is not a string"
    for name in ("cut", "presented"):
        if not isinstance(event.setdefault(name, []), list) or not all(isinstance(item, str) for item in event[name]):
            return f"has {name} that is not a list of strings"
    if not isinstance(event["request_headers"].get("authorization", {}), dict):
        return "has an authorization header that is not an object"
    location = event["response_headers"].get("location", "")
    if not isinstance(location, str) and not (
        isinstance(location, dict) and isinstance(location.get("parameters", {}), dict)
    ):
        return "has a location header that is not a string or an object with parameters"
    return _nested_fault(event)


def _nested_fault(value: Any, depth: int = 0) -> str:
    """Return what is wrong with a value at any depth, or an empty string."""
    if depth > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} levels deep"
    if isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        return "has a number that is too large"
    if is_mark(value) and not value.get("shown", "…"):
        return "has a mark with an empty shown"
    if isinstance(value, dict) and not all(
        isinstance(value.get(name, {}), dict) for name in ("unverified_header", "unverified_claims")
    ):
        return "has a token whose header or claims are not an object"
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((problem for member in members if (problem := _nested_fault(member, depth + 1))), "")


def _reject_constant(text: str) -> None:
    raise ValueError(text)
