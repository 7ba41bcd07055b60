"""Events: the recorded form of exchanges, without their secrets.

An event (schema 3) has these members:

- `id`: sorts by the start of the exchange; `schema`; `at` (seconds, the lab's clock);
- `role`: who recorded the event; `direction`: received or sent; `from`; `to`; `channel`: front (through the browser) or
  back;
- `method`, `host`, `base` (the path of the issuer, usually empty), `path` (below `base`), `query`, `form`, `json` (of a
  request with a JSON body; otherwise null), `request_headers`;
- `status` and `failure`, one of which is null; `response_headers`; `body` (of a JSON response); `milliseconds`;
- `checks`, with what they declare, and `changes` that the service reported; `cut`: the members that are incomplete
  because they were too long;
- `handles`: the keyed hashes of the values that join events; of these, `chosen` (by a client) and `presented` (to a
  server that has not confirmed that they are valid);
- `trace` and `span`, from the request's `traceparent`; `serving` (random): shared by a received request and the
  requests that were sent while serving it;
- `process` (random); `dropped`: how many events this process had lost before.

Reading adds `flow`, and to sent messages `shadowed`: whether the receiver recorded the message too. Schema 2 does not
have `json`, `cut`, `presented`, and `serving`; `base` is optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import getrandbits
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import orjson

from rolecall import clock
from rolecall_lab.recording.redaction import Redaction
from rolecall_lab.recording.rules import MAX_ITEMS, RANDOM, REGISTRATION_PATH
from rolecall_lab.recording.wiping import compact
from rolecall_lab.settings import LabSettings, Party

SCHEMA: Final = 3
SUPPORTED_SCHEMAS: Final = frozenset({2, 3})
"""The schemas that can be read."""

MAX_FORM: Final = 64 * 1024
"""Maximum number of bytes of a request's body that are recorded."""

MAX_CONSTANT: Final = 200
"""Maximum length, in characters, of the facts of a check whose JSON is kept for the next exchange."""

MAX_CHECKS: Final = 1000
"""Maximum number of these checks."""

_check_texts: dict[tuple[Any, ...], orjson.Fragment] = {}
"""Checks as JSON, by the types of their facts and by their values."""

_DECLARED: Final = ("name", "passed", "clause", "description", "after")
"""The members of a check that are not redacted, because they are constants of the service."""

_HASHABLE: Final = (str, int, float)

_CALLERS: Final[dict[str, Party]] = {"/introspect": "resource_server"}
"""Callers on the back channel that are not the client, by path; an event of the sender is more reliable."""


@dataclass(slots=True)
class Exchange:
    """A request and its response, including all secrets; it only ever exists in memory."""

    direction: str
    method: str
    url: str
    request_headers: Mapping[str, str]
    milliseconds: float
    back_channel: bool = True
    trace: str | None = None
    serving: str = ""
    request_body: bytes = b""
    status: int | None = None
    failure: str | None = None
    response_headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    notes: list[dict[str, Any]] = field(default_factory=list)
    own_cookies: tuple[str, ...] = ()
    ended: float = field(default_factory=clock.now)
    offset: float = field(default_factory=clock.offset)

    @property
    def size(self) -> int:
        """Return the approximate size in bytes, from the parts that can be large."""
        return 2000 + len(self.url) + len(self.request_body) + len(self.body)


