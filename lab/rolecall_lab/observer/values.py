"""The values of a flow that can be followed, such as codes and tokens: their places, and the parties that had them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from zlib import crc32

from rolecall.vocabulary import ACCESS_TOKEN_TYPE
from rolecall_lab.observer.texts import is_mark
from rolecall_lab.recording.rules import MIN_SECRET

Event = dict[str, Any]
Side = Literal["request", "response"]

_MARKS: Final[dict[str, tuple[str, int]]] = {
    "state": ("circle", 0),
    "nonce": ("circle", 5),
    "code": ("diamond", 3),
    "pkce": ("triangle", 2),
    "access_token": ("star", 4),
    "refresh_token": ("hexagon", 1),
    "id_token": ("cross", 6),
    "interaction": ("square", 7),
    "request": ("hexagon", 7),
}
"""The shape and color of each kind of value in every flow. All other kinds are squares."""

MAX_VALUES: Final = 200
"""Values followed per flow, in the order in which they appear."""

MAX_NAME: Final = 26
"""Characters of a value's name."""

COLORS: Final = 8
"""Colors in the style sheet (`v0` to `v7`)."""

KINDS: Final[dict[str, str]] = {
    "code_challenge": "pkce", "code_verifier": "pkce", "id_token_hint": "id_token",
    "at_hash": "access_token", "ath": "access_token", "c_hash": "code", "dpop_jkt": "jkt",
}  # fmt: skip
"""The kind of each value whose kind is not its name, including hashes of other values."""

_LABELS: Final = {"pkce": "PKCE", "jkt": "proof key"}

_HASHES: Final = frozenset({"at_hash", "c_hash", "ath"})

_GENERIC_NAMES: Final = frozenset({"token", "subject_token", "actor_token", "authorization", "assertion"})
"""Names that any kind of token can have; another message shows which kind it is."""

_FRONT_CHANNEL = frozenset({"browser", "client", "authorization_server"})
MAY_SEE: Final[dict[str, frozenset[str]]] = {
    "state": _FRONT_CHANNEL,
    "nonce": _FRONT_CHANNEL,
    "code": _FRONT_CHANNEL,
    "code_challenge": _FRONT_CHANNEL,
    "code_verifier": frozenset({"client", "authorization_server"}),
    "access_token": frozenset({"client", "authorization_server", "resource_server"}),
    "refresh_token": frozenset({"client", "authorization_server"}),
    "interaction": frozenset({"browser", "authorization_server"}),
    "id_token": frozenset({"client", "authorization_server"}),
    "client_assertion": frozenset({"client", "authorization_server"}),
    "request_uri": _FRONT_CHANNEL,
    "id_token_hint": _FRONT_CHANNEL,
    "subject_token": frozenset({"client", "authorization_server", "resource_server"}),
    "actor_token": frozenset({"client", "authorization_server", "resource_server"}),
    "device_code": frozenset({"client", "authorization_server"}),
    "user_code": frozenset({"browser", "client", "authorization_server"}),
}
"""The parties that each kind of value is meant for (RFC 9700 sections 2 and 4). Kinds not listed are not restricted."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is in an exchange: in the request or the response, and under which name."""

    side: Side
    name: str


@dataclass(slots=True)
class Value:
    """A value with all its names. A code verifier and its challenge count as one value.

    Args:
        kind: determines the shape and the color.
        label: the name in the picture, with a number if the flow has several values of the kind.
        shown: for each name, the beginning of the value.
        seen_by: for each lane, the names under which the party had the value.
        places: for each event ID, where the value is in that exchange.
        hashes: the recorder's hashes of the value in all its forms.
    """

    number: int
    kind: str
    label: str
    shown: dict[str, str] = field(default_factory=dict)
    seen_by: dict[str, set[str]] = field(default_factory=dict)
    places: dict[str, list[Place]] = field(default_factory=dict)
    hashes: set[str] = field(default_factory=set)

    @property
    def shape(self) -> str:
        """The name of the shape."""
        return self._mark[0]

    @property
    def color(self) -> int:
        """The number of the color, from 0; all kinds without a specific color share the same one."""
        return self._mark[1]

    @property
    def _mark(self) -> tuple[str, int]:
        return _MARKS.get(self.kind) or ("square", crc32(self.kind.encode(errors="replace")) % COLORS)

    def leaked_to(self) -> set[str]:
        """Return the lanes of the parties that had the value although it is not meant for them."""
        return {
            lane
            for lane, names in self.seen_by.items()
            for name in names
            if lane not in MAY_SEE.get(name, frozenset({lane}))
        }


