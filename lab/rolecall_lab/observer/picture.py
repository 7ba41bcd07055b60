"""The layout of a flow's picture: rows from the events, once for the page, the export and the terminal.

Nothing here knows a flow: steps, lanes and marks follow from who sent what to whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, Literal

from rolecall_lab.observer.explanations import explain
from rolecall_lab.observer.values import Place, Value, values
from rolecall_lab.recording.flows import Loss, paired

Event = dict[str, Any]

STEPS: Final = (
    "The resource owner asks the client",
    "The owner is sent to the authorization server, signs in and decides",
    "The authorization server gives the client a token",
    "The client asks the resource server",
    "The resource server checks the token",
)
"""The five steps of the role diagram (RFC 6749 section 1.2), as the product tells them."""

BESIDE: Final = "Beside the five steps"
"""For what a client and the authorization server have to say to each other that gives no token."""

NAMES: Final[dict[str, tuple[str, str]]] = {
    "browser": ("Owner's browser", "owner"),
    "client": ("Client", "client"),
    "authorization_server": ("Authorization server", "server"),
    "resource_server": ("Resource server", "resource"),
    **{f"other{number}": ("Somebody else", "other") for number in ("", 2, 3, 4, 5)},
    "others": ("Others", "other"),
    "redis": ("Redis", "store"),
    "sql": ("SQL", "store"),
}
"""Lanes from left to right: what they are called, and their tone. Each further party is called by its host."""

_FURTHER: Final = tuple(key for key in NAMES if key.startswith("other") and key != "others")
"""A lane for each host that is none of the services; should there be more of them, the rest share one."""

_LEADS_TO_TOKEN: Final = frozenset({"/token", "/par", "/device_authorization", "/jwks"})
"""Where a client asks for a token, prepares to, or fetches the keys that it checks one with."""

_OF_AN_AUTHORIZATION: Final = frozenset({"interaction", "response_type", "request_uri", "request", "user_code"})
"""What a page of the authorization server is asked with while somebody decides; whoever disconnects names a client."""

STORES: Final = ("redis", "sql")


@dataclass(frozen=True, slots=True)
class Lane:
    """A party, a column of the picture."""

    key: str
    title: str
    tone: str


@dataclass(slots=True)
class Row:
    """A line of the picture.

    Args:
        kind: `request` and `answer` are arrows, `checks` and `change` notes on the lane `to`; `gap` goes across.
        number: of the exchange, from 1; both its arrows have it.
        step: of the role diagram, 1 to 5; 0 beside them.
        start, end: lanes; of a note both are the lane's.
        refused: whether the party at `start` of an answer (at `end` of a request that nobody answered) said no.
        carried: the values on an arrow, and the names that they have there.
    """

    kind: Literal["request", "answer", "checks", "change", "gap"]
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


@dataclass(frozen=True, slots=True)
class Picture:
    """A flow, laid out; the ends of its messages are its lanes' keys."""

    lanes: tuple[Lane, ...]
    rows: tuple[Row, ...]
    values: tuple[Value, ...]
    messages: tuple[Event, ...]

    def called(self, key: str) -> str:
        """What a lane is called."""
        return next((lane.title for lane in self.lanes if lane.key == key), NAMES.get(key, NAMES["other"])[0])

    def steps(self) -> list[tuple[int, str, list[list[Row]]]]:
        """The rows in frames: the step's number and title, and its rows, those of one message that follow each other
        together."""
        framed = [(step, [*rows]) for step, rows in groupby(self.rows, lambda row: row.step)]
        return [
            (step, title_of(step), [[*mine] for _, mine in groupby(rows, lambda row: row.number)])
            for step, rows in framed
        ]


