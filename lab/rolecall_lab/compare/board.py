"""The score board: what was done, what each way of checking should notice of it, and what it was measured to notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rolecall.storage import digest
from rolecall_client.times import distance
from rolecall_lab.compare.asking import WAYS, Asked

MAX_ROWS: Final = 20

_UNTIL_EXPIRY: Final = "goes on until the token expires"
_AT_ONCE: Final = "refuses at the next question"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that can be done, and what each way should notice of it.

    Args:
        name: what the button sends.
        label: what the button says.
        noticed: what the lists of what a way notices call it; empty when they leave it out.
        introspection: what who asks the authorization server should do.
        jwt: what who checks the signature alone should do.
        advance: seconds by which it turns the clock; None when it does not, 0 for as far as the token's end.
    """

    name: str
    label: str
    noticed: str
    introspection: str
    jwt: str
    advance: int | None = None


EVENTS: Final = {
    event.name: event
    for event in (
        Event("revoke", "Revoke the token", "the token is revoked", _AT_ONCE, _UNTIL_EXPIRY),
        Event("disconnect", "Take the consent back", "the owner disconnects", _AT_ONCE, _UNTIL_EXPIRY),
        Event(
            "rotate",
            "Rotate the key",
            "the key is rotated",
            "goes on: the old key verifies as long as its tokens live",
            "goes on: the old key stays published as long as its tokens live",
        ),
        Event(
            "retire",
            "Retire the key",
            "the key is retired",
            "refuses within a second",
            "goes on until it fetches the keys again, at most 5 min after the last time",
        ),
        Event("disable", "Disable Tally", "the client is disabled", _AT_ONCE, _UNTIL_EXPIRY),
        Event(
            "stop",
            "Stop answering (503)",
            "the authorization server is away",
            "refuses at once with 503: it has nobody to ask",
            "goes on with the keys that it knows",
        ),
        Event("clock-61", "Turn by 61 s", "", "", "", 61),
        Event("clock-300", "Turn by 5 min", "", "", "", 300),
        Event("expire", "Turn to the token’s end", "the token expires", _AT_ONCE, _AT_ONCE, 0),
    )
}


def prediction(event: Event, way: str, left: float | None) -> str:
    """What the way should do about the event when the token has `left` seconds to live; None when that is not known."""
    text = event.introspection if way == "introspection" else event.jwt
    if event.advance and left is not None:
        after = left - event.advance
        return f"goes on: the token then expires {distance(after)}" if after > 0 else f"{_AT_ONCE}: expired"
    if left is not None and left <= 0:
        return f"{_AT_ONCE}: the token has expired"
    return f"{text}, {distance(left)}" if text == _UNTIL_EXPIRY and left is not None else text


@dataclass(slots=True)
class Measured:
    """What one way did after an event: `before` is its status until then; times in seconds since the event.

    `accepted` and `refused` are (real seconds, seconds of the lab's clock) of the last acceptance and first refusal.
    """

    before: int
    tries: int = 0
    accepted: tuple[float, float] | None = None
    refused: tuple[float, float] | None = None
    answer: str = ""
    description: str = ""

    @property
    def going_on(self) -> bool:
        """Whether it has accepted so far, and may be about to refuse."""
        return self.before == 200 and self.refused is None

    @property
    def tone(self) -> str:
        """The class of the figure's tag."""
        return "no" if self.refused else "yes" if self.accepted else "open"

    @property
    def result(self) -> str:
        """The figure. By the lab's clock, as the services judge, where that was turned meanwhile."""
        if self.before != 200:
            return "refused before this already"
        if self.refused is not None:
            return f"refused after {_seconds(*self.refused)}"
        return f"still accepted after {_seconds(*self.accepted)}" if self.accepted else "not asked yet"

    @property
    def details(self) -> str:
        """How exact the figure is, and what was said."""
        if not self.tries:
            return self.description
        told = [self.description] if self.description else []
        questions = f"{self.tries} {'question' if self.tries == 1 else 'questions'}"
        last = f", accepted until {_seconds(*self.accepted)}" if self.refused and self.accepted else ""
        real, lab = self.refused or self.accepted or (0.0, 0.0)
        turned = f"; {_seconds(real, real)} of it in real time" if abs(lab - real) >= 1 else ""
        return " ".join([*told, f"{questions}{last}{turned}".capitalize() + "."])


