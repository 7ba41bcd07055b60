"""The diagram of a flow on its page: sections of rows between lanes, essential or complete.

The browser lays it out (`static/diagram.css`), so text keeps its size whatever the number of lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from rolecall_lab.observer.captions import caption, the_party
from rolecall_lab.observer.parts import Part
from rolecall_lab.observer.picture import Lane, Picture, Row, step_title
from rolecall_lab.observer.values import Value

Event = dict[str, Any]

MAX_CHIPS: Final = 12
"""Values shown per message."""

INTERNAL_VALUES: Final = frozenset({"interaction"})
"""Kinds of values that no specification defines."""


@dataclass(frozen=True, slots=True)
class View:
    """How a diagram is shown.

    Args:
        everything: whether to show the owner's pages, setup, cleanup, passed checks, internal values, and the stores.
        link: the URL of a message's page, with `{}` for its number.
    """

    everything: bool = False
    link: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A row with its place between the lanes.

    Args:
        left, span: the number of its left lane, from 0, and the number of lanes from there to its right lane.
        direction: `right` or `left`; empty for a row on one lane.
        near_end: whether it is closer to the right edge, so that its text ends at its right lane.
        is_first: whether no earlier arrow of the same message is shown.
    """

    row: Row
    left: int
    span: int
    direction: str
    near_end: bool
    is_first: bool
    caption: str
    values: list[tuple[Value, str]]

    @property
    def style(self) -> str:
        """The CSS classes of the row."""
        row = self.row
        names = [row.kind, f"l{self.left}", f"s{self.span}", self.direction, "front" if row.front else "back"]
        flags = {"refused": row.refused, "near-end": self.near_end}
        return " ".join(name for name in [*names, *(name for name, is_set in flags.items() if is_set)] if name)


@dataclass(frozen=True, slots=True)
class Fold:
    """Adjacent rows that are not the protocol itself, under one title."""

    part: Part
    title: str
    count: int
    is_open: bool
    is_refused: bool
    left: int
    span: int
    rows: list[Item]
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of a step of the role diagram; `key` identifies it among the sections of the flow."""

    step: int
    title: str
    entries: list[Item | Fold]


@dataclass(frozen=True, slots=True)
class Diagram:
    """The lanes and sections to show. `numbers` are those of the messages that have an arrow outside of folds."""

    lanes: list[Lane]
    sections: list[Section]
    numbers: list[int]


def diagram(picture: Picture, view: View) -> Diagram:
    """Return what a view shows of a picture."""
    rows = [row for row in picture.rows if view.everything or _is_essential(row)]
    ends = {end for row in rows for end in (row.start, row.end)}
    lanes = [lane for lane in picture.lanes if lane.key in ends]
    places = {lane.key: number for number, lane in enumerate(lanes)}
    shown: set[int] = set()
    sections = []
    for step, section_rows in groupby(rows, lambda row: row.step):
        entries: list[Item | Fold] = []
        for part, part_rows in groupby(section_rows, lambda row: row.part):
            items = [_item(row, places, shown, picture, view) for row in part_rows]
            entries += [_fold(part, items, picture, view)] if part else items
        sections.append(Section(step, step_title(step), entries))
    outside = (entry.row for section in sections for entry in section.entries if isinstance(entry, Item))
    numbers = dict.fromkeys(row.number for row in outside if row.kind in {"request", "response"})
    return Diagram(lanes, sections, [*numbers])


def _is_essential(row: Row) -> bool:
    return row.kind != "change" and (row.kind != "checks" or row.refused)


def _item(row: Row, places: dict[str, int], shown: set[int], picture: Picture, view: View) -> Item:
    start, end = places.get(row.start, 0), places.get(row.end, 0)
    left, right = min(start, end), max(start, end)
    direction = "" if start == end else "right" if end > start else "left"
    is_arrow = row.kind in {"request", "response"}
    is_first = is_arrow and row.number not in shown
    if is_arrow:
        shown.add(row.number)
    values = [each for each in row.carried if view.everything or each[0].kind not in INTERNAL_VALUES]
    return Item(
        row, left, right - left, direction, left + right > len(places) - 1, is_first, caption(row, picture), values
    )


def _fold(part: Part, items: Sequence[Item], picture: Picture, view: View) -> Fold:
    numbers = {item.row.number for item in items if item.row.kind in {"request", "response"}}
    events = [picture.messages[number - 1] for number in sorted(numbers)]
    count = len({item.row.number for item in items if item.row.kind == "request"}) or len(numbers)
    is_refused = any(item.row.refused for item in items)
    left = min(item.left for item in items)
    right = max(item.left + item.span for item in items)
    title, text = _owner_texts(events) if part == "owner" else _other_texts(part, events, items[0], picture)
    # a reader is not looking for a mistyped password or a measurement
    is_reason = is_refused and part != "measurement"
    is_open = view.everything or (is_reason and (part != "owner" or any(item.row.kind == "checks" for item in items)))
    return Fold(part, title, count, is_open, is_refused, left, right - left, [*items], text)


def _owner_texts(events: Sequence[Event]) -> tuple[str, str]:
    """Return the title and the caption of the owner's pages."""
    title = _owner_title(events)
    request = " the request" if title.endswith(("allows", "denies")) else ""
    place = "" if title == _VISIT else f"{request} at the authorization server"
    failed = [event for event in events if event["method"] == "POST" and (event["status"] or 599) >= 400]
    attempts = f", after {len(failed)} failed attempt{'' if len(failed) == 1 else 's'}" if failed else ""
    return f"{title}{attempts}", f"{title}{place}{attempts}; the client never sees the password."


def _other_texts(part: Part, events: Sequence[Event], first: Item, picture: Picture) -> tuple[str, str]:
    """Return the title and the caption of setup, cleanup, or a measurement."""
    if part == "measurement":
        return "Measurement", "Tally's page sends the token to the API with both methods, and measures the responses."
    purposes = ", ".join(dict.fromkeys(map(_purpose, events)))
    title = f"{'Setup' if part == 'setup' else 'Cleanup'}: {purposes}"
    if purposes == "metadata":
        return title, f"{the_party(first.row.start, picture)} fetches metadata, which it then keeps for a while."
    return title, "The client registers itself first." if part == "setup" else "The lab cleans up."


_VISIT: Final = "The owner visits the authorization server"


def _owner_title(events: Sequence[Event]) -> str:
    """Return what the owner did at the authorization server."""
    forms = [event for event in events if event["method"] == "POST" and (event["status"] or 599) < 400]
    done = [text for text, found in _owner_actions(forms) if found]
    return f"The owner {' and '.join(done)}" if done else _VISIT


def _owner_actions(forms: Sequence[Event]) -> Iterator[tuple[str, bool]]:
    yield "signs up", any("sign-up" in event["path"] for event in forms)
    yield "signs in", any(event["path"].startswith("/sign-in") for event in forms)
    decisions = [event["form"].get("decision") for event in forms]
    yield "allows", "allow" in decisions
    yield "denies", "deny" in decisions


def _purpose(event: Event) -> str:
    if event["path"].startswith("/.well-known/"):
        return "metadata"
    if event["path"] == "/revoke":
        return "revocation"
    return {"POST": "registration", "DELETE": "deletion of the client"}.get(event["method"], "registration")
