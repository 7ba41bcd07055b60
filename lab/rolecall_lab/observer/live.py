"""The drawings of flows, each made once for all viewers and again when its flow has changed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Final

from jinja2 import Environment

from rolecall import clock
from rolecall_lab.observer.diagram import Diagram, View, diagram
from rolecall_lab.observer.flow_list import Filter, FlowList
from rolecall_lab.observer.picture import Picture, lay_out
from rolecall_lab.observer.story import story
from rolecall_lab.observer.tail import Tail
from rolecall_lab.observer.tokens import KeySet
from rolecall_lab.recording.flows import Flows
from rolecall_lab.recording.recorded_flow import RecordedFlow
from rolecall_lab.settings import LabSettings

KEEPALIVE: Final = 15.0
"""Seconds without an event after which a comment is sent to keep the connection open."""

POLL: Final = 1.0
"""Seconds between two checks for a closed connection, so that a viewer who reloads the page is not counted twice."""

MAX_CONNECTION: Final = 900.0
"""Seconds after which a stream ends and the browser reconnects, so that no dead connection stays open."""

REDRAW_PAUSE: Final = 0.15
"""Seconds between two drawings of a changing flow."""

MAX_VIEWERS: Final = 400
"""Viewers at a time, because each one takes a thread. Others see the page without live updates."""

MAX_LOADED: Final = 20
MAX_DRAWN: Final = 16


@dataclass(frozen=True, slots=True)
class Drawn:
    """A version of a flow: its picture, and the HTML of the parts of the page that change.

    Args:
        id: the ID of the server-sent event, which a page sends back when it reconnects (HTML section 9.2.4).
    """

    flow: RecordedFlow
    id: str
    picture: Picture
    shown: Diagram
    parts: dict[str, str]


@dataclass(slots=True)
class Live:
    """The state of the observer: the flows, their drawings, and the number of viewers."""

    lab: LabSettings
    flows: Flows
    tail: Tail
    keys: KeySet
    templates: Environment
    flow_list: FlowList = field(init=False)
    _process: str = field(default_factory=lambda: token_hex(4))
    _drawn: OrderedDict[tuple[str, View], Drawn] = field(default_factory=OrderedDict)
    _loaded: OrderedDict[str, RecordedFlow] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _drawing: threading.Lock = field(default_factory=threading.Lock)
    _viewers: int = 0

    def __post_init__(self) -> None:
        self.flow_list = FlowList(self.flows, self.tail, self.templates)

    def find(self, name: str) -> RecordedFlow | None:
        """Return a flow that was recorded or loaded from a file, or None."""
        with self._lock:
            loaded = self._loaded.get(name)
        return loaded or self.flows.get(name)

    def keep(self, flow: RecordedFlow) -> None:
        """Keep a flow that was loaded from a file; the newest `MAX_LOADED` are kept."""
        with self._lock:
            self._loaded[flow.id] = flow
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)

    def is_loaded(self, flow: RecordedFlow) -> bool:
        """Return whether a flow was loaded from a file."""
        with self._lock:
            return flow.id in self._loaded

    def draw(self, flow: RecordedFlow, view: View) -> Drawn:
        """Return the drawing of a flow, made once per version and view; the newest `MAX_DRAWN` are kept."""
        key = (flow.id, view)
        with self._drawing:
            drawn = self._drawn.get(key)
            if drawn is None or drawn.flow.version != flow.version:
                drawn = self._drawn[key] = self._draw(flow, view)
            self._drawn.move_to_end(key)
            while len(self._drawn) > MAX_DRAWN:
                self._drawn.popitem(last=False)
            return drawn

    def _draw(self, flow: RecordedFlow, view: View) -> Drawn:
        picture = lay_out(flow.events, self.flows.losses(flow), flow.gap)
        shown = diagram(picture, view)
        client = self.flow_list.names.client(flow.events)
        names = {"client": client} if client else {}
        return Drawn(
            flow,
            self.event_id(flow.version),
            picture,
            shown,
            {
                "diagram": self._render("observer/diagram.html", picture=picture, shown=shown, view=view, names=names),
                "seen": self._render("observer/seen.html", picture=picture, view=view),
                "story": self._render(
                    "observer/story.html",
                    story=story(flow.events),
                    client=client,
                    person=self.flow_list.names.person(flow.events),
                    count=len(picture.messages),
                ),
            },
        )

    def _render(self, template: str, **values: Any) -> str:
        """Render without a request context, because the result is for all viewers."""
        return self.templates.get_template(template).render(**values)

    def event_id(self, version: int) -> str:
        """Return the event ID of a version. It names the process, because each process counts from the start."""
        return f"{self._process}-{version}"

    def version_from(self, event_id: str) -> int:
        """Return the version in an event ID, or -1 if the ID is invalid or from another process."""
        process, _, number = event_id.partition("-")
        is_valid = process == self._process and number.isascii() and number.isdigit() and len(number) < 12
        return int(number) if is_valid else -1

    def viewers(self) -> int:
        """Return the number of open connections."""
        return self._viewers

    def stream(self, name: str, view: View, last: int, connection: socket.socket | None = None) -> Iterator[str]:
        """Yield server-sent events with a flow's parts whenever its version differs from `last`."""

        def next_event() -> str | None:
            nonlocal last
            flow = self.flows.wait(name, last, POLL)
            if flow is None:
                return None
            last = flow.version
            return self.event(flow, view)

        return self._events(next_event, connection)

    def list_stream(self, chosen: Filter, last: int, connection: socket.socket | None = None) -> Iterator[str]:
        """Yield server-sent events with the changes of the list of flows since its version `last`."""

        def next_event() -> str | None:
            nonlocal last
            if not self.flow_list.wait(last, POLL):
                return None
            last, changes = self.flow_list.changes(chosen, last)
            return _event(self.event_id(last), changes | {"away": self.flows.store_unavailable})

        return self._events(next_event, connection)

    def start_stream(self, last: str, connection: socket.socket | None = None) -> Iterator[str]:
        """Yield a server-sent event whenever a flow was started after the message with the ID `last`."""
        version = -1

        def next_event() -> str | None:
            nonlocal last, version
            if not self.flow_list.wait(version, POLL):
                return None
            version, newest = self.flow_list.version, self.flow_list.newest
            if newest is None or newest.started <= last:
                return None
            last = newest.started
            return _event(last, {"flow": newest.id, "title": newest.title})

        return self._events(next_event, connection)

    def _events(self, next_event: Callable[[], str | None], connection: socket.socket | None) -> Iterator[str]:
        """Yield the events that `next_event` returns: after at most `POLL` seconds, it returns one or None.

        The stream ends soon after the viewer has closed the connection.
        """
        with self._lock:
            self._viewers += 1
        try:
            yield "retry: 1000\n\n"
            last_sent = clock.monotonic()
            until = last_sent + MAX_CONNECTION
            while clock.monotonic() < until and not _is_closed(connection):
                event = next_event()
                if event is not None:
                    yield event
                    time.sleep(REDRAW_PAUSE)
                elif clock.monotonic() - last_sent >= KEEPALIVE:
                    yield ": still here\n\n"
                else:
                    continue
                last_sent = clock.monotonic()
        finally:
            with self._lock:
                self._viewers -= 1

    def event(self, flow: RecordedFlow, view: View) -> str:
        """Return a server-sent event with the flow's parts."""
        data: dict[str, Any] = {
            **self.draw(flow, view).parts,
            "id": flow.id,
            "away": self.flows.store_unavailable,
            "now": self.flow_list.now(),
        }
        return _event(self.event_id(flow.version), data)


def _event(event_id: str, data: dict[str, Any]) -> str:
    return f"id: {event_id}\ndata: {json.dumps(data)}\n\n"


def _is_closed(connection: socket.socket | None) -> bool:
    """Return whether the other end has closed the connection, without consuming anything it sent."""
    if connection is None:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
