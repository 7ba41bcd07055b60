"""The list of flows: a row per flow, computed once for all viewers and again when the flow has changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from typing import Any, Final

from jinja2 import Environment

from rolecall import clock
from rolecall_lab.observer.names import Names, identifiers
from rolecall_lab.observer.outcome import OPEN_SECONDS, Outcome
from rolecall_lab.observer.story import story
from rolecall_lab.observer.tail import Tail
from rolecall_lab.recording.flows import Flows
from rolecall_lab.recording.recorded_flow import RecordedFlow, paired

PAGE: Final = 100
"""Rows on a page of the list, and in an event of its stream."""

MAX_CHANGES: Final = 2000
"""Changes that are kept for viewers; a viewer that has missed more gets the whole first page."""

UNKNOWN_CLIENT: Final = "unknown client"

_SERVERS: Final = frozenset({"authorization_server", "resource_server"})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which flows a viewer wants to see; an empty text matches every flow."""

    client: str = ""
    outcome: str = ""
    endpoint: str = ""

    def matches(self, row: Row) -> bool:
        """Return whether the list shows the row."""
        return (
            self.client in {"", row.client}
            and self.outcome in {"", row.outcome.kind}
            and (not self.endpoint or self.endpoint in row.endpoints)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A flow in the list.

    Args:
        began: the ID of its first message, by which the list is sorted.
        at, last: the times of its first and last message, in seconds of the lab's clock.
        started: the ID of the message that started it most recently; empty if it only prepares other flows.
        identifiers: the identifiers whose names it may show.
        html: the row of the table; empty until it is rendered.
    """

    id: str
    began: str
    at: float
    last: float
    title: str
    details: str
    person: str
    client: str
    outcome: Outcome
    messages: int
    endpoints: tuple[str, ...]
    is_setup: bool
    started: str
    identifiers: frozenset[str]
    html: str = field(default="", compare=False)


@dataclass(slots=True)
class FlowList:
    """The rows of all flows, with the order in which they changed."""

    flows: Flows
    tail: Tail
    templates: Environment
    names: Names = field(default_factory=Names)
    version: int = 0
    newest: Row | None = None
    _revision: int = -1
    _versions: dict[str, int] = field(default_factory=dict)
    _rows: dict[str, Row] = field(default_factory=dict)
    _order: list[Row] = field(default_factory=list)
    _changes: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _oldest_change: int = 0
    _is_changed: bool = False
    _was_unavailable: bool = False
    _recheck: float = float("inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Return the lab's time."""
        return clock.now() + self.tail.offset

    def refresh(self) -> None:
        """Compute the rows of the flows that have changed."""
        with self._lock:
            now = self.now()
            if self.flows.revision == self._revision and now < self._recheck:
                return
            self._revision, versions = self.flows.versions()
            stale = {
                name for name, version in versions.items() if self._versions.get(name) != version
            } | self._abandoned(now)
            self._versions = versions
            for name in self._rows.keys() - versions.keys():
                self._remove(name)
            self._add_all(stale, now)
            if self._is_changed or self._was_unavailable != self.flows.store_unavailable:
                self._finish()

    def rows(self) -> list[Row]:
        """Return all rows, those of the flows that began last first."""
        self.refresh()
        return self._order

    def page(self, chosen: Filter, number: int = 1) -> list[Row]:
        """Return a page of the matching rows, counting from 1."""
        matching = filter(chosen.matches, self.rows())
        return [*islice(matching, (number - 1) * PAGE, number * PAGE)]

    def wait(self, version: int, seconds: float) -> bool:
        """Wait until the rows differ from those of this version, and return whether they do."""
        with self._lock:
            revision, is_same = self._revision, self.version == version
        if is_same:
            self.flows.wait_for_change(revision, seconds)
        self.refresh()
        return self.version != version

    def changes(self, chosen: Filter, version: int) -> tuple[int, dict[str, Any]]:
        """Return the current version, and the changes since another version.

        `rows` has the changed rows that match, `gone` the IDs of deleted rows and of rows that no longer match, and
        `all` is true if `rows` is the whole first page.
        """
        with self._lock:
            current = self.version
            changed = takewhile(lambda change: change[1] > version, reversed(self._changes.items()))
            names = [name for name, _ in islice(changed, PAGE + 1)]
            is_reset = version < self._oldest_change or version > current or len(names) > PAGE
            if is_reset:
                rows = [*islice(filter(chosen.matches, self._order), PAGE)]
            else:
                found = (self._rows[name] for name in names if name in self._rows)
                rows = [row for row in found if chosen.matches(row)]
            shown = {row.id for row in rows}
        return current, {
            "all": is_reset,
            "rows": [{"id": row.id, "began": row.began, "html": row.html} for row in rows],
            "gone": [] if is_reset else [name for name in names if name not in shown],
        }

    def _abandoned(self, now: float) -> set[str]:
        """Return the open flows that count as abandoned from now on."""
        if now < self._recheck:
            return set()
        return {row.id for row in self._order if _is_waiting(row) and now - row.last > OPEN_SECONDS}

    def _add_all(self, names: set[str], now: float) -> None:
        flows = [flow for name in names if (flow := self.flows.get(name)) is not None]
        learned = {key for flow in flows for key in self.names.learn(flow.events)}
        for flow in flows:
            self._add(flow, now)
        if learned:
            affected = [row.id for row in self._rows.values() if not learned.isdisjoint(row.identifiers)]
            for name in affected:
                if name not in names and (flow := self.flows.get(name)) is not None:
                    self._add(flow, now)

    def _add(self, flow: RecordedFlow, now: float) -> None:
        if not flow.is_listed:
            self._remove(flow.id)
            return
        row = _row(flow, self.names, now)
        if self._rows.get(flow.id) != row:
            html = self.templates.get_template("observer/flow_row.html").render(row=row)
            self._rows[flow.id] = replace(row, html=html)
            self._note(flow.id)

    def _remove(self, name: str) -> None:
        if self._rows.pop(name, None) is not None:
            self._note(name)

    def _note(self, name: str) -> None:
        self._is_changed = True
        self._changes[name] = self.version + 1
        self._changes.move_to_end(name)
        while len(self._changes) > MAX_CHANGES:
            _, self._oldest_change = self._changes.popitem(last=False)

    def _finish(self) -> None:
        self._is_changed = False
        self._was_unavailable = self.flows.store_unavailable
        self._order = sorted(self._rows.values(), key=lambda row: row.began, reverse=True)
        self.newest = max(self._order, key=lambda row: row.started, default=None)
        waiting = [row.last for row in self._order if _is_waiting(row)]
        self._recheck = min(waiting, default=float("inf")) + OPEN_SECONDS
        self.version += 1


def _is_waiting(row: Row) -> bool:
    return row.outcome.kind == "open" and not row.outcome.is_abandoned


def _row(flow: RecordedFlow, names: Names, now: float) -> Row:
    events = [event for event in paired(flow.events) if not event.get("shadowed")]
    told = story(flow.events, now)
    paths = (f"/{event['path'].split('/')[1][:40]}" for event in events if event["to"] in _SERVERS)
    return Row(
        id=flow.id,
        began=events[0]["id"],
        at=events[0]["at"],
        last=events[-1]["at"],
        title=told.title,
        details=told.details,
        person=names.person(flow.events),
        client=names.client(flow.events) or UNKNOWN_CLIENT,
        outcome=told.outcome,
        messages=len(events) + flow.omitted,
        endpoints=tuple(dict.fromkeys(paths)),
        is_setup=told.is_setup,
        started=told.started,
        identifiers=identifiers(flow.events),
    )
