"""A flow's events as they were recorded, to be shown again elsewhere."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any, Final

from rolecall_lab.observer.picture import NAMES
from rolecall_lab.observer.texts import clean, is_mark
from rolecall_lab.recording.event import SCHEMA, SUPPORTED_SCHEMAS
from rolecall_lab.recording.losses import MAX_LOSSES
from rolecall_lab.recording.recorded_flow import Loss, RecordedFlow

KIND: Final = "rolecall-flow"
MAX_EVENTS: Final = 2000
MAX_BYTES: Final = 2 * 1024 * 1024

MAX_DEPTH: Final = 64
"""Objects and lists in one another; the recorder writes far fewer."""

LARGEST: Final = 1e300
"""Numbers are smaller: Python reads 1e999 as infinite, and integers that are no float."""

LATEST: Final = 2**35
"""Seconds since 1970, in the year 3058."""

_TEXTS: Final = ("id", "role", "direction", "from", "to", "channel", "method", "host", "path")
_OBJECTS: Final = ("query", "form", "request_headers", "response_headers")
_LISTS: Final = ("checks", "changes", "handles")
_NUMBERS: Final = ("at", "milliseconds")


def write(events: list[dict[str, Any]], losses: list[Loss], omitted: tuple[int, str]) -> str:
    """The file."""
    missing = {"losses": [asdict(loss) for loss in losses], "omitted": omitted[0]}
    return json.dumps({"kind": KIND, "schema": SCHEMA, **missing, "events": events}, indent=1) + "\n"


def load(text: str) -> RecordedFlow:
    """The flow of such a file: its events in their order, and what it says that is missing.

    Raises:
        ValueError: it is none; the text says why, in a sentence.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"The file is longer than {MAX_BYTES // 1024 // 1024} MB")
    try:
        found = clean(json.loads(text, parse_constant=_no_number))
    except (ValueError, RecursionError):
        raise ValueError("The file is not JSON") from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise ValueError("The file is no flow that was taken away from an observer")
    if found.get("schema") not in SUPPORTED_SCHEMAS:
        raise ValueError(f"The events are of another version; this observer reads version {SCHEMA}")
    events = found.get("events")
    if not isinstance(events, list) or not 1 <= len(events) <= MAX_EVENTS:
        raise ValueError(f"The file must have between 1 and {MAX_EVENTS} events")
    for number, event in enumerate(events, 1):
        if wrong := fault(event):
            raise ValueError(f"Event {number} {wrong}")
    losses, omitted = found.get("losses", []), found.get("omitted", 0)
    if not isinstance(losses, list) or len(losses) > MAX_LOSSES or not all(map(_is_loss, losses)):
        raise ValueError("The file has losses that are none")
    if isinstance(omitted, bool) or not isinstance(omitted, int) or not 0 <= omitted < LARGEST:
        raise ValueError("The file does not say how many events were left out of it")
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
    """What is wrong with an event; empty when nothing is."""
    if not isinstance(event, dict):
        return "is none"
    for name in _TEXTS:
        if not isinstance(event.get(name), str):
            return f"has no {name}"
    if event["from"] not in NAMES or event["to"] not in NAMES:
        return "is between parties that nobody knows"
    if not event["id"][:16].isascii() or not all(each in "0123456789abcdef" for each in event["id"][:16]):
        return "has an id that is none"
    kinds = ((_OBJECTS, dict, "an object"), (_LISTS, list, "a list"))
    for names, kind, word in kinds:
        for name in names:
            if not isinstance(event.get(name), kind):
                return f"has {name} that is not {word}"
    for name in _NUMBERS:
        if isinstance(event.get(name), bool) or not isinstance(event.get(name), int | float):
            return f"has {name} that is no number"
        if not 0 <= event[name] < LATEST:
            return f"has {name} that is no time"
    if not (event.get("status") is None or (isinstance(event["status"], int) and 100 <= event["status"] <= 599)):
        return "has a status that is none"
    return _fault_inside(event)


def _fault_inside(event: dict[str, Any]) -> str:
    if not all(isinstance(each, dict) and isinstance(each.get("passed"), bool) for each in event["checks"]):
        return "has a check that is none"
    if not all({"name", "clause", "expected", "actual"} <= each.keys() for each in event["checks"]):
        return "has a check that is not whole"
    if not all(isinstance(each[name], str) for each in event["checks"] for name in ("name", "clause")):
        return "has a check whose name or clause is no text"
    if not all(isinstance(each, dict) for each in event["changes"]):
        return "has a change that is none"
    if not all(isinstance(each, str) for each in event["handles"]):
        return "has a handle that is none"
    for name in ("trace", "span", "failure"):
        if not isinstance(event.setdefault(name, None), str | None):
            return f"has a {name} that is none"
    for name in ("body", "json"):
        event.setdefault(name, None)
    for name in ("cut", "presented"):
        if not isinstance(event.setdefault(name, []), list) or not all(isinstance(each, str) for each in event[name]):
            return f"has {name} that is no list of names"
    if not isinstance(event.setdefault("serving", None), str | None):
        return "has a serving that is none"
    if not isinstance(event["request_headers"].get("authorization", {}), dict):
        return "has an authorization that is none"
    location = event["response_headers"].get("location", "")
    if not isinstance(location, str) and not (
        isinstance(location, dict) and isinstance(location.get("parameters", {}), dict)
    ):
        return "has a location that is none"
    return _fault_anywhere(event)


def _fault_anywhere(value: Any, depth: int = 0) -> str:
    """What is wrong inside, at any depth."""
    if depth > MAX_DEPTH:
        return "has more in one another than is ever recorded"
    if isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        return "has a number that is too large"
    if is_mark(value) and not value.get("shown", "…"):
        return "has a value to follow that is none"
    if isinstance(value, dict) and not all(
        isinstance(value.get(name, {}), dict) for name in ("unverified_header", "unverified_claims")
    ):
        return "has parts of a token that are none"
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((wrong for each in inside if (wrong := _fault_anywhere(each, depth + 1))), "")


def _no_number(text: str) -> None:
    raise ValueError(text)
