"""The score board: the events, how each validation method should react to them, and how it did react."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rolecall.storage import digest
from rolecall_client.times import distance
from rolecall_lab.compare.asking import WAYS, Probe

MAX_ROWS: Final = 20

TOLERANCE: Final = 2.0
"""Seconds in which an invalid token may still be accepted, because workers learn of events by polling."""

_UNTIL_EXPIRY: Final = "accepts the token until it expires"
_AT_ONCE: Final = "rejects the next request"


@dataclass(frozen=True, slots=True)
class Event:
    """An event that a button triggers, and how each validation method should react to it.

    Args:
        name: the value of the button.
        label: the text of the button.
        noticed: the end of a sentence that starts with "When", in the list of reactions; empty if it is not listed.
        introspection: how introspection should react.
        jwt: how validation by the signature should react.
        advance: seconds by which the event advances the clock; 0 advances it to the token's expiry, and None does not
            advance it.
        ends_token: whether the event ends the token before it expires.
    """

    name: str
    label: str
    noticed: str
    introspection: str
    jwt: str
    advance: int | None = None
    ends_token: bool = False


EVENTS: Final = {
    event.name: event
    for event in (
        Event("revoke", "Revoke the token", "the token is revoked", _AT_ONCE, _UNTIL_EXPIRY, ends_token=True),
        Event("disconnect", "Disconnect", "the user disconnects Tally", _AT_ONCE, _UNTIL_EXPIRY, ends_token=True),
        Event(
            "rotate",
            "Rotate the key",
            "the key is rotated",
            "accepts the token: the old key remains valid until its tokens expire",
            "accepts the token: the old key remains published until its tokens expire",
        ),
        Event(
            "retire",
            "Retire the key",
            "the key is retired",
            "rejects the token within a second",
            "accepts the token until the API fetches the keys again, at most 5 min after the last fetch",
            ends_token=True,
        ),
        Event("disable", "Disable Tally", "the client is disabled", _AT_ONCE, _UNTIL_EXPIRY, ends_token=True),
        Event(
            "stop",
            "Simulate an outage (503)",
            "the authorization server is unavailable",
            "responds with 503: it depends on the authorization server",
            "accepts the token with the keys that the API has cached",
        ),
        Event("clock-61", "Advance by 61 s", "", "", "", 61),
        Event("clock-300", "Advance by 5 min", "", "", "", 300),
        Event("expire", "Advance to the token’s expiry", "the token expires", _AT_ONCE, _AT_ONCE, 0),
    )
}


def prediction(event: Event, way: str, left: float | None) -> str:
    """Return how a validation method should react to an event.

    Args:
        left: seconds until the token expires; None if that is unknown.
    """
    text = event.introspection if way == "introspection" else event.jwt
    if event.advance and left is not None:
        after = left - event.advance
        return f"accepts the token, which then expires {distance(after)}" if after > 0 else f"{_AT_ONCE}: expired"
    if left is not None and left <= 0:
        return f"{_AT_ONCE}: the token has expired"
    return f"{text}, {distance(left)}" if text == _UNTIL_EXPIRY and left is not None else text


@dataclass(slots=True)
class Measurement:
    """How one validation method reacted to an event.

    Args:
        before: the status of the last response before the event.
        tries: the number of requests since the event.
        accepted: when the last request was accepted, in seconds since the event: of real time, and of the lab's clock.
        refused: the same for the first request that was rejected.
        response: the status and the error code of the last response.
        description: the `error_description` of the last response.
        valid_for: for how many seconds of the lab's clock the token remains valid after the event; None if unknown.
    """

    before: int
    tries: int = 0
    accepted: tuple[float, float] | None = None
    refused: tuple[float, float] | None = None
    response: str = ""
    description: str = ""
    valid_for: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the token has been accepted so far, so that the first rejection may still come."""
        return self.before == 200 and self.refused is None

    @property
    def tone(self) -> str:
        """The CSS class of the result: `yes` if it is right, `no` if it is dangerous, otherwise `open`.

        Accepting an invalid token is dangerous. Rejecting a valid one, as in an outage, is neither right nor dangerous.
        """
        last_accepted = self.accepted[1] if self.accepted else 0.0
        if self.valid_for is None:
            return "yes" if self.accepted and not self.refused else "open"
        if self.refused:
            if self.refused[1] < self.valid_for:
                return "open"
            return "no" if last_accepted > self.valid_for + TOLERANCE else "yes"
        if not self.accepted:
            return "open"
        return "no" if last_accepted > self.valid_for else "yes"

    @property
    def result(self) -> str:
        """The result, in time of the lab's clock if that was changed, because the services use it too."""
        if self.before != 200:
            return "rejected before this event"
        if self.refused is not None:
            return f"rejected after {_seconds(*self.refused)}"
        return f"still accepted after {_seconds(*self.accepted)}" if self.accepted else "no requests yet"

    @property
    def details(self) -> str:
        """The description of the last response, the number of requests, and the precision of the result."""
        if not self.tries:
            return self.description
        sentences = [self.description] if self.description else []
        requests = f"{self.tries} {'request' if self.tries == 1 else 'requests'}"
        last = f", accepted until {_seconds(*self.accepted)}" if self.refused and self.accepted else ""
        real, lab = self.refused or self.accepted or (0.0, 0.0)
        in_real_time = f"; {_seconds(real, real)} in real time" if abs(lab - real) >= 1 else ""
        return " ".join([*sentences, f"{requests}{last}{in_real_time}."])


