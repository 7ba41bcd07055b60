"""One message in full, for the inspector: explained, raw, its tokens, its checks, its changes, its command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rolecall_lab.observer.explanations import Explanation, change_name, explain
from rolecall_lab.observer.exports.curl import command
from rolecall_lab.observer.exports.json_events import LATEST
from rolecall_lab.observer.picture import NAMES, Picture
from rolecall_lab.observer.texts import is_text, pairs, phrase, plain, text_of
from rolecall_lab.observer.tokens import KeySet, pkce, segments
from rolecall_lab.observer.values import Value, marks

Event = dict[str, Any]

_TELLING: Final = frozenset({"authorization", "dpop", "location", "www-authenticate", "cookie", "set-cookie"})
"""Headers that a protocol is about; the others stand apart."""

MAX_NESTED: Final = 60
"""Members within a member that are told one by one."""

MAX_RAW: Final = 20_000
"""Characters of an answer's body."""


@dataclass(frozen=True, slots=True)
class Line:
    """A name and what it had, with what is known about it; `value` when it can be followed."""

    place: str
    name: str
    text: str
    explanation: Explanation | None
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT in the message: its parts, whether its signature is right, and its claims with what they mean."""

    name: str
    parts: list[tuple[str, str]]
    signed: bool | None
    verdict: str
    expires: float | None
    claims: list[Line]
    whole: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that the inspector shows of a message."""

    number: int
    event: Event
    title: str
    lines: list[Line]
    others: list[Line]
    raw: str
    tokens: list[Token]
    pkce: list[tuple[str, str]]
    checks: list[tuple[dict[str, str], Explanation | None]]
    changes: list[tuple[dict[str, Any], Explanation | None]]
    curl: str


def inspect(picture: Picture, number: int, keys: KeySet) -> Inspection | None:
    """The message of this number (from 1); None when there is none."""
    if not 1 <= number <= len(picture.messages):
        return None
    event = picture.messages[number - 1]
    lines = [*_lines(event, picture)]
    others = [line for line in lines if "header" in line.place and line.name not in _TELLING]
    return Inspection(
        number,
        event,
        f"{NAMES[event['from']][0]} → {NAMES[event['to']][0]}",
        [line for line in lines if line not in others],
        others,
        raw(event),
        [*_tokens(event, keys)],
        _pkce(event, picture),
        [(_told(check), explain("check", check["name"])) for check in event["checks"]],
        [(change, explain("change", change_name(change), event["path"])) for change in event["changes"]],
        command(event),
    )


def raw(event: Event) -> str:
    """The message and its answer as they were sent, but for what is never recorded."""
    query = "&".join(f"{name}={text}" for name, text in pairs(event["query"]))
    lines = [f"{event['method']} {event['path']}{'?' + query if query else ''} HTTP/1.1", f"Host: {event['host']}"]
    lines += [f"{name}: {text_of(value)}" for name, value in event["request_headers"].items() if name != "host"]
    if event["form"]:
        lines += ["", "&".join(f"{name}={text}" for name, text in pairs(event["form"]))]
    lines.append("")
    if event["status"] is None:
        lines.append(f"(no answer: {event['failure']})")
        return "\n".join(lines)
    lines.append(f"HTTP/1.1 {event['status']} {phrase(event['status'])}")
    lines += [f"{name}: {text_of(value)}" for name, value in event["response_headers"].items()]
    if event["body"] is not None:
        lines += ["", json.dumps(plain(event["body"]), indent=2, ensure_ascii=False)[:MAX_RAW]]
    return "\n".join(lines)