def lay_out(events: Sequence[Event], losses: Iterable[Loss] = (), omitted: tuple[int, str] = (0, "")) -> Picture:
    """The picture of a flow's events.

    Args:
        omitted: how many events were not kept, and the id of the first one after them.
    """
    messages = [event for event in paired([*events]) if not event.get("shadowed")]
    further = _further(messages)
    messages = [
        {**event, "to": further.get(event["host"], "others")} if event["to"] == "other" else event for event in messages
    ]
    hosts = {key: host for host, key in further.items() if host}
    found = values(messages)
    gaps = [(loss.until, _told(loss)) for loss in losses]
    if omitted[0]:
        gaps.append((omitted[1], f"{omitted[0]} messages of this long flow are not kept"))
    rows = [*_rows(messages, found, gaps)]
    parties = {end for event in messages for end in (event["from"], event["to"])}
    parties |= {row.end for row in rows if row.kind == "change"}
    lanes = tuple(Lane(key, hosts.get(key, title), tone) for key, (title, tone) in NAMES.items() if key in parties)
    return Picture(lanes, tuple(rows), tuple(found), tuple(messages))


def _further(messages: list[Event]) -> dict[str, str]:
    """The lanes of the hosts that are none of the services, by host, in the order in which they were asked."""
    asked = dict.fromkeys(event["host"] for event in messages if event["to"] == "other")
    return dict(zip(asked, _FURTHER, strict=False))


def title_of(step: int) -> str:
    """What a step is called."""
    return STEPS[step - 1] if step else BESIDE


def step_of(event: Event, has_token: bool) -> int:
    """The step of the role diagram that a message belongs to; `has_token` when the flow has given a token already.

    0 for a revocation, a registration, what userinfo tells, one's connected apps: none of the five steps.
    """
    if event["from"] == "resource_server":
        return 5
    if event["to"] == "resource_server":
        return 4
    if event["to"] == "authorization_server":
        if event["from"] == "browser":
            decides = _OF_AN_AUTHORIZATION & (event["query"].keys() | event["form"].keys())
            return 2 if decides or event["path"] == "/authorize" else 0
        if event["path"] == "/introspect":
            return 5
        return 3 if "grant_type" in event["form"] or event["path"] in _LEADS_TO_TOKEN else 0
    if event["path"] == "/callback" or "code" in event["query"]:
        return 2
    return 4 if has_token else 1


def _rows(messages: list[Event], found: list[Value], gaps: list[tuple[str, str]]) -> Iterator[Row]:
    """Requests by their start; what a service asked on the way stands before its answer."""
    inner = _inner(messages)
    waiting = sorted(gaps, reverse=True)
    carried: dict[str, list[tuple[Value, Place]]] = {}
    for value in found:
        for identity, places in value.places.items():
            carried.setdefault(identity, []).extend((value, place) for place in places)
    step, has_token = 1, False

    def tell(number: int) -> Iterator[Row]:
        nonlocal step, has_token
        event = messages[number - 1]
        while waiting and waiting[-1][0] <= event["id"]:
            yield Row("gap", step, "", "", waiting.pop()[1])
        # what the authorization server fetches on a client's word it fetches for the request at hand
        if not event["path"].startswith("/.well-known/") and event["from"] != "authorization_server":
            step = step_of(event, has_token)
        mine = carried.get(event["id"], [])
        yield _request(event, number, step, mine)
        for each in inner.get(number, ()):
            yield from tell(each)
        yield from _notes(event, number, step)
        yield from _answer(event, number, step, mine)
        has_token = has_token or any(place.side == "answer" and value.kind == "access_token" for value, place in mine)

    for number in inner[0]:
        yield from tell(number)
    while waiting:
        yield Row("gap", step, "", "", waiting.pop()[1])


def _inner(messages: list[Event]) -> dict[int, list[int]]:
    """Map the number of each message to the messages that its receiver sent before responding; 0 has all others."""
    inner: dict[int, list[int]] = {0: []}
    starts = [_start(event["id"]) for event in messages]
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


def _request(event: Event, number: int, step: int, carried: list[tuple[Value, Place]]) -> Row:
    nobody = event["status"] is None
    return Row(
        "request",
        step,
        event["from"],
        event["to"],
        f"{event['method']} {event['path']}",
        number,
        event["id"],
        detail=_told_of_failure(event) if nobody else "",
        front=event["channel"] == "front",
        refused=nobody,
        carried=_unique(carried, "request"),
    )