@dataclass(slots=True)
class Row:
    """An event that happened.

    While `is_open`, every request with the same token counts. Another event closes the row, unless it only changes the
    clock.

    Args:
        number: the row's number, starting at 1.
        event: the event's name.
        label: the event's label.
        outcome: a sentence about what was done.
        token: the id of the token at the time of the event.
        at: when the event had happened, in seconds of real time.
        lab_at: the time before the event, in seconds of the lab's clock.
        predicted: the predictions by validation method.
        ways: the measurements by validation method.
    """

    number: int
    event: str
    label: str
    outcome: str
    token: str
    at: float
    lab_at: float
    predicted: dict[str, str]
    ways: dict[str, Measurement]
    is_open: bool = True

    @property
    def is_measuring(self) -> bool:
        """Whether further requests may change a measurement."""
        return self.is_open and any(measurement.is_open for measurement in self.ways.values())

    def record(self, token: str, probe: Probe) -> None:
        """Count a response to a request that was sent with the same token after the event; ignore other responses."""
        measurement = self.ways[probe.way]
        if not self.is_open or token != self.token or probe.began < self.at or not measurement.is_open:
            return
        measurement.tries += 1
        measurement.response, measurement.description = probe.response, probe.description
        seconds = (probe.ended - self.at, probe.at - self.lab_at)
        if probe.accepted:
            measurement.accepted = seconds
        else:
            measurement.refused = seconds


@dataclass(slots=True)
class Board:
    """The events of one browser, oldest first, and the newest response by validation method."""

    rows: list[Row] = field(default_factory=list)
    newest: dict[str, Probe] = field(default_factory=dict)
    event_count: int = 0

    @classmethod
    def load(cls, value: Mapping[str, Any] | None) -> Board:
        """Restore a board from what `dump` returned; None gives an empty board."""
        # a lab of an earlier version stored other members
        if value is None or "event_count" not in value:
            return cls()
        rows = []
        for row in value["rows"]:
            ways = {way: Measurement(**{**each, **_tuples(each)}) for way, each in row["ways"].items()}
            rows.append(Row(**{**row, "ways": ways}))
        newest = {way: Probe(**each) for way, each in value["newest"].items()}
        return cls(rows, newest, value["event_count"])

    def dump(self) -> dict[str, Any]:
        """Return the board as a JSON object."""
        return asdict(self)

    def record(self, access_token: str, probes: list[Probe]) -> None:
        """Record responses in every row that they count for."""
        token = token_id(access_token)
        for probe in probes:
            self.newest[probe.way] = probe
            for row in self.rows:
                row.record(token, probe)

    def add(
        self,
        event: Event,
        outcome: str,
        tokens: Mapping[str, Any],
        before: list[Probe],
        *,
        at: float,
        lab_at: float,
    ) -> Row:
        """Add a row for an event that just happened, and close the earlier rows unless it only changed the clock."""
        if event.advance is None:
            self.close()
        left = tokens["expires_at"] - lab_at if tokens.get("expires_at") else None
        valid_for = 0.0 if event.ends_token else left
        self.event_count += 1
        row = Row(
            self.event_count,
            event.name,
            event.label,
            outcome,
            token_id(tokens["access_token"]),
            at,
            lab_at,
            {way: prediction(event, way, left) for way in WAYS},
            {probe.way: _measurement(probe, valid_for) for probe in before},
        )
        self.rows = [*self.rows, row][-MAX_ROWS:]
        return row

    def close(self) -> None:
        """Close every row, because later responses could have another cause."""
        for row in self.rows:
            row.is_open = False

    def is_measuring(self, access_token: str) -> bool:
        """Return whether further requests with this token may change a measurement."""
        return any(row.is_measuring and row.token == token_id(access_token) for row in self.rows)

    def measured(self, event: str, way: str) -> Measurement | None:
        """Return the newest measurement of an event whose token was accepted before it."""
        measurements = (row.ways[way] for row in reversed(self.rows) if row.event == event)
        return next((measurement for measurement in measurements if measurement.before == 200), None)


def token_id(access_token: str) -> str:
    """Return the id under which the board stores a token."""
    return digest(access_token)[:16]


def _measurement(before: Probe, valid_for: float | None) -> Measurement:
    if before.accepted:
        return Measurement(before.status, valid_for=valid_for)
    return Measurement(before.status, response=before.response, description=before.description, valid_for=valid_for)


def _tuples(measurement: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(measurement[name]) if measurement[name] else None for name in ("accepted", "refused")}


def _seconds(real: float, lab: float) -> str:
    if abs(lab - real) >= 1:
        return f"{lab:.0f} s"
    return f"{real * 1000:.0f} ms" if real < 1 else f"{real:.1f} s"
