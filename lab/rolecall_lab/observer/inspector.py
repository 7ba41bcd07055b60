"""One message in full, for the inspector: explained, raw, and as a command, with its tokens, checks, and changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from rolecall_lab.observer.explanations import Explanation, change_name, explain, explain_check
from rolecall_lab.observer.exports.curl import command
from rolecall_lab.observer.exports.json_events import LATEST
from rolecall_lab.observer.picture import Picture, has_clause
from rolecall_lab.observer.refusals import Refusal, heading, refusals
from rolecall_lab.observer.texts import is_mark, is_text, pairs, phrase, plain, text_of
from rolecall_lab.observer.tokens import KeySet, pkce, segments
from rolecall_lab.observer.values import Value, marks
from rolecall_lab.recording.event import full_path

Event = dict[str, Any]

_PROTOCOL_HEADERS: Final = frozenset({"authorization", "dpop", "location", "www-authenticate", "cookie", "set-cookie"})
"""Headers with a role in a protocol. All others are listed separately."""

MAX_NESTED: Final = 60
"""Members listed one by one within another member."""

MAX_RAW: Final = 20_000
"""Characters of a JSON body in the raw message."""


@dataclass(frozen=True, slots=True)
class Line:
    """A name and its value, with the explanation. `value` is set if the value can be followed."""

    place: str
    name: str
    text: str
    explanation: Explanation | None
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT in the message.

    Args:
        parts: its encoded segments, each with the decoded text.
        signed: whether the signature is valid; None if that cannot be determined.
        verdict: why.
        expires: seconds since 1970, or None.
        ended: why the token is no longer valid, as far as the flow shows it, or an empty string.
        was_valid: whether it ended only after this message.
        claims: its header members and claims.
        whole: the JWT, or an empty string if it was not kept in full.
    """

    name: str
    parts: list[tuple[str, str]]
    signed: bool | None
    verdict: str
    expires: float | None
    ended: str
    was_valid: bool
    claims: list[Line]
    whole: str

    @property
    def expires_at(self) -> str:
        """When the token expires, as a time (UTC)."""
        return _time(self.expires) if self.expires is not None else ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The content of the inspector for one message."""

    number: int
    event: Event
    title: str
    lines: list[Line]
    others: list[Line]
    raw: str
    tokens: list[Token]
    pkce: list[tuple[str, str]]
    checks: list[tuple[dict[str, str], Explanation | None]]
    heading: str
    refusals: list[Refusal]
    changes: list[tuple[dict[str, Any], Explanation | None]]
    curl: str
    cut: list[str]


def inspect(picture: Picture, number: int, keys: KeySet) -> Inspection | None:
    """Return the message with a number, counted from 1, or None if there is no such message."""
    if not 1 <= number <= len(picture.messages):
        return None
    event = picture.messages[number - 1]
    by_hash = {value_hash: value for value in picture.values for value_hash in value.hashes}
    lines = [*_lines(event, by_hash)]
    others = [line for line in lines if "header" in line.place and line.name not in _PROTOCOL_HEADERS]
    return Inspection(
        number,
        event,
        f"{picture.title(event['from'])} → {picture.title(event['to'])}",
        [line for line in lines if line not in others],
        others,
        raw(event),
        [*_tokens(event, keys, picture, number, by_hash)],
        _pkce_steps(event, picture, number),
        [(_check_texts(check), explain_check(check)) for check in event["checks"]],
        heading(event),
        refusals(event),
        [(change, explain("change", change_name(change), event["path"])) for change in event["changes"]],
        command(event),
        [*map(text_of, event.get("cut") or ())],
    )


def raw(event: Event) -> str:
    """Reconstruct the request and the response, except for the parts that are never recorded."""
    query = _form_encoded(event["query"])
    lines = [f"{event['method']} {full_path(event)}{'?' + query if query else ''} HTTP/1.1", f"Host: {event['host']}"]
    lines += [f"{name}: {text_of(value)}" for name, value in event["request_headers"].items() if name != "host"]
    if event["form"]:
        lines += ["", _form_encoded(event["form"])]
    if event.get("json") is not None:
        lines += ["", _json(event["json"])]
    lines.append("")
    if event["status"] is None:
        lines.append(f"(no response: {event['failure']})")
        return "\n".join(lines)
    lines.append(f"HTTP/1.1 {event['status']} {phrase(event['status'])}")
    for name, value in event["response_headers"].items():
        if isinstance(value, dict) and isinstance(value.get("parameters"), dict):
            lines.append(f"{name}: {value.get('url', '')}?{_form_encoded(value['parameters'])}")
        else:
            lines.append(f"{name}: {text_of(value)}")
    if event["body"] is not None:
        lines += ["", _json(event["body"])]
    return "\n".join(lines)


def _form_encoded(parameters: dict[str, Any]) -> str:
    """Encode a query or a form as `application/x-www-form-urlencoded`, leaving `(hidden)` readable."""
    return urlencode(pairs(parameters), safe="()", errors="replace")


def _json(value: Any) -> str:
    return json.dumps(plain(value), indent=2, ensure_ascii=False)[:MAX_RAW]


def _lines(event: Event, by_hash: Mapping[str, Value]) -> Iterator[Line]:
    yield from _request_lines(event, by_hash)
    if event["status"] is not None:
        yield from _response_lines(event, by_hash)


def _request_lines(event: Event, by_hash: Mapping[str, Value]) -> Iterator[Line]:
    path = event["path"]
    for place in ("query", "form"):
        for name, value in event[place].items():
            yield Line(place, name, text_of(value), explain("parameter", name, path), _followed(value, by_hash))
    for name, value in event["request_headers"].items():
        yield Line("header", name, text_of(value), explain("header", name, path), _followed(value, by_hash))
    if isinstance(body := event.get("json"), dict):
        for name, value in body.items():
            explanation = explain("member", name, path) or explain("parameter", name, path)
            yield Line("body", name, text_of(value), explanation, _followed(value, by_hash))
            yield from _nested_lines("body", "member", name, value, path, by_hash)


def _response_lines(event: Event, by_hash: Mapping[str, Value]) -> Iterator[Line]:
    path = event["path"]
    status = str(event["status"])
    # the meanings of statuses that refuse something belong to the refusals of OAuth
    explanation = explain("status", status, path) if event["status"] < 400 or has_clause(event) else None
    yield Line("status", status, phrase(event["status"]), explanation)
    for name, value in event["response_headers"].items():
        yield Line("response header", name, text_of(value), explain("header", name, path))
        if name == "location" and isinstance(value, dict):
            for parameter, text in value.get("parameters", {}).items():
                explanation = _explain_error(parameter, text, path) or explain("parameter", parameter, path)
                yield Line("location", parameter, text_of(text), explanation, _followed(text, by_hash))
    if isinstance(event["body"], dict):
        for name, value in event["body"].items():
            explanation = _explain_error(name, value, path) or explain("member", name, path)
            yield Line("response body", name, _claim_text(name, value), explanation, _followed(value, by_hash))
            yield from _nested_lines("response body", "member", name, value, path, by_hash)


def _followed(recorded: Any, by_hash: Mapping[str, Value]) -> Value | None:
    """Return the value to follow for something recorded: a mark, an `Authorization` header, or a list of these."""
    if is_mark(recorded):
        return by_hash.get(recorded["hash"])
    if isinstance(recorded, dict):
        return _followed(recorded.get("token"), by_hash)
    values = (_followed(item, by_hash) for item in recorded) if isinstance(recorded, list) else ()
    return next((value for value in values if value), None)


def _nested_lines(
    place: str, kind: str, name: str, value: Any, path: str, by_hash: Mapping[str, Value]
) -> Iterator[Line]:
    """Yield the members of objects within a body or a claim, with names such as `keys[0].kid`."""
    pending = [(name, value)]
    remaining = MAX_NESTED
    while pending and remaining:
        name, value = pending.pop(0)
        if isinstance(value, list):
            pending[:0] = [(f"{name}[{number}]", item) for number, item in enumerate(value[:remaining])]
        elif not is_text(value):
            for member, item in [*value.items()][:remaining]:
                remaining -= 1
                full_name = f"{name}.{member}"
                explanation = explain(kind, re.sub(r"\[\d+\]", "", full_name), path) or explain(kind, member, path)
                yield Line(place, full_name, text_of(item), explanation, _followed(item, by_hash))
                pending.append((full_name, item))


def _explain_error(name: str, value: Any, path: str) -> Explanation | None:
    """Return the explanation of an error code if the parameter or member is `error`."""
    return explain("error", value, path) if name == "error" else None


def _tokens(event: Event, keys: KeySet, picture: Picture, number: int, by_hash: Mapping[str, Value]) -> Iterator[Token]:
    seen = set()
    for place, mark in marks(event):
        claims = mark.get("unverified_claims")
        if not isinstance(claims, dict) or mark["hash"] in seen:
            continue
        seen.add(mark["hash"])
        whole = mark.get("value", "")
        if whole:
            signed, verdict = keys.verdict(whole, place.name, _client_keys(picture))
        else:
            signed, verdict = None, "the token was not kept in full"
        header = mark.get("unverified_header") or {}
        lines = [Line("jose", name, text_of(value), explain("jose", name)) for name, value in header.items()]
        for name, value in claims.items():
            lines.append(
                Line("claim", name, _claim_text(name, value), explain("claim", name), _followed(value, by_hash))
            )
            lines += _nested_lines("claim", "claim", name, value, event["path"], by_hash)
        expires = claims.get("exp")
        ended, was_valid = _end(mark["hash"], picture, number)
        yield Token(
            place.name,
            segments(whole) if whole else [],
            signed,
            verdict,
            float(expires) if isinstance(expires, int | float) and abs(expires) < LATEST else None,
            ended,
            was_valid,
            lines,
            whole,
        )


def _end(token: str, picture: Picture, number: int) -> tuple[str, bool]:
    """Return why a token is no longer valid, and whether it ended only after this message.

    The reason is empty if no message shows that the token has ended.

    A message that shows more than that the API refused the token is preferred.

    Args:
        token: the recorder's hash of the token.
    """
    codes = {_code(event) for event in picture.messages if _has(event, token)} - {None}
    refused = ("", False)
    for other, event in enumerate(picture.messages, 1):
        is_nested = event["trace"] is not None and event["trace"] == picture.messages[number - 1]["trace"]
        is_later = other > number and not is_nested
        where = "in this message" if other == number else f"{'later, ' if is_later else ''}in message {other}"
        if _is_replay(event) and _code(event) in codes:
            return f"Revoked {where}, because the code was used again", is_later
        if not _has(event, token):
            continue
        if event["path"] == "/revoke" and event["status"] == 200:
            return f"Revoked {where}", is_later
        if isinstance(event["body"], dict) and event["body"].get("active") is False:
            is_revoked = any(check["name"] == "introspect.revoked" and not check["passed"] for check in event["checks"])
            what = "Revoked" if is_revoked else "Not active"
            return f"{what}, according to the authorization server {where}", is_later
        if event["status"] == 401 and event["to"] == "resource_server" and not refused[0]:
            refused = f"Refused by the API {where}", is_later
    return refused


def _has(event: Event, value: str) -> bool:
    return any(mark["hash"] == value for _, mark in marks(event))


def _code(event: Event) -> str | None:
    """Return the hash of the code in a token request."""
    code = event["form"].get("code") if "grant_type" in event["form"] else None
    return code["hash"] if is_mark(code) else None


def _is_replay(event: Event) -> bool:
    return any(check["name"] == "token.code_once" and not check["passed"] for check in event["checks"])


_TIMES: Final = frozenset({"exp", "iat", "nbf", "auth_time", "updated_at"})
"""Claims and members that are times in seconds since 1970 (RFC 7519 section 4.1, OpenID Connect Core section 5.1)."""


def _claim_text(name: str, value: Any) -> str:
    is_time = name in _TIMES and isinstance(value, int | float) and abs(value) < LATEST
    return f"{value} ({_time(value)})" if is_time else text_of(value)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _client_keys(picture: Picture) -> list[dict[str, Any]]:
    """Return the clients' keys that the flow registers or that the server fetches in it (RFC 7591 section 2)."""
    bodies = [(event["from"], event["body"]) for event in picture.messages if isinstance(event["body"], dict)]
    key_sets = [body if sender == "authorization_server" else body.get("jwks") for sender, body in bodies]
    key_lists = (key_set.get("keys") for key_set in key_sets if isinstance(key_set, dict))
    return [key for keys in key_lists if isinstance(keys, list) for key in keys if isinstance(key, dict)]


def _pkce_steps(event: Event, picture: Picture, number: int) -> list[tuple[str, str]]:
    """Return the steps of the PKCE comparison if the message has a verifier and an earlier message has a challenge.

    If no earlier challenge belongs to the verifier, the most recent challenge is used.
    """
    verifiers = [mark for place, mark in marks(event) if place.name == "code_verifier" and mark.get("value")]
    if not verifiers:
        return []
    challenges = [
        mark
        for other in picture.messages[: number - 1]
        for place, mark in marks(other)
        if place.name == "code_challenge" and mark.get("value")
    ]
    matching = [mark for mark in challenges if mark["hash"] in event["handles"]]
    return pkce(verifiers[0]["value"], (matching or challenges)[-1]["value"]) if challenges else []


def _check_texts(check: dict[str, Any]) -> dict[str, str]:
    return {
        "name": str(check["name"]),
        "passed": "yes" if check["passed"] else "",
        "expected": "" if check["expected"] is None else text_of(check["expected"]),
        "actual": "" if check["actual"] is None else text_of(check["actual"]),
        "clause": str(check["clause"]),
    }
