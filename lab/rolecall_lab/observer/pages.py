"""The pages of a flow, their event stream, and the exports."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any, Final

from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from rolecall.web.errors import PageError, Problem
from rolecall_lab.observer import svg
from rolecall_lab.observer.diagram import View
from rolecall_lab.observer.exports import EXPORTS
from rolecall_lab.observer.exports.json_events import load as load_events
from rolecall_lab.observer.inspector import inspect
from rolecall_lab.observer.live import Live
from rolecall_lab.observer.refusals import refusals
from rolecall_lab.observer.story import story
from rolecall_lab.observer.streaming import current_live, event_stream, last_event_id
from rolecall_lab.recording.recorded_flow import RecordedFlow

FLOW_WAIT: Final = 2.0
"""Seconds that a page waits for a request that was recorded only a moment ago."""

_BACK: Final = (("Latest flows", "/"),)


def flow(name: str) -> ResponseReturnValue:
    """GET /flows/<id>: the diagram, with the message number `message` in the inspector.

    Query parameters: `view=everything` shows more than the protocol's messages, `present` is for projectors, `embedded`
    for frames (only the diagram), and `follow` opens each flow that starts.
    """
    live = current_live()
    live.flow_list.refresh()
    found = _find_flow(live, name)
    if found.id != name and not live.is_loaded(found):
        return redirect(url_for("flow", name=found.id) + _query(), 303)
    view = _view(found)
    drawn = live.draw(found, view)
    chosen = request.args.get("message", "")
    number = int(chosen) if chosen.isascii() and chosen.isdigit() and len(chosen) < 5 else 0
    inspection = inspect(drawn.picture, number, live.keys)
    return render_template(
        "observer/flow.html",
        flow=found,
        drawn=drawn,
        view=view,
        inspection=inspection,
        neighbors=_neighbors(drawn.shown.numbers, number),
        address=_address,
        exports=EXPORTS,
        story=story(found.events, live.flow_list.now()),
        is_following="follow" in request.args,
        newest=live.flow_list.newest,
        is_presented="present" in request.args,
        is_loaded=live.is_loaded(found),
        away=live.flows.store_unavailable,
        now=live.flow_list.now(),
    )


def message(name: str, number: int) -> ResponseReturnValue:
    """GET /flows/<id>/messages/<number>: only the inspector."""
    live = current_live()
    found = _find_flow(live, name)
    drawn = live.draw(found, _view(found))
    inspection = inspect(drawn.picture, number, live.keys)
    if inspection is None:
        raise PageError(Problem(404, "Message not found", "The flow does not have that many messages.", _BACK))
    return render_template(
        "observer/message.html",
        inspection=inspection,
        neighbors=_neighbors(drawn.shown.numbers, number),
        address=_address,
        flow=found,
        now=live.flow_list.now(),
    )


def watch(name: str) -> ResponseReturnValue:
    """GET /flows/<id>/live: server-sent events. `Last-Event-ID` names the version that the page already has."""
    live = current_live()
    found = _find_flow(live, name)
    version = live.version_from(last_event_id())
    return event_stream(lambda connection: live.stream(found.id, _view(found), version, connection))


def export(name: str, kind: str) -> ResponseReturnValue:
    """GET /flows/<id>/export/<kind>: the flow as SVG or as one of `EXPORTS`, unmasked if `secrets=yes`."""
    live = current_live()
    found = _find_flow(live, name)
    picture = live.draw(found, _view(found)).picture
    if kind == "svg":
        body = str(svg.file(picture, f"Flow {found.id}"))
        media_type, extension = "image/svg+xml", "svg"
    elif kind in EXPORTS:
        chosen = EXPORTS[kind]
        secrets = request.args.get("secrets") == "yes"
        try:
            body = chosen.make(found.events, live.flows.losses(found), found.gap, secrets=secrets)
        except ValueError as error:
            raise PageError(Problem(400, "This flow cannot be exported", f"{error}.", _BACK)) from error
        media_type, extension = chosen.media_type, chosen.extension
    else:
        formats = ", ".join(("svg", *EXPORTS))
        raise PageError(Problem(404, "Unknown export format", f"The available formats are {formats}.", _BACK))
    headers = {"Content-Disposition": f'attachment; filename="rolecall-{found.id}.{extension}"'}
    return Response(body, mimetype=media_type, headers=headers)


def load() -> ResponseReturnValue:
    """POST /load: display an exported file of events."""
    live = current_live()
    upload = request.files.get("events")
    text = ""
    if upload is not None:
        with closing(upload):
            text = upload.read().decode(errors="replace")
    try:
        found = load_events(text)
    except ValueError as error:
        raise PageError(Problem(400, "This file cannot be displayed", f"{error}.".replace("..", "."), _BACK)) from error
    live.keep(found)
    return redirect(url_for("flow", name=found.id), 303)


def flow_of_request(trace: str) -> ResponseReturnValue:
    """GET /of/<request ID>: redirect to the flow of a service's request, which may be recorded a moment later.

    With the query parameter `inspect`, the inspector shows the request, or the message that made it fail.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", trace):
        raise PageError(Problem(404, "Invalid request ID", "A request ID has 32 hexadecimal digits.", _BACK))
    live = current_live()
    found = live.flows.wait_for_trace(trace, FLOW_WAIT)
    if found is None:
        text = "The request was not recorded, or it is too old and was deleted."
        raise PageError(Problem(404, "Request not found", text, _BACK))
    number = _number_of_request(live, found, trace) if "inspect" in request.args else 0
    return redirect(_view(found).link.format(number) if number else url_for("flow", name=found.id) + _query(), 303)


def _number_of_request(live: Live, found: RecordedFlow, trace: str) -> int:
    """Return the number of the last refused message of a request, or else of the request; 0 if it is not drawn."""
    messages = [*enumerate(live.draw(found, _view(found)).picture.messages, 1)]
    of_request = [(number, event) for number, event in messages if event["trace"] == trace]
    refused = [number for number, event in of_request if refusals(event)]
    return (refused[-1:] or [number for number, _ in of_request] or [0])[0]


def _find_flow(live: Live, name: str) -> RecordedFlow:
    found = live.find(name)
    if found is None:
        text = "The flow does not exist or was deleted. Flows are kept for a day, as long as there is enough room."
        raise PageError(Problem(404, "Flow not found", text, _BACK))
    return found


def _view(found: RecordedFlow) -> View:
    everything = request.args.get("view") == "everything"
    link = url_for("flow", name=found.id) + ("?view=everything&" if everything else "?") + "message={}#inspector"
    return View(everything, link)


def _neighbors(numbers: list[int], number: int) -> tuple[int, int]:
    """Return the numbers of the previous and the next message that are shown; 0 if there is no such message."""
    return (
        max((each for each in numbers if each < number), default=0),
        min((each for each in numbers if each > number), default=0),
    )


def _address(flow: RecordedFlow, **changes: str) -> str:
    """Return the URL of a flow's page with the current query parameters and some changes; `-` removes a parameter."""
    kept = {name: text for name in ("view", "present", "follow") if (text := request.args.get(name)) is not None}
    parameters: dict[str, Any] = {name: text for name, text in {**kept, **changes}.items() if text != "-"}
    return url_for("flow", name=flow.id, **parameters)


def _query() -> str:
    text = request.query_string.decode("ascii", "ignore")
    return f"?{text}" if text else ""