def encode(exchange: Exchange, lab: LabSettings, **further: Any) -> bytes:
    """Return the event of an exchange as JSON, with only what may be recorded.

    Args:
        further: members that are not from the exchange.
    """
    redaction = Redaction(lab.lab_key, exchange.own_cookies)
    cut: list[str] = []
    parts = urlsplit(exchange.url)
    headers = {name.lower(): text for name, text in exchange.request_headers.items()}
    redaction.keeps_tokens = REGISTRATION_PATH.search(parts.path) is None
    if exchange.direction == "received":
        redaction.identities = frozenset(note["value"] for note in exchange.notes if note["kind"] == "identity")
    base = lab.base_path(lab.role_of(exchange.url) if exchange.direction == "sent" else lab.role, parts.path)
    request_members = _redact_request(exchange, redaction, cut, parts, base, headers)
    requested, redaction.handles = redaction.handles, set()
    redaction.identities = None  # a service only returns identities that it knows
    redacted = request_members | _redact_response(exchange, redaction, cut)
    returned = redaction.handles
    redaction.link_hash_claims()
    began = exchange.ended - exchange.milliseconds / 1000
    parties = _parties(exchange, lab, parts.path.removeprefix(base))
    trace, span = _trace(headers.get("traceparent", ""))

    def event(members: dict[str, Any]) -> dict[str, Any]:
        is_accepted = _is_accepted(exchange, parties["to"], members)
        return {
            # by the system's clock, so that a change of the lab's clock does not change the order
            "id": f"{int((began - exchange.offset) * 1e6):016x}{getrandbits(32):08x}",
            "schema": SCHEMA,
            "at": round(began, 6),
            "role": lab.role,
            "direction": exchange.direction,
            **parties,
            "method": exchange.method[:20],
            **members,
            "status": exchange.status,
            "failure": exchange.failure,
            "milliseconds": round(exchange.milliseconds, 2),
            "cut": cut,
            "handles": sorted(requested | returned),
            "chosen": sorted(redaction.chosen),
            "presented": [] if is_accepted else sorted(requested - returned - redaction.chosen),
            "trace": exchange.trace or trace,
            "span": span,
            "serving": exchange.serving or None,
            **further,
        }

    text = redaction.complete(event(redacted))
    if text is None:
        wiped = redaction.wipe({**redacted, "checks": _facts(exchange, redaction)})
        text = compact(event({**wiped, "checks": _declared(exchange, wiped["checks"])}))
    return text


def _checks(exchange: Exchange) -> list[dict[str, Any]]:
    return [note for note in exchange.notes if note["kind"] == "check"]


def _facts(exchange: Exchange, redaction: Redaction) -> list[dict[str, Any]]:
    return [{key: redaction.fact(check.get(key)) for key in ("expected", "actual")} for check in _checks(exchange)]