def _lines(event: Event, picture: Picture) -> Iterator[Line]:
    followed = {
        (place.side, place.name): value for value in picture.values for place in value.places.get(event["id"], ())
    }
    path = event["path"]
    for name, value in event["query"].items():
        yield Line("query", name, text_of(value), explain("parameter", name, path), followed.get(("request", name)))
    for name, value in event["form"].items():
        yield Line("form", name, text_of(value), explain("parameter", name, path), followed.get(("request", name)))
    for name, value in event["request_headers"].items():
        yield Line("header", name, text_of(value), explain("header", name, path), followed.get(("request", name)))
    if event["status"] is None:
        return
    status = str(event["status"])
    yield Line("status", status, phrase(event["status"]), explain("status", status, path))
    for name, value in event["response_headers"].items():
        yield Line("answer's header", name, text_of(value), explain("header", name, path))
        if name == "location" and isinstance(value, dict):
            for inner, each in value.get("parameters", {}).items():
                found = _of_error(inner, each, path) or explain("parameter", inner, path)
                yield Line("in location", inner, text_of(each), found, followed.get(("answer", inner)))
    if isinstance(event["body"], dict):
        for name, value in event["body"].items():
            found = _of_error(name, value, path) or explain("member", name, path)
            yield Line("answer", name, text_of(value), found, followed.get(("answer", name)))
            yield from _nested("answer", "member", name, value, path)


def _nested(place: str, kind: str, name: str, value: Any, path: str) -> Iterator[Line]:
    """The members of objects within an answer or a claim, named by where they stand: `keys[0].kid`."""
    waiting = [(name, value)]
    left = MAX_NESTED
    while waiting and left:
        name, value = waiting.pop(0)
        if isinstance(value, list):
            waiting[:0] = [(f"{name}[{number}]", each) for number, each in enumerate(value[:left])]
        elif not is_text(value):
            for inner, each in [*value.items()][:left]:
                left -= 1
                whole = f"{name}.{inner}"
                known = explain(kind, re.sub(r"\[\d+\]", "", whole), path) or explain(kind, inner, path)
                yield Line(place, whole, text_of(each), known)
                waiting.append((whole, each))


def _of_error(name: str, value: Any, path: str) -> Explanation | None:
    """What a particular error code means."""
    return explain("error", value, path) if name == "error" else None


def _tokens(event: Event, keys: KeySet) -> Iterator[Token]:
    seen = set()
    for place, mark in marks(event):
        claims = mark.get("unverified_claims")
        if not isinstance(claims, dict) or mark["hash"] in seen:
            continue
        seen.add(mark["hash"])
        whole = mark.get("value", "")
        signed, verdict = keys.verdict(whole) if whole else (None, "not the whole of it was kept")
        header = mark.get("unverified_header") or {}
        lines = [Line("jose", name, text_of(each), explain("jose", name)) for name, each in header.items()]
        for name, each in claims.items():
            lines.append(Line("claim", name, text_of(each), explain("claim", name)))
            lines += _nested("claim", "claim", name, each, event["path"])
        expires = claims.get("exp")
        yield Token(
            place.name,
            segments(whole) if whole else [],
            signed,
            verdict,
            float(expires) if isinstance(expires, int | float) and abs(expires) < LATEST else None,
            lines,
            whole,
        )


def _pkce(event: Event, picture: Picture) -> list[tuple[str, str]]:
    """The hash, worked out, where a message carries a verifier whose challenge is known."""
    verifiers = [mark for place, mark in marks(event) if place.name == "code_verifier" and mark.get("value")]
    if not verifiers:
        return []
    challenges = [
        mark["value"]
        for other in picture.messages
        for place, mark in marks(other)
        if place.name == "code_challenge" and mark["hash"] in event["handles"]
    ]
    return pkce(verifiers[0]["value"], challenges[0]) if challenges else []


def _told(check: dict[str, Any]) -> dict[str, str]:
    return {
        "name": str(check["name"]),
        "passed": "yes" if check["passed"] else "",
        "expected": "" if check["expected"] is None else text_of(check["expected"]),
        "actual": "" if check["actual"] is None else text_of(check["actual"]),
        "clause": str(check["clause"]),
    }
