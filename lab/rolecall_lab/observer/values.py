"""The values of a flow that can be followed (codes, tokens, state and the like): where they are, and who saw them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rolecall_lab.observer.texts import is_mark
from rolecall_lab.recording.rules import MIN_SECRET

Event = dict[str, Any]
Side = Literal["request", "answer"]

SHAPES: Final[dict[str, str]] = {
    "state": "circle",
    "nonce": "circle",
    "code": "diamond",
    "pkce": "triangle",
    "access_token": "star",
    "refresh_token": "hexagon",
    "id_token": "cross",
    "interaction": "square",
}
"""By kind; others are squares."""

MOST: Final = 200
"""Values of a flow; of one that has more, the first are followed."""

MOST_NAME: Final = 26

COLOURS: Final = 8
"""How many the style sheet has (`v0` to `v7`); after that they come again."""

KINDS: Final[dict[str, str]] = {
    "code_challenge": "pkce", "code_verifier": "pkce", "id_token_hint": "id_token",
    "at_hash": "access_token", "ath": "access_token", "c_hash": "code", "dpop_jkt": "jkt",
}  # fmt: skip
"""What is called otherwise than what it carries, or is the hash of."""

_LABELS: Final = {"pkce": "PKCE", "jkt": "proof key"}

_HASHES: Final = frozenset({"at_hash", "c_hash", "ath"})

_OPEN: Final = frozenset({"token", "subject_token", "actor_token", "authorization", "assertion"})
"""Names under which any token may travel: what it is, another message says."""

_EVERYBODY = frozenset({"browser", "client", "authorization_server"})
MAY_SEE: Final[dict[str, frozenset[str]]] = {
    "state": _EVERYBODY,
    "nonce": _EVERYBODY,
    "code": _EVERYBODY,
    "code_challenge": _EVERYBODY,
    "code_verifier": frozenset({"client", "authorization_server"}),
    "access_token": frozenset({"client", "authorization_server", "resource_server"}),
    "refresh_token": frozenset({"client", "authorization_server"}),
    "interaction": frozenset({"browser", "authorization_server"}),
    "id_token": frozenset({"client", "authorization_server"}),
    "client_assertion": frozenset({"client", "authorization_server"}),
    "request_uri": _EVERYBODY,
    "id_token_hint": _EVERYBODY,
    "subject_token": frozenset({"client", "authorization_server", "resource_server"}),
    "actor_token": frozenset({"client", "authorization_server", "resource_server"}),
    "device_code": frozenset({"client", "authorization_server"}),
    "user_code": frozenset({"browser", "client", "authorization_server"}),
}
"""Whose eyes each is meant for (RFC 9700 sections 2 and 4); a kind that is not here is for anybody's."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands in a message: on which side, and under which name."""

    side: Side
    name: str


@dataclass(slots=True)
class Value:
    """One value, of which the names may be several: a verifier and its challenge are one pair.

    Args:
        kind: decides the shape.
        label: what it is called in the picture; numbered when the flow has several of its kind.
        shown: its beginning, by name.
        seen_by: lanes by the names under which they had it.
        places: by the id of the event.
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
        """The name of its shape."""
        return SHAPES.get(self.kind, "square")

    @property
    def colour(self) -> int:
        """The number of its colour."""
        return self.number % COLOURS

    def misplaced(self) -> set[str]:
        """The lanes that had it and should not have."""
        return {
            lane
            for lane, names in self.seen_by.items()
            for name in names
            if lane not in MAY_SEE.get(name, frozenset({lane}))
        }


def values(events: list[Event]) -> list[Value]:
    """All of a flow's values in the order in which they appeared."""
    names = token_names(events)
    challenges = {mark["hash"] for event in events for place, mark in marks(event) if place.name == "code_challenge"}
    # the recorder gives a hash the handle of what it is of, where it saw both (OpenID Connect Core section 3.1.3.6)
    whole = {mark["hash"] for event in events for place, mark in marks(event) if place.name not in _HASHES}
    hashes = [mark for event in events for place, mark in marks(event) if place.name in _HASHES]
    hashed = {mark.get("value"): mark["hash"] for mark in hashes if mark["hash"] in whole}
    found: dict[str, Value] = {}
    for event in events:
        for place, mark in marks(event):
            if place.name == "dpop":
                continue  # each is used once: its key is followed
            name = place.name if place.name not in _OPEN else names.get(mark["hash"], place.name)
            name = "".join(each for each in name if each.isprintable())[:MOST_NAME]
            kind = KINDS.get(name, name)
            key = hashed.get(mark.get("value"), mark["hash"]) if place.name in _HASHES else mark["hash"]
            if name == "code_verifier":
                # the recorder gives a verifier its challenge's handle (RFC 7636 section 4.6)
                key = next((each for each in event["handles"] if each in challenges), key)
            value = found.get(key)
            if value is None:
                if len(found) == MOST:
                    continue
                value = found[key] = Value(len(found), kind, kind)
            value.shown.setdefault(name, mark.get("shown") or f"{mark['value'][:6]}…")
            value.hashes.add(mark["hash"])
            value.places.setdefault(event["id"], []).append(Place(place.side, place.name))
            # what nobody answered may have reached nobody
            lanes = (event["from"],) if event["status"] is None else (event["from"], event["to"])
            for lane in lanes:
                value.seen_by.setdefault(lane, set()).add(name)
    result = [*found.values()]
    by_kind: dict[str, list[Value]] = {}
    for value in result:
        by_kind.setdefault(value.kind, []).append(value)
    for kind, same in by_kind.items():
        for number, value in enumerate(same, 1):
            value.label = _LABELS.get(kind, kind) + (f" {number}" if len(same) > 1 else "")
    return result


def marks(event: Event) -> Iterator[tuple[Place, dict[str, Any]]]:
    """What a message carries that can be followed, inside JWTs as well."""
    yield from _marks(event["query"], "request")
    yield from _marks(event["form"], "request")
    yield from _marks(event.get("json"), "request")
    yield from _marks(event["request_headers"], "request")
    yield from _marks(event["response_headers"].get("location"), "answer")
    yield from _marks(event["body"], "answer")


def _marks(value: Any, side: Side, name: str = "") -> Iterator[tuple[Place, dict[str, Any]]]:
    if isinstance(value, dict):
        if is_mark(value):
            if name and ("shown" in value or len(value["value"]) >= MIN_SECRET):
                yield Place(side, name), value
            for place, mark in _marks(value.get("unverified_claims"), side, name):
                # a proof's nonce is the server's, and not that of an ID token (RFC 9449 section 8)
                if (name, place.name) != ("dpop", "nonce"):
                    yield place, mark
            yield from _marks(value.get("jkt"), side, "jkt")
            return
        for key, each in value.items():
            # an Authorization header has its token as a member
            inner = "authorization" if name == "authorization" and key == "token" else str(key)
            yield from _marks(each, side, inner)
    elif isinstance(value, list):
        for each in value:
            yield from _marks(each, side, name)


def token_names(events: list[Event]) -> dict[str, str]:
    """What the tokens are that travel under names that say nothing, by their hashes."""
    found: dict[str, str] = {}
    for event in events:
        for place, mark in marks(event):
            if place.name not in _OPEN:
                found.setdefault(mark["hash"], place.name)
        if "authorization" in event["request_headers"]:
            for place, mark in marks(event):
                if place.name == "authorization":
                    registers = event["path"].startswith("/register")
                    found.setdefault(mark["hash"], "registration_access_token" if registers else "access_token")
    return found
