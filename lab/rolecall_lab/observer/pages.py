"""The observer's pages, and the streams and files behind them."""

from __future__ import annotations

import re
import socket
import struct
from contextlib import closing
from typing import Final

from flask import Response, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import clock
from rolecall.web.errors import PageError, Problem
from rolecall_lab.observer import svg
from rolecall_lab.observer.exports import EXPORTS
from rolecall_lab.observer.exports.json_events import load as load_events
from rolecall_lab.observer.inspector import inspect
from rolecall_lab.observer.live import MOST_VIEWERS, Live
from rolecall_lab.observer.svg import View
from rolecall_lab.recording.recorded_flow import RecordedFlow, client_id, client_name

PATIENCE: Final = 2.0
"""Seconds that a page waits for a flow that was recorded a moment ago."""


STALLED: Final = 20
"""Seconds after which a connection whose other end reads nothing is given up."""


def flows() -> ResponseReturnValue:
    """GET /: the newest flows."""
    live = _live()
    flows = live.flows
    return render_template("observer/flows.html", flows=flows.newest(), away=flows.store_unavailable, now=_now(live))


def flow(name: str) -> ResponseReturnValue:
    """GET /flows/<id>: the picture, with one message in the inspector when `message` names it."""
    live = _live()
    found = _found(live, name)
    if found.id != name and not live.is_loaded(found):
        return redirect(url_for("flow", name=found.id) + _query(), 303)
    view = _view(found)
    drawn = live.draw(found, view)
    chosen = request.args.get("message", "")
    number = int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 5 else 0
    return render_template(
        "observer/flow.html",
        flow=found,
        drawn=drawn,
        view=view,
        inspection=inspect(drawn.picture, number, live.keys),
        exports=EXPORTS,
        client=next((told for of in (client_name, client_id) for each in found.events if (told := of(each))), None),
        is_loaded=live.is_loaded(found),
        away=live.flows.store_unavailable,
        now=_now(live),
    )


def message(name: str, number: int) -> ResponseReturnValue:
    """GET /flows/<id>/messages/<number>: the inspector alone."""
    live = _live()
    found = _found(live, name)
    inspection = inspect(live.draw(found, _view(found)).picture, number, live.keys)
    if inspection is None:
        raise PageError(Problem(404, "There is no such message", "The flow has fewer messages than that.", _BACK))
    return render_template("observer/message.html", inspection=inspection, flow=found, now=_now(live))


def watch(name: str) -> ResponseReturnValue:
    """GET /flows/<id>/live: server-sent events; `Last-Event-ID` is what the page has already."""
    live = _live()
    found = _found(live, name)
    if live.viewers() >= MOST_VIEWERS:
        text = "Too many people watch at once; the page itself can be loaded again.\n"
        return Response(text, 503, mimetype="text/plain")
    known = live.version_of(request.headers.get("Last-Event-ID") or request.args.get("version", ""))
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        # a browser that reads no more must not hold its thread
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", STALLED, 0))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = live.stream(found.id, _view(found), known, connection)
    return Response(stream, mimetype="text/event-stream", headers=headers)


def export(name: str, kind: str) -> ResponseReturnValue:
    """GET /flows/<id>/export/<kind>: what EXPORTS and `svg` make; `secrets=yes` leaves codes and tokens in."""
    live = _live()
    found = _found(live, name)
    picture = live.draw(found, _view(found)).picture
    if kind == "svg":
        body, media_type, extension = svg.file(picture, View(checks=True), f"Flow {found.id}"), "image/svg+xml", "svg"
    elif kind in EXPORTS:
        chosen = EXPORTS[kind]
        try:
            whole = request.args.get("secrets") == "yes"
            body = chosen.make(found.events, live.flows.losses(found), found.gap, secrets=whole)
        except ValueError as error:
            raise PageError(Problem(400, "This flow cannot be taken away", f"{error}.", _BACK)) from error
        media_type, extension = chosen.media_type, chosen.extension
    else:
        known = ", ".join(("svg", *EXPORTS))
        raise PageError(Problem(404, "There is no such file", f"A flow can be taken away as {known}.", _BACK))
    headers = {"Content-Disposition": f'attachment; filename="rolecall-{found.id}.{extension}"'}
    return Response(body, mimetype=media_type, headers=headers)


def load() -> ResponseReturnValue:
    """POST /load: events that were taken away, shown again."""
    live = _live()
    upload = request.files.get("events")
    text = ""
    if upload is not None:
        with closing(upload):
            text = upload.read().decode(errors="replace")
    try:
        found = load_events(text)
    except ValueError as error:
        raise PageError(Problem(400, "This file cannot be shown", f"{error}.".replace("..", "."), _BACK)) from error
    live.keep(found)
    return redirect(url_for("flow", name=found.id), 303)


def of_trace(trace: str) -> ResponseReturnValue:
    """GET /of/<request id>: the picture that a request of a service is in; it may be written only in a moment."""
    if not re.fullmatch(r"[0-9a-f]{32}", trace):
        raise PageError(Problem(404, "This is no request id", "It has 32 hexadecimal digits.", _BACK))
    live = _live()
    found = live.flows.wait_for_trace(trace, PATIENCE)
    if found is None:
        text = "Nothing of this request was recorded, or it is older than what is kept."
        raise PageError(Problem(404, "There is no picture of this request", text, _BACK))
    return redirect(url_for("flow", name=found.id), 303)


_BACK: Final = (("The newest flows", "/"),)


def _live() -> Live:
    live: Live = current_app.extensions["observer"]
    return live


def _found(live: Live, name: str) -> RecordedFlow:
    found = live.find(name)
    if found is None:
        text = "It is older than what is kept (a day, and so many messages in all), or it never was."
        raise PageError(Problem(404, "There is no such flow", text, _BACK))
    return found


def _view(found: RecordedFlow) -> View:
    """What the address asks for: `stores=yes` for lanes of Redis and SQL, `checks=yes` for each check."""
    asked = [name for name in ("stores", "checks") if request.args.get(name) == "yes"]
    link = url_for("flow", name=found.id) + "?" + "".join(f"{name}=yes&" for name in asked) + "message={}#inspector"
    return View(stores="stores" in asked, checks="checks" in asked, link=link)


def _query() -> str:
    text = request.query_string.decode("ascii", "ignore")
    return f"?{text}" if text else ""


def _now(live: Live) -> float:
    return clock.now() + live.tail.offset