def _declared(exchange: Exchange, facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add what the checks declare, which is never wiped, because it is constant."""
    return [
        {key: check.get(key) for key in _DECLARED} | fact for check, fact in zip(_checks(exchange), facts, strict=True)
    ]


def _encode_check(check: dict[str, Any], redaction: Redaction) -> dict[str, Any] | orjson.Fragment:
    """Return a check, with redacted facts; if it may be the same each time, as most are, it is kept as JSON."""
    facts = (check.get("expected"), check.get("actual"))
    kinds = (type(facts[0]), type(facts[1]))
    # equal values of different types differ in JSON, and a `Secret` equals its text
    if kinds == (str, str):
        name = tuple(check.values())
    else:
        name = (*kinds, *map(_hashable, facts), *map(check.get, _DECLARED))
    text = _check_texts.get(name)
    if text is not None:
        return text
    encoded = {key: check.get(key) for key in _DECLARED}
    encoded |= {"expected": redaction.fact(facts[0]), "actual": redaction.fact(facts[1])}
    if all(map(_is_constant, facts)):
        if len(_check_texts) >= MAX_CHECKS:
            _check_texts.clear()
        with suppress(TypeError):  # a surrogate
            _check_texts[name] = orjson.Fragment(orjson.dumps(encoded))
    return encoded


def _hashable(value: Any) -> Any:
    """Return a hashable value that is equal only for equal inputs."""
    if type(value) is list and all(type(each) is str for each in value):
        return tuple(value)
    return value if value is None or isinstance(value, _HASHABLE) else object()


def _is_constant(fact: Any) -> bool:
    """Return whether a fact may be the same each time and is recorded unchanged, regardless of the exchange."""
    if type(fact) is list:
        return len(fact) < MAX_ITEMS and all(type(each) is str and _is_constant(each) for each in fact)
    return fact is None or (type(fact) is str and len(fact) < MAX_CONSTANT and RANDOM.search(fact) is None)


def full_path(event: Mapping[str, Any]) -> str:
    """Return the path of an event's request line."""
    return f"{event.get('base', '')}{event['path']}"


def is_json(content_type: str) -> bool:
    """Return whether a media type is JSON or based on JSON (RFC 6839 section 3.1)."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _redact_request(
    exchange: Exchange, redaction: Redaction, cut: list[str], parts: SplitResult, base: str, headers: dict[str, str]
) -> dict[str, Any]:
    def part(name: str, value: Any) -> Any:
        return _part(name, value, redaction, cut)

    content_type = headers.get("content-type", "")
    return {
        "host": (parts.netloc.rpartition("@")[2] or headers.get("host", ""))[:200],
        "base": base,
        "path": part("path", redaction.request_path(parts.path.removeprefix(base) or "/")),
        "query": part("query", redaction.query(parts.query)),
        "form": part("form", _form(redaction, exchange.request_body) if _is_form(content_type) else {}),
        "json": part("json", redaction.json_body(exchange.request_body) if is_json(content_type) else None),
        "request_headers": part("request_headers", redaction.request_headers(headers)),
    }


def _redact_response(exchange: Exchange, redaction: Redaction, cut: list[str]) -> dict[str, Any]:
    def part(name: str, value: Any) -> Any:
        return _part(name, value, redaction, cut)

    headers = [(name.lower(), text) for name, text in exchange.response_headers]
    has_json = is_json(dict(headers).get("content-type", ""))
    return {
        "response_headers": part("response_headers", redaction.response_headers(headers)),
        "body": part("body", redaction.json_body(exchange.body, is_response=True) if has_json else None),
        "checks": part(
            "checks",
            [_encode_check(check, redaction) for check in _checks(exchange)],
        ),
        "changes": part(
            "changes",
            [
                {key: redaction.fact(each) for key, each in note.items() if key != "kind"}
                for note in exchange.notes
                if note["kind"] == "state"
            ],
        ),
    }


def _part(name: str, value: Any, redaction: Redaction, cut: list[str]) -> Any:
    """Return `value`, and add `name` to `cut` if the redaction has left out some of it."""
    if redaction.cut:
        cut.append(name)
        redaction.cut = False
    return value


def _is_accepted(exchange: Exchange, to: str, members: dict[str, Any]) -> bool:
    """Return whether a server has accepted the values it received: the token of a call, or the input of a grant.

    Responses to questions about a token do not count, because they are successful for invalid tokens too (RFC 7662
    section 2.2, RFC 7009 section 2.2).
    """
    if to == "client" or exchange.status is None or exchange.status >= 400:
        return False
    return "token" in members["request_headers"].get("authorization", {}) or "grant_type" in members["form"]


def _parties(exchange: Exchange, lab: LabSettings, path: str) -> dict[str, Party | str]:
    if exchange.direction == "sent":
        return {"from": lab.role, "to": lab.role_of(exchange.url), "channel": "back"}
    if exchange.back_channel:
        return {"from": _CALLERS.get(path, "client"), "to": lab.role, "channel": "back"}
    return {"from": "browser", "to": lab.role, "channel": "front"}


def _trace(traceparent: str) -> tuple[str | None, str | None]:
    parts = traceparent.split("-")
    return (parts[1][:32], parts[2][:16]) if len(parts) == 4 else (None, None)


def _form(redaction: Redaction, body: bytes) -> dict[str, Any]:
    redaction.cut |= len(body) > MAX_FORM
    return redaction.query(body[:MAX_FORM].decode(errors="replace"))


def _is_form(content_type: str) -> bool:
    return content_type.startswith("application/x-www-form-urlencoded")
