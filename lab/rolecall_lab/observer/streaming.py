"""Responses with server-sent events, and the observer's state for its views."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final

from flask import Response, current_app, request

from rolecall_lab.observer.live import MAX_VIEWERS, Live

SEND_TIMEOUT: Final = 20
"""Seconds after which a connection is closed if the viewer does not read."""


def current_live() -> Live:
    """Return the state of the current application."""
    live: Live = current_app.extensions["observer"]
    return live


def last_event_id() -> str:
    """Return the ID of the event that the page already has: sent on reconnection, or in the URL."""
    return request.headers.get("Last-Event-ID") or request.args.get("version", "")


def event_stream(events: Callable[[socket.socket | None], Iterator[str]]) -> Response:
    """Return a stream of server-sent events, or 503 if there are too many viewers.

    Args:
        events: returns the events for a connection; only gunicorn provides the connection.
    """
    if current_live().viewers() >= MAX_VIEWERS:
        text = "Too many viewers are connected. Reload the page to see new messages.\n"
        return Response(text, 503, mimetype="text/plain")
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        # A browser that stops reading must not occupy its thread.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_TIMEOUT, 0))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(events(connection), mimetype="text/event-stream", headers=headers)