@dataclass(slots=True)
class Row:
    """An event that was made: `at` in seconds of real time when it was done, `lab_at` by the lab's clock before it.

    While `is_open`, every question with the same token counts; the passing of time ends nothing, another event does.
    """

    number: int
    event: str
    label: str
    said: str
    token: str
    at: float
    lab_at: float
    predicted: dict[str, str]
    ways: dict[str, Measured]
    is_open: bool = True

    @property
    def going_on(self) -> bool:
        """Whether measuring may still find something."""
        return self.is_open and any(way.going_on for way in self.ways.values())

    def take(self, token: str, asked: Asked) -> None:
        """Note an answer, if it is one to a question that was put with the same token after the event."""
        measured = self.ways[asked.way]
        if not self.is_open or token != self.token or asked.began < self.at or not measured.going_on:
            return
        measured.tries += 1
        measured.answer, measured.description = asked.answer, asked.description
        seconds = (asked.ended - self.at, asked.at - self.lab_at)
        if asked.accepted:
            measured.accepted = seconds
        else:
            measured.refused = seconds


@dataclass(slots=True)
class Board:
    """What one browser did and saw: the rows, oldest first, and the newest answers with when and after what."""

    rows: list[Row] = field(default_factory=list)
    newest: dict[str, Asked] = field(default_factory=dict)
    made: int = 0

    @classmethod
    def load(cls, value: Mapping[str, Any] | None) -> Board:
        """As `dump` wrote it; an empty one for None."""
        if value is None:
            return cls()
        rows = []
        for row in value["rows"]:
            ways = {way: Measured(**{**each, **_pairs(each)}) for way, each in row["ways"].items()}
            rows.append(Row(**{**row, "ways": ways}))
        newest = {way: Asked(**each) for way, each in value["newest"].items()}
        return cls(rows, newest, value["made"])

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    def take(self, access_token: str, asked: list[Asked]) -> None:
        """Note answers, for every row that they say something about."""
        token = name_of(access_token)
        for each in asked:
            self.newest[each.way] = each
            for row in self.rows:
                row.take(token, each)

    def add(
        self,
        event: Event,
        said: str,
        tokens: Mapping[str, Any],
        before: list[Asked],
        *,
        at: float,
        lab_at: float,
    ) -> Row:
        """A row for an event that was just done; unless only time passes by it, the rows before are finished."""
        if event.advance is None:
            self.finish()
        left = tokens["expires_at"] - lab_at if tokens.get("expires_at") else None
        self.made += 1
        row = Row(
            self.made,
            event.name,
            event.label,
            said,
            name_of(tokens["access_token"]),
            at,
            lab_at,
            {way: prediction(event, way, left) for way in WAYS},
            {each.way: _before(each) for each in before},
        )
        self.rows = [*self.rows, row][-MAX_ROWS:]
        return row

    def finish(self) -> None:
        """Let no later answer count for what was done so far: it could have another reason."""
        for row in self.rows:
            row.is_open = False

    def going_on(self, access_token: str) -> bool:
        """Whether questions with this token may still find something."""
        return any(row.going_on and row.token == name_of(access_token) for row in self.rows)

    def measured(self, event: str, way: str) -> Measured | None:
        """The newest measurement of that kind; none where the token was refused before."""
        made = (row.ways[way] for row in reversed(self.rows) if row.event == event)
        return next((measured for measured in made if measured.before == 200), None)


def name_of(access_token: str) -> str:
    """By which the board recognises a token."""
    return digest(access_token)[:16]


def _before(asked: Asked) -> Measured:
    if asked.accepted:
        return Measured(asked.status)
    return Measured(asked.status, answer=asked.answer, description=asked.description)


def _pairs(measured: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(measured[name]) if measured[name] else None for name in ("accepted", "refused")}


def _seconds(real: float, lab: float) -> str:
    if abs(lab - real) >= 1:
        return f"{lab:.0f} s"
    return f"{real * 1000:.0f} ms" if real < 1 else f"{real:.1f} s"
