"""A flow's drawing, made once for all who look on, and again when the flow has changed."""

from __future__ import annotations

import json
import socket
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Final

from jinja2 import Environment

from rolecall import clock
from rolecall_lab.observer import svg
from rolecall_lab.observer.picture import Picture, lay_out
from rolecall_lab.observer.svg import View
from rolecall_lab.observer.tail import Tail
from rolecall_lab.observer.tokens import KeySet
from rolecall_lab.recording.flows import Flows
from rolecall_lab.recording.recorded_flow import RecordedFlow
from rolecall_lab.settings import LabSettings

PATIENCE: Final = 15.0
"""Seconds after which a viewer's connection says that it is still there."""

LOOK: Final = 1.0
"""Seconds between two looks whether a viewer has hung up: a room that loads the page again needs its places back."""

LONGEST: Final = 900.0
"""Seconds after which a viewer's browser connects again: connections of browsers that are gone end."""

PAUSE: Final = 0.15
"""Seconds between two drawings of a flow that is changing."""

MOST_VIEWERS: Final = 400
"""Each has a thread; who comes later sees the page without its being live."""

MAX_LOADED: Final = 20
MAX_DRAWN: Final = 16


@dataclass(frozen=True, slots=True)
class Drawn:
    """A flow as it is shown: its picture, and the HTML of the parts of the page that change.

    Args:
        id: by which a page says what it has already (HTML section 9.2.4).
    """

    flow: RecordedFlow
    id: str
    picture: Picture
    parts: dict[str, str]


@dataclass(slots=True)
class Live:
    """What the observer's views work with."""

    lab: LabSettings
    flows: Flows
    tail: Tail
    keys: KeySet
    templates: Environment
    _process: str = field(default_factory=lambda: token_hex(4))
    _drawn: OrderedDict[tuple[str, View], Drawn] = field(default_factory=OrderedDict)
    _loaded: OrderedDict[str, RecordedFlow] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _drawing: threading.Lock = field(default_factory=threading.Lock)
    _viewers: int = 0

    def find(self, name: str) -> RecordedFlow | None:
        """A flow that was recorded, or loaded from a file."""
        with self._lock:
            loaded = self._loaded.get(name)
        return loaded or self.flows.get(name)

    def keep(self, flow: RecordedFlow) -> None:
        """Show a flow that somebody loaded; the newest twenty are kept."""
        with self._lock:
            self._loaded[flow.id] = flow
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)

    def is_loaded(self, flow: RecordedFlow) -> bool:
        """Whether it is from a file."""
        with self._lock:
            return flow.id in self._loaded

    def draw(self, flow: RecordedFlow, view: View) -> Drawn:
        """The flow's picture and parts; made once for each version and view, of which the newest are kept."""
        key = (flow.id, view)
        with self._drawing:
            found = self._drawn.get(key)
            if found is None or found.flow.version != flow.version:
                found = self._drawn[key] = self._draw(flow, view)
            self._drawn.move_to_end(key)
            while len(self._drawn) > MAX_DRAWN:
                self._drawn.popitem(last=False)
            return found

    def _draw(self, flow: RecordedFlow, view: View) -> Drawn:
        picture = lay_out(flow.events, self.flows.losses(flow), flow.gap)
        return Drawn(
            flow,
            self.id_of(flow),
            picture,
            {
                "head": svg.head(picture, view),
                "body": svg.body(picture, view),
                "list": self._render("observer/messages.html", picture=picture, view=view),
                "seen": self._render("observer/seen.html", picture=picture),
            },
        )

    def _render(self, template: str, **values: Any) -> str:
        """Without a request: what is drawn is for all who look."""
        return self.templates.get_template(template).render(**values)

    def id_of(self, flow: RecordedFlow) -> str:
        """What a flow's version is called outside: another process counts anew."""
        return f"{self._process}-{flow.version}"

    def version_of(self, text: str) -> int:
        """The version that a page has, by what it is called; -1 for one of another process, and for what is none."""
        process, _, number = text.partition("-")
        known = process == self._process and number.isascii() and number.isdigit() and len(number) < 12
        return int(number) if known else -1

    def viewers(self) -> int:
        """How many connections are open."""
        return self._viewers

    def stream(self, name: str, view: View, last: int, connection: socket.socket | None = None) -> Iterator[str]:
        """Server-sent events of a flow: its parts whenever it has another version than `last`.

        Ends soon after the viewer at the other end of `connection` has hung up.
        """
        with self._lock:
            self._viewers += 1
        try:
            yield "retry: 1000\n\n"
            said = clock.monotonic()
            until = said + LONGEST
            while clock.monotonic() < until and not _is_gone(connection):
                flow = self.flows.wait(name, last, min(LOOK, PATIENCE))
                if flow is not None:
                    last = flow.version
                    yield self.event(flow, view)
                    threading.Event().wait(PAUSE)
                elif clock.monotonic() - said >= PATIENCE:
                    yield ": still here\n\n"
                else:
                    continue
                said = clock.monotonic()
        finally:
            with self._lock:
                self._viewers -= 1

    def event(self, flow: RecordedFlow, view: View) -> str:
        """One server-sent event; its id tells the flow's version."""
        data: dict[str, Any] = {
            **self.draw(flow, view).parts,
            "id": flow.id,
            "away": self.flows.store_unavailable,
            "now": clock.now() + self.tail.offset,
        }
        return f"id: {self.id_of(flow)}\ndata: {json.dumps(data)}\n\n"


def _is_gone(connection: socket.socket | None) -> bool:
    """Whether the other end has hung up; what it may have sent meanwhile stays where it is."""
    if connection is None:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
