"""One message in full, for the inspector: explained, raw, its tokens, its checks, its changes, its command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from rolecall_lab.observer.explanations import Explanation, change_name, explain
from rolecall_lab.observer.exports.curl import command
from rolecall_lab.observer.exports.json_events import LATEST
from rolecall_lab.observer.picture import Picture
from rolecall_lab.observer.texts import is_mark, is_text, pairs, phrase, plain, text_of
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
    cut: list[str]


def inspect(picture: Picture, number: int, keys: KeySet) -> Inspection | None:
    """The message of this number (from 1); None when there is none."""
    if not 1 <= number <= len(picture.messages):
        return None
    event = picture.messages[number - 1]
    followed = {each: value for value in picture.values for each in value.hashes}
    lines = [*_lines(event, followed)]
    others = [line for line in lines if "header" in line.place and line.name not in _TELLING]
    return Inspection(
        number,
        event,
        f"{picture.called(event['from'])} → {picture.called(event['to'])}",
        [line for line in lines if line not in others],
        others,
        raw(event),
        [*_tokens(event, keys, picture, followed)],
        _pkce(event, picture, number),
        [(_told(check), explain("check", check["name"])) for check in event["checks"]],
        [(change, explain("change", change_name(change), event["path"])) for change in event["changes"]],
        command(event),
        [*map(text_of, event.get("cut") or ())],
    )


def raw(event: Event) -> str:
    """The message and its answer put together again, but for what is never recorded."""
    query = _encoded(event["query"])
    lines = [f"{event['method']} {event['path']}{'?' + query if query else ''} HTTP/1.1", f"Host: {event['host']}"]
    lines += [f"{name}: {text_of(value)}" for name, value in event["request_headers"].items() if name != "host"]
    if event["form"]:
        lines += ["", _encoded(event["form"])]
    if event.get("json") is not None:
        lines += ["", _json(event["json"])]
    lines.append("")
    if event["status"] is None:
        lines.append(f"(no answer: {event['failure']})")
        return "\n".join(lines)
    lines.append(f"HTTP/1.1 {event['status']} {phrase(event['status'])}")
    for name, value in event["response_headers"].items():
        if isinstance(value, dict) and isinstance(value.get("parameters"), dict):
            lines.append(f"{name}: {value.get('url', '')}?{_encoded(value['parameters'])}")
        else:
            lines.append(f"{name}: {text_of(value)}")
    if event["body"] is not None:
        lines += ["", _json(event["body"])]
    return "\n".join(lines)


def _encoded(parameters: dict[str, Any]) -> str:
    """A query or a form in its own encoding (`application/x-www-form-urlencoded`), with what is hidden in sight."""
    return urlencode(pairs(parameters), safe="()", errors="replace")


def _json(value: Any) -> str:
    return json.dumps(plain(value), indent=2, ensure_ascii=False)[:MAX_RAW]


def _lines(event: Event, followed: Mapping[str, Value]) -> Iterator[Line]:
    path = event["path"]
    for place in ("query", "form"):
        for name, value in event[place].items():
            yield Line(place, name, text_of(value), explain("parameter", name, path), _value(value, followed))
    for name, value in event["request_headers"].items():
        yield Line("header", name, text_of(value), explain("header", name, path), _value(value, followed))
    if isinstance(sent := event.get("json"), dict):
        for name, value in sent.items():
            known = explain("member", name, path) or explain("parameter", name, path)
            yield Line("body", name, text_of(value), known, _value(value, followed))
            yield from _nested("body", "member", name, value, path, followed)
    if event["status"] is None:
        return
    status = str(event["status"])
    yield Line("status", status, phrase(event["status"]), explain("status", status, path))
    for name, value in event["response_headers"].items():
        yield Line("answer's header", name, text_of(value), explain("header", name, path))
        if name == "location" and isinstance(value, dict):
            for inner, each in value.get("parameters", {}).items():
                found = _of_error(inner, each, path) or explain("parameter", inner, path)
                yield Line("in location", inner, text_of(each), found, _value(each, followed))
    if isinstance(event["body"], dict):
        for name, value in event["body"].items():
            found = _of_error(name, value, path) or explain("member", name, path)
            yield Line("answer", name, text_of(value), found, _value(value, followed))
            yield from _nested("answer", "member", name, value, path, followed)


def _value(value: Any, followed: Mapping[str, Value]) -> Value | None:
    """The value to follow that something recorded is: by its mark, within an `Authorization` header or a list too."""
    if is_mark(value):
        return followed.get(value["hash"])
    if isinstance(value, dict):
        return _value(value.get("token"), followed)
    found = (_value(each, followed) for each in value) if isinstance(value, list) else ()
    return next((each for each in found if each), None)


def _nested(place: str, kind: str, name: str, value: Any, path: str, followed: Mapping[str, Value]) -> Iterator[Line]:
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
                yield Line(place, whole, text_of(each), known, _value(each, followed))
                waiting.append((whole, each))


def _of_error(name: str, value: Any, path: str) -> Explanation | None:
    """What a particular error code means."""
    return explain("error", value, path) if name == "error" else None


def _tokens(event: Event, keys: KeySet, picture: Picture, followed: Mapping[str, Value]) -> Iterator[Token]:
    seen = set()
    for place, mark in marks(event):
        claims = mark.get("unverified_claims")
        if not isinstance(claims, dict) or mark["hash"] in seen:
            continue
        seen.add(mark["hash"])
        whole = mark.get("value", "")
        signed, verdict = (
            keys.verdict(whole, place.name, _registered(picture)) if whole else (None, "not the whole of it was kept")
        )
        header = mark.get("unverified_header") or {}
        lines = [Line("jose", name, text_of(each), explain("jose", name)) for name, each in header.items()]
        for name, each in claims.items():
            lines.append(Line("claim", name, text_of(each), explain("claim", name), _value(each, followed)))
            lines += _nested("claim", "claim", name, each, event["path"], followed)
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


def _registered(picture: Picture) -> list[dict[str, Any]]:
    """The keys of clients that this flow's messages have: registered, or fetched by the server (RFC 7591 section 2)."""
    bodies = [(event["from"], event["body"]) for event in picture.messages if isinstance(event["body"], dict)]
    sets = [body if sender == "authorization_server" else body.get("jwks") for sender, body in bodies]
    lists = (each.get("keys") for each in sets if isinstance(each, dict))
    return [key for each in lists if isinstance(each, list) for key in each if isinstance(key, dict)]


def _pkce(event: Event, picture: Picture, number: int) -> list[tuple[str, str]]:
    """The hash, worked out, where a message carries a verifier, against its challenge or the last one before it."""
    verifiers = [mark for place, mark in marks(event) if place.name == "code_verifier" and mark.get("value")]
    if not verifiers:
        return []
    challenges = [
        mark
        for other in picture.messages[: number - 1]
        for place, mark in marks(other)
        if place.name == "code_challenge" and mark.get("value")
    ]
    mine = [mark for mark in challenges if mark["hash"] in event["handles"]]
    return pkce(verifiers[0]["value"], (mine or challenges)[-1]["value"]) if challenges else []


def _told(check: dict[str, Any]) -> dict[str, str]:
    return {
        "name": str(check["name"]),
        "passed": "yes" if check["passed"] else "",
        "expected": "" if check["expected"] is None else text_of(check["expected"]),
        "actual": "" if check["actual"] is None else text_of(check["actual"]),
        "clause": str(check["clause"]),
    }
