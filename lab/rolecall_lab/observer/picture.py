"""The content of a flow's picture: rows computed from its events, for the page, the exports, and the terminal.

No flow is special here: steps, lanes, and rows follow from which party sent which message to which party.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Final, Literal

from rolecall_lab.observer.explanations import explain
from rolecall_lab.observer.parts import Part, parts
from rolecall_lab.observer.values import Place, Side, Value, collect_values
from rolecall_lab.recording.event import full_path
from rolecall_lab.recording.recorded_flow import Loss, paired

Event = dict[str, Any]

STEPS: Final = (
    "The resource owner starts an action in the client",
    "The owner signs in at the authorization server and allows or denies access",
    "The client requests a token from the authorization server",
    "The client calls the resource server",
    "The resource server validates the token",
)
"""The titles of the five steps of the role diagram (RFC 6749 section 1.2)."""

OUTSIDE_STEPS: Final = "Outside the five steps"
"""The title of messages between a client and the authorization server that do not lead to a token."""

PARTIES: Final[dict[str, tuple[str, str]]] = {
    "browser": ("Owner's browser", "owner"),
    "client": ("Client", "client"),
    "authorization_server": ("Authorization server", "server"),
    "resource_server": ("Resource server", "resource"),
    **{f"other{number}": ("Other party", "other") for number in ("", 2, 3, 4, 5)},
    "others": ("Other parties", "other"),
    "redis": ("Redis", "store"),
    "sql": ("SQL", "store"),
}
"""The lanes from left to right, each with its title and tone. The title of an `other` lane is its host name."""

_OTHER_LANES: Final = tuple(key for key in PARTIES if key.startswith("other") and key != "others")
"""The lanes of hosts outside the stack, one each; any further hosts share the lane `others`."""

_TOKEN_PATHS: Final = frozenset({"/token", "/par", "/device_authorization", "/jwks"})
"""Paths at which a client requests a token, prepares the request, or fetches the keys that verify a token."""

_DECISION_PARAMETERS: Final = frozenset({"interaction", "response_type", "request_uri", "request", "user_code"})
"""Parameters of the authorization server's pages during an authorization; disconnecting an app has none of them."""

STORES: Final = ("redis", "sql")


@dataclass(frozen=True, slots=True)
class Lane:
    """A party, drawn as a column of the picture."""

    key: str
    title: str
    tone: str