def _notes(event: Event, number: int, step: int) -> Iterator[Row]:
    lane = event["to"] if event["direction"] == "received" else event["from"]
    checks = [*{(check["name"], check["passed"]): check for check in event["checks"]}.values()]
    if checks:
        failed = [check for check in checks if not check["passed"]]
        count = len(checks) - len(failed)
        text = f"{count} check{'s' if count != 1 else ''} passed" if count else ""
        yield Row("checks", step, lane, lane, text, number, event["id"], refused=bool(failed), checks=checks)
    for change in event["changes"]:
        store = change.get("store")
        if store in STORES:
            yield Row("change", step, lane, store, _told_of_change(change), number, event["id"])


def _answer(event: Event, number: int, step: int, carried: list[tuple[Value, Place]]) -> Iterator[Row]:
    if event["status"] is None:
        return
    error = _error(event)
    refused = event["status"] >= 400 or bool(error)
    text = str(event["status"])
    if location := event["response_headers"].get("location"):
        text += f" → {_path(location)}"
    clause = _clause(event, error) if refused else ""
    yield Row(
        "answer",
        step,
        event["to"],
        event["from"],
        f"{text} {error}".strip(),
        number,
        event["id"],
        detail=" · ".join(part for part in (clause, f"{event['milliseconds']:.0f} ms") if part),
        front=event["channel"] == "front",
        refused=refused,
        carried=_unique(carried, "answer"),
    )


def _unique(carried: list[tuple[Value, Place]], side: str) -> list[tuple[Value, str]]:
    named = {(value.number, place.name): (value, place.name) for value, place in carried if place.side == side}
    return [*{value.number: (value, name) for value, name in reversed(named.values())}.values()][::-1]


def _error(event: Event) -> str:
    """The error code that an answer carries: in its body, or in the redirect."""
    location = event["response_headers"].get("location")
    places = [event["body"], location.get("parameters") if isinstance(location, dict) else None]
    found = (place.get("error") for place in places if isinstance(place, dict))
    return next((error for error in found if isinstance(error, str)), "")


def _clause(event: Event, error: str) -> str:
    """Where the rule stands by which somebody said no: that of the check that failed, else of the error or status."""
    failed = [check["clause"] for check in event["checks"] if not check["passed"]]
    status = event["status"]
    # a redirect, and the statuses of which RFC 6749 and RFC 6750 say what they mean, are about the error
    of_error = status in {400, 401, 403} or status < 400
    known = [
        *([explain("error", each) for each in (error, event["query"].get("error"))] if of_error else []),
        explain("status", str(status), event["path"]) if status >= 400 else None,
    ]
    otherwise = "RFC 6749 section 4.1.2.1" if status < 400 else f"RFC 9110 section 15.{5 if status < 500 else 6}"
    return str(next((each for each in (*reversed(failed), *(it.rfc for it in known if it)) if each), otherwise))


def _path(location: Any) -> str:
    url = str(location.get("url", "") if isinstance(location, dict) else location)
    _, marker, rest = url.partition("://")
    return "/" + rest.partition("/")[2] if marker else url


def _told_of_failure(event: Event) -> str:
    return f"no answer: {event['failure']}" if event["failure"] else "no answer"


def _told_of_change(change: dict[str, Any]) -> str:
    seconds = change.get("seconds")
    until = f", {seconds:g} s" if isinstance(seconds, int | float) else ""
    key = re.sub(r"\b([0-9A-Za-z_-]{4})[0-9A-Za-z_-]{2,}…", r"\1…", str(change.get("key", "")))
    if key.count(":") > 1:  # whose it is, the lane tells
        key = key.partition(":")[2]
    return f"{key} {change.get('change', '')}{until}".strip()


def _told(loss: Loss) -> str:
    if loss.role == "observer":
        return "Redis was emptied here, or had no room: messages may be missing"
    what = "message" if loss.number == 1 else "messages"
    return f"{loss.number} {what} of the {NAMES.get(loss.role, NAMES['other'])[0].lower()} could not be recorded"


def _start(identity: str) -> float:
    """Seconds, the system's clock: an event's id begins with its microseconds."""
    try:
        return int(identity[:16], 16) / 1e6
    except ValueError:
        return float("inf")