def collect_values(events: list[Event]) -> list[Value]:
    """Return the values of a flow in the order in which they first appear."""
    names = token_names(events)
    challenges = {mark["hash"] for event in events for place, mark in marks(event) if place.name == "code_challenge"}
    aliases = _hash_aliases(events)
    values: dict[str, Value] = {}
    for event in events:
        for place, mark in marks(event):
            # Each proof is used once, and its key is followed instead. The consent page's `request` is a fingerprint.
            if place.name == "dpop" or (place.name == "request" and event["path"] == "/consent"):
                continue
            name = place.name if place.name not in _GENERIC_NAMES else names.get(mark["hash"], place.name)
            name = "".join(character for character in name if character.isprintable())[:MAX_NAME]
            kind = KINDS.get(name, name)
            key = aliases.get(mark.get("value"), mark["hash"]) if place.name in _HASHES else mark["hash"]
            if name == "code_verifier":
                # The recorder adds the hash of the challenge to the event's handles (RFC 7636 section 4.6).
                key = next((handle for handle in event["handles"] if handle in challenges), key)
            value = values.get(key)
            if value is None:
                if len(values) == MAX_VALUES:
                    continue
                value = values[key] = Value(len(values), kind, kind)
            _add_place(value, name, place, event, mark)
    result = [*values.values()]
    _number_labels(result)
    return result


def _hash_aliases(events: list[Event]) -> dict[Any, str]:
    """Map hash claims such as `at_hash` to the token or code that they are a hash of, if the flow has it.

    If the recorder saw both, the mark of the claim has the hash of the token (OpenID Connect Core section 3.1.3.6).
    """
    all_marks = [(place, mark) for event in events for place, mark in marks(event)]
    hashed = {mark["hash"] for place, mark in all_marks if place.name not in _HASHES}
    return {
        mark.get("value"): mark["hash"] for place, mark in all_marks if place.name in _HASHES and mark["hash"] in hashed
    }


def _add_place(value: Value, name: str, place: Place, event: Event, mark: dict[str, Any]) -> None:
    value.shown.setdefault(name, mark.get("shown") or f"{mark['value'][:6]}…")
    value.hashes.add(mark["hash"])
    value.places.setdefault(event["id"], []).append(Place(place.side, place.name))
    # A request without a response may not have reached its receiver.
    lanes = (event["from"],) if event["status"] is None else (event["from"], event["to"])
    for lane in lanes:
        value.seen_by.setdefault(lane, set()).add(name)


def _number_labels(values: list[Value]) -> None:
    by_kind: dict[str, list[Value]] = {}
    for value in values:
        by_kind.setdefault(value.kind, []).append(value)
    for kind, same_kind in by_kind.items():
        for number, value in enumerate(same_kind, 1):
            value.label = _LABELS.get(kind, kind) + (f" {number}" if len(same_kind) > 1 else "")


def marks(event: Event) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the recorder's marks in an exchange, each with its place, including those inside JWTs."""
    yield from _marks(event["query"], "request")
    yield from _marks(event["form"], "request")
    yield from _marks(event.get("json"), "request")
    yield from _marks(event["request_headers"], "request")
    yield from _marks(event["response_headers"].get("location"), "response")
    yield from _marks(event["body"], "response")


def _marks(value: Any, side: Side, name: str = "") -> Iterator[tuple[Place, dict[str, Any]]]:
    if isinstance(value, dict):
        if is_mark(value):
            if name and ("shown" in value or len(value["value"]) >= MIN_SECRET):
                yield Place(side, name), value
            for place, mark in _marks(value.get("unverified_claims"), side, name):
                # The nonce of a DPoP proof is the server's, not that of an ID token (RFC 9449 section 8).
                if (name, place.name) != ("dpop", "nonce"):
                    yield place, mark
            yield from _marks(value.get("jkt"), side, "jkt")
            return
        for key, member in value.items():
            # The token of an Authorization header is recorded as a member of it.
            member_name = "authorization" if name == "authorization" and key == "token" else str(key)
            yield from _marks(member, side, member_name)
    elif isinstance(value, list):
        for item in value:
            yield from _marks(item, side, name)


def token_names(events: list[Event]) -> dict[str, str]:
    """Map the hashes of values to their specific names, to identify tokens that also appear under a generic name."""
    names: dict[str, str] = {}
    for event in events:
        for place, mark in marks(event):
            if place.name not in _GENERIC_NAMES:
                names.setdefault(mark["hash"], place.name)
            elif (mark.get("unverified_header") or {}).get("typ") == ACCESS_TOKEN_TYPE:
                names.setdefault(mark["hash"], "access_token")
        if "authorization" in event["request_headers"]:
            for place, mark in marks(event):
                if place.name == "authorization":
                    registers = event["path"].startswith("/register")
                    names.setdefault(mark["hash"], "registration_access_token" if registers else "access_token")
    return names