@dataclass(slots=True)
class Row:
    """A row of the picture.

    Args:
        kind: `request` and `response` are arrows, `checks` and `change` are notes on the lane `start`, and `gap` is a
            line across the picture.
        step: the step of the role diagram, 1 to 5, or 0 outside the steps.
        start, end: keys of lanes; for `checks` both are the same, and for `change` the end is the store.
        number: the exchange's number, from 1; its request and its response have the same number.
        refused: whether the request was refused, or, on a request's own row, got no response.
        carried: the values in the message, each with the name it has there.
        part: `owner`, `setup`, or `cleanup` if it is not the protocol itself.
    """

    kind: Literal["request", "response", "checks", "change", "gap"]
    step: int
    start: str
    end: str
    text: str
    number: int = 0
    event: str = ""
    detail: str = ""
    front: bool = False
    refused: bool = False
    carried: list[tuple[Value, str]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    part: Part = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A flow, laid out. `from` and `to` of its messages are keys of its lanes."""

    lanes: tuple[Lane, ...]
    rows: tuple[Row, ...]
    values: tuple[Value, ...]
    messages: tuple[Event, ...]

    def title(self, key: str) -> str:
        """Return a lane's title."""
        return next((lane.title for lane in self.lanes if lane.key == key), PARTIES.get(key, PARTIES["other"])[0])

    def steps(self) -> list[tuple[int, str, list[list[Row]]]]:
        """Return the number, the title, and the rows of each step, with the adjacent rows of a message grouped."""
        return [
            (step, step_title(step), [[*group] for _, group in groupby(rows, lambda row: row.number)])
            for step, rows in groupby(self.rows, lambda row: row.step)
        ]


def lay_out(events: Sequence[Event], losses: Iterable[Loss] = (), omitted: tuple[int, str] = (0, "")) -> Picture:
    """Return the picture of a flow's events.

    Args:
        omitted: the number of events that were dropped, and the ID of the first event after them.
    """
    messages = [event for event in paired([*events]) if not event.get("shadowed")]
    lane_keys = _other_lanes(messages)
    messages = [
        {**event, "to": lane_keys.get(event["host"], "others")} if event["to"] == "other" else event
        for event in messages
    ]
    hosts = {key: host for host, key in lane_keys.items() if host}
    values = collect_values(messages)
    gaps = [(loss.until, _loss_text(loss)) for loss in losses]
    if omitted[0]:
        gaps.append((omitted[1], f"{omitted[0]} messages of this long flow were dropped"))
    rows = [*_rows(messages, values, gaps)]
    parties = {end for event in messages for end in (event["from"], event["to"])}
    parties |= {row.end for row in rows if row.kind == "change"}
    lanes = tuple(Lane(key, hosts.get(key, title), tone) for key, (title, tone) in PARTIES.items() if key in parties)
    return Picture(lanes, tuple(rows), tuple(values), tuple(messages))


def _other_lanes(messages: list[Event]) -> dict[str, str]:
    """Map each host outside the stack to its lane, in the order of their first messages."""
    hosts = dict.fromkeys(event["host"] for event in messages if event["to"] == "other")
    return dict(zip(hosts, _OTHER_LANES, strict=False))


def step_title(step: int) -> str:
    """Return the title of a step."""
    return STEPS[step - 1] if step else OUTSIDE_STEPS


def step_of(event: Event, has_token: bool) -> int:
    """Return the step of the role diagram that a message belongs to, or 0 if it belongs to none.

    A revocation, a registration, a userinfo request, and the page of connected apps belong to none.

    Args:
        has_token: whether an earlier message of the flow returned an access token.
    """
    if event["from"] == "resource_server":
        return 5
    if event["to"] == "resource_server":
        return 4
    if event["to"] == "authorization_server":
        if event["from"] == "browser":
            decides = _DECISION_PARAMETERS & (event["query"].keys() | event["form"].keys())
            return 2 if decides or event["path"] == "/authorize" else 0
        if event["path"] == "/introspect":
            return 5
        return 3 if "grant_type" in event["form"] or event["path"] in _TOKEN_PATHS else 0
    if event["path"] == "/callback" or "code" in event["query"]:
        return 2
    return 4 if has_token and event["method"] == "GET" else 1


def _rows(messages: list[Event], values: list[Value], gaps: list[tuple[str, str]]) -> Iterator[Row]:
    """Yield the rows in the order in which the requests began, each response after the messages it depended on."""
    inner = _inner_messages(messages)
    pending_gaps = sorted(gaps, reverse=True)
    carried: dict[str, list[tuple[Value, Place]]] = {}
    for value in values:
        for event_id, places in value.places.items():
            carried.setdefault(event_id, []).extend((value, place) for place in places)
    step, has_token = 1, False
    marked = parts(messages, inner)

    def message_rows(number: int, outer_part: Part = "") -> Iterator[Row]:
        """Yield the rows of a message; those between the request and the response belong to the request's part."""
        nonlocal step, has_token
        event = messages[number - 1]
        part = marked.get((number, "request"), outer_part)
        while pending_gaps and pending_gaps[-1][0] <= event["id"]:
            yield Row("gap", step, "", "", pending_gaps.pop()[1])
        # A document that the authorization server fetches for a client belongs to the request that it is handling.
        if part not in {"setup", "cleanup", "measurement"} and event["from"] != "authorization_server":
            step = step_of(event, has_token)
        event_values = carried.get(event["id"], [])
        yield replace(_request_row(event, number, step, event_values), part=part)
        inner_numbers = inner.get(number, [])
        for position, inner_number in enumerate(inner_numbers):
            yield from _check_rows(event, number, step, part, range(position, position + 1))
            yield from message_rows(inner_number, part)
        yield from _check_rows(event, number, step, part, range(len(inner_numbers), sys.maxsize))
        yield from _change_rows(event, number, step, part)
        response_part = marked.get((number, "response"), "" if (number, "request") in marked else outer_part)
        yield from _response_row(event, number, step, response_part, event_values)
        has_token = has_token or any(
            place.side == "response" and value.kind == "access_token" for value, place in event_values
        )

    for number in inner[0]:
        yield from message_rows(number)
    while pending_gaps:
        yield Row("gap", step, "", "", pending_gaps.pop()[1])


def _inner_messages(messages: list[Event]) -> dict[int, list[int]]:
    """Map the number of each message to the messages that its receiver sent before responding.

    The key 0 has all messages that were not sent while handling another message.
    """
    inner: dict[int, list[int]] = {0: []}
    starts = [_start_time(event["id"]) for event in messages]
    earlier: dict[str, list[int]] = {}
    for number, (event, start) in enumerate(zip(messages, starts, strict=True), 1):
        candidates = earlier.setdefault(event["trace"], []) if event["trace"] is not None else []
        outer = (
            other
            for other in reversed(candidates)
            if messages[other - 1]["to"] == event["from"]
            and start <= starts[other - 1] + messages[other - 1]["milliseconds"] / 1000
        )
        inner.setdefault(next(outer, 0), []).append(number)
        candidates.append(number)
    return inner


def _request_row(event: Event, number: int, step: int, carried: list[tuple[Value, Place]]) -> Row:
    is_unanswered = event["status"] is None
    return Row(
        "request",
        step,
        event["from"],
        event["to"],
        f"{event['method']} {full_path(event)}",
        number,
        event["id"],
        detail=_failure_text(event) if is_unanswered else "",
        front=event["channel"] == "front",
        refused=is_unanswered,
        carried=_carried_on(carried, "request"),
    )


def _check_rows(event: Event, number: int, step: int, part: Part, positions: range) -> Iterator[Row]:
    """Yield a row with the checks that the service made after it had sent so many messages.

    Events of earlier versions do not contain the position; their checks are at the end.
    """
    made = [check for check in event["checks"] if check.get("after", sys.maxsize - 1) in positions]
    checks = [*{(check["name"], check["passed"]): check for check in made}.values()]
    if checks:
        lane = _own_lane(event)
        failed = [check for check in checks if not check["passed"]]
        count = len(checks) - len(failed)
        text = f"{count} check{'s' if count != 1 else ''} passed" if count else ""
        row = Row("checks", step, lane, lane, text, number, event["id"], refused=bool(failed), checks=checks)
        yield replace(row, part=part)


def _change_rows(event: Event, number: int, step: int, part: Part) -> Iterator[Row]:
    for change in event["changes"]:
        store = change.get("store")
        if store in STORES:
            yield Row("change", step, _own_lane(event), store, _change_text(change), number, event["id"], part=part)


def _own_lane(event: Event) -> str:
    """Return the lane of the service that recorded the event."""
    return str(event["to"] if event["direction"] == "received" else event["from"])


def _response_row(
    event: Event, number: int, step: int, part: Part, carried: list[tuple[Value, Place]]
) -> Iterator[Row]:
    if event["status"] is None:
        return
    error = _error_code(event)
    refused = event["status"] >= 400 or bool(error)
    text = str(event["status"])
    if location := event["response_headers"].get("location"):
        text += f" → {_path(location)}"
    clause = _clause(event, error) if refused else ""
    yield Row(
        "response",
        step,
        event["to"],
        event["from"],
        f"{text} {error}".strip(),
        number,
        event["id"],
        detail=" · ".join(part for part in (clause, f"{event['milliseconds']:.0f} ms") if part),
        front=event["channel"] == "front",
        refused=refused,
        carried=_carried_on(carried, "response"),
        part=part,
    )


def _carried_on(carried: list[tuple[Value, Place]], side: Side) -> list[tuple[Value, str]]:
    """Return each value on one side of an exchange once, with the first name that it has there."""
    first_names: dict[int, tuple[Value, str]] = {}
    for value, place in carried:
        if place.side == side:
            first_names.setdefault(value.number, (value, place.name))
    return [*first_names.values()]


def _error_code(event: Event) -> str:
    """Return the error code in a response's body or in its redirect, or an empty string."""
    location = event["response_headers"].get("location")
    places = [event["body"], location.get("parameters") if isinstance(location, dict) else None]
    errors = (place.get("error") for place in places if isinstance(place, dict))
    return next((error for error in errors if isinstance(error, str)), "")


def _clause(event: Event, error: str) -> str:
    """Return the clause behind a refusal, or an empty string if no specification of the protocol is behind it.

    It is the clause of the failed check, of the error code, or of the challenge for a token (RFC 6750 section 3).
    """
    failed = [check["clause"] for check in event["checks"] if not check["passed"]]
    if failed:
        return str(failed[-1])
    # the codes of other statuses, such as 404 and 413, only repeat what HTTP says
    codes = (error, event["query"].get("error")) if event["status"] in {400, 401, 403} or event["status"] < 400 else ()
    for code in codes:
        explanation = explain("error", code) if code else None
        if explanation is not None:
            return explanation.rfc
    challenge = str(event["response_headers"].get("www-authenticate") or "")
    explanation = explain("status", str(event["status"]), event["path"]) if "Bearer" in challenge else None
    return explanation.rfc if explanation is not None else ""


def has_clause(event: Event) -> bool:
    """Return whether a clause of the protocol is behind a refusal."""
    return bool(_clause(event, _error_code(event)))


def _path(location: Any) -> str:
    url = str(location.get("url", "") if isinstance(location, dict) else location)
    _, marker, rest = url.partition("://")
    return "/" + rest.partition("/")[2] if marker else url


def _failure_text(event: Event) -> str:
    return f"no response: {event['failure']}" if event["failure"] else "no response"


def _change_text(change: dict[str, Any]) -> str:
    seconds = change.get("seconds")
    lifetime = f", {seconds:g} s" if isinstance(seconds, int | float) else ""
    key = re.sub(r"\b([0-9A-Za-z_-]{4})[0-9A-Za-z_-]{2,}…", r"\1…", str(change.get("key", "")))
    if key.count(":") > 1:  # The lane already shows which service the key belongs to.
        key = key.partition(":")[2]
    return f"{key} {change.get('change', '')}{lifetime}".strip()


def _loss_text(loss: Loss) -> str:
    if loss.role == "observer":
        return "Redis was emptied or full at this point; messages may be missing"
    noun = "message" if loss.number == 1 else "messages"
    return f"{loss.number} {noun} of the {PARTIES.get(loss.role, PARTIES['other'])[0].lower()} could not be recorded"


def _start_time(event_id: str) -> float:
    """Return the time at which an exchange began, in seconds of the system clock: its ID begins with microseconds."""
    try:
        return int(event_id[:16], 16) / 1e6
    except ValueError:
        return float("inf")
