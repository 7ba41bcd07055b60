"""The names of people and clients, learned from all flows: a flow often has only their identifiers."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from rolecall_lab.recording.recorded_flow import client_id, client_name

Event = dict[str, Any]

MAX_NAMES: Final = 2000
"""Number of names that are kept."""

MAX_LENGTH: Final = 80
"""Maximum length of a name, in characters."""

_SEEDS: Final = Path(__file__).parents[1] / "seeds.yaml"
_VARIABLE: Final = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")


class Names:
    """Usernames by subject identifier, and client names by client ID, starting with those in the lab's seeds."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict(_seeded())

    def learn(self, events: Sequence[Event]) -> set[str]:
        """Learn the names in a flow, and return the identifiers whose names changed."""
        found = {
            str(event["body"]["client_id"]): name
            for event in events
            if (name := client_name(event)) and event["body"].get("client_id")
        }
        usernames = set(_usernames(events))
        if len(usernames) == 1:
            issued = [event for event in events if event["to"] == "authorization_server"]
            found |= dict.fromkeys(_subjects(event["body"] for event in issued), usernames.pop())
        changed = {key for key, name in found.items() if self._names.get(key) != name}
        for key in found:
            self._names[key] = found[key]
            self._names.move_to_end(key)
        while len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)
        return changed

    def client(self, events: Sequence[Event]) -> str:
        """Return the client's registered name, or else its ID; empty if the flow has neither."""
        registered = next((name for event in events if (name := client_name(event))), "")
        known = next((name for event in events if (name := _client_id(event))), "")
        return (registered or self._names.get(known, known))[:MAX_LENGTH]

    def person(self, events: Sequence[Event]) -> str:
        """Return the username of the person who signed in last, or whose token is used; empty if unknown."""
        names = [*_usernames(events)] or [self._names[each] for each in subjects(events) if each in self._names]
        attempted = [name for event in events if (name := _username(event))]
        return (names or attempted or [""])[-1][:MAX_LENGTH]


def identifiers(events: Sequence[Event]) -> frozenset[str]:
    """Return the identifiers in a flow that can have names."""
    clients = {name for event in events if (name := _client_id(event))}
    return frozenset(clients | {*subjects(events)})


def _client_id(event: Event) -> str | None:
    """Return the client ID in an event, or in the authorization request to which the client redirects the browser."""
    location = event["response_headers"].get("location") if event["to"] == "client" else None
    parameters = location.get("parameters") if isinstance(location, dict) else None
    requested = parameters.get("client_id") if isinstance(parameters, dict) else None
    return client_id(event) or (requested if isinstance(requested, str) else None)


def subjects(events: Sequence[Event]) -> list[str]:
    """Return the subject identifiers of people in a flow's tokens and introspection responses, without repetitions."""
    return _subjects(
        place
        for event in events
        for place in (event["body"], event["form"], event["request_headers"].get("authorization"))
    )


def _subjects(places: Iterable[Any]) -> list[str]:
    found = (claims for place in places if isinstance(place, dict) for claims in _claims(place))
    # the subject of a client credentials token or a client assertion is the client
    subs = (claims["sub"] for claims in found if claims["sub"] not in (claims.get("client_id"), claims.get("iss")))
    return [*dict.fromkeys(sub for sub in subs if isinstance(sub, str))]


def _claims(place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an object, and the claims of the tokens in it, as far as they have a subject."""
    tokens = (value.get("unverified_claims") for value in place.values() if isinstance(value, dict))
    for claims in (place, *tokens):
        if isinstance(claims, dict) and "sub" in claims:
            yield claims


def _usernames(events: Sequence[Event]) -> Iterator[str]:
    """Yield the usernames of successful sign-ins and of issued codes."""
    for event in events:
        if (event["status"] or 599) < 400 and (name := _username(event)):
            yield name
        owners = (each["actual"] for each in event["checks"] if each["name"] == "authorize.owner" and each["passed"])
        # events of earlier versions have the same text in both
        yield from (owner for owner in owners if isinstance(owner, str) and owner != "an active account")


def _username(event: Event) -> str:
    name = event["form"].get("username") if event["to"] == "authorization_server" else None
    return name if isinstance(name, str) else ""


def _seeded() -> dict[str, str]:
    """Return the names in the default seeds; names in other seeds are learned."""
    seeds = YAML(typ="safe").load(_SEEDS)
    people = {person["sub"]: person["username"] for person in seeds["people"]}
    return people | {_VARIABLE.sub(r"\1", client["client_id"]): client["client_name"] for client in seeds["clients"]}
