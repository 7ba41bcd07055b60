"""The page /compare of Tally: the responses to one token, the events that affect it, and the score board."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Flask, Response, flash, jsonify, make_response, redirect, render_template, request, url_for
from flask import session as cookie
from flask.typing import ResponseReturnValue

from rolecall import clock, events
from rolecall.http import HttpClient, Unreachable
from rolecall.web.headers import let_forms_leave
from rolecall.web.routes import Kind
from rolecall_client.errors import with_error_pages
from rolecall_client.flow import FlowError
from rolecall_client.pages import connect
from rolecall_client.services import services
from rolecall_client.times import distance, moment
from rolecall_lab.compare.asking import WAYS, Probe, probe_both, real_time
from rolecall_lab.compare.board import EVENTS, Board, Event, prediction
from rolecall_lab.compare.sentences import check_result
from rolecall_lab.visitor import visitor

PATH: Final = "/compare"

GROUPS: Final = {
    "The token and the consent": ("revoke", "disconnect"),
    "The authorization server": ("rotate", "retire", "disable", "stop"),
    "The lab’s clock": ("clock-61", "clock-300", "expire"),
}

MEASURING_TIME: Final = 20.0
"""Seconds of real time after an event in which the page starts to measure when it is loaded."""

_PARAMETERS: Final[dict[str, Callable[[dict[str, Any]], dict[str, str]]]] = {
    "disconnect": lambda tokens: {"token": tokens["access_token"]},
    "rotate": lambda _: {},
    "retire": lambda tokens: {"token": tokens["access_token"]},
    "disable": lambda _: {"client_id": services().settings.client_id or ""},
    "stop": lambda _: {},
}
"""The parameters of each event for the control endpoint of the authorization server."""

_http = HttpClient(connect=1.0, read=5.0)


class EventFailed(Exception):
    """The event did not happen, for the reason in the message."""


def show(app: Flask) -> None:
    """Add the page to the client's application."""
    views: tuple[tuple[str, str, Callable[[], ResponseReturnValue], Kind], ...] = (
        ("GET", "", compare, "page"),
        ("POST", "/send", send, "page"),
        ("POST", "/event", event, "page"),
        ("POST", "/again", again, "page"),
        ("POST", "/back", restore, "page"),
        ("POST", "/connect", connect_and_return, "page"),
        ("POST", "/measure", measure, "api"),
    )
    blueprint = Blueprint(
        "compare", __name__, template_folder="templates", static_folder="static", static_url_path="/static/compare"
    )
    for method, path, view, kind in views:
        blueprint.add_url_rule(PATH + path, view.__name__, view, methods=[method])
        app.extensions["rolecall_kinds"][f"compare.{view.__name__}"] = kind
    blueprint.after_app_request(_return_here)
    app.register_blueprint(blueprint)


def compare() -> ResponseReturnValue:
    """GET /compare: the newest responses side by side, the events, and the score board."""
    tokens, board = services().sessions.tokens(), _load()
    now = clock.now()
    newest = board.rows[-1] if board.rows else None
    left = tokens["expires_at"] - now if tokens and tokens.get("expires_at") else None
    page = render_template(
        "compare/page.html",
        tokens=tokens,
        left=left,
        board=board,
        ways=WAYS,
        events=EVENTS,
        groups=GROUPS,
        server=_server_status(),
        offset=clock.offset(),
        refused=any(probe.status in {401, 403} for probe in board.newest.values()),
        is_measuring=bool(tokens and board.is_measuring(tokens["access_token"])),
        is_fresh=bool(newest and real_time() - newest.at < MEASURING_TIME),
        predicted=lambda event, way: prediction(event, way, left),
        check_result=lambda check: check_result(check, now),
        moment=lambda seconds: moment(seconds, now),
        distance=distance,
    )
    response = make_response(page)
    let_forms_leave(response, scripts=True)  # the button that connects redirects to the authorization endpoint
    response.headers["Content-Security-Policy"] += "; connect-src 'self'"
    return response


@with_error_pages
def send() -> ResponseReturnValue:
    """POST /compare/send: send the token once with each validation method."""
    tokens = services().sessions.tokens()
    if tokens is not None:
        _probe(tokens)
    return redirect(url_for("compare.compare"), 303)


@with_error_pages
def event() -> ResponseReturnValue:
    """POST /compare/event: send the token, let the event happen, and send the token again."""
    chosen, tokens = EVENTS.get(request.form.get("event", "")), services().sessions.tokens()
    if chosen is None or tokens is None:
        return redirect(url_for("compare.compare"), 303)
    before = _probe(tokens)
    lab_at = clock.now()
    try:
        outcome = _perform(chosen, tokens)
    except EventFailed as error:
        flash(f"The event did not happen: {error}.", "bad")
        return redirect(url_for("compare.compare"), 303)
    with _locked_board() as board:
        lab_at = clock.now() if chosen.advance is None else lab_at
        board.add(chosen, outcome, tokens, before, at=real_time(), lab_at=lab_at)
    _probe(tokens)
    return redirect(url_for("compare.compare", _anchor="scores"), 303)


@with_error_pages
def again() -> ResponseReturnValue:
    """POST /compare/again: send the token again, for browsers without JavaScript."""
    tokens = services().sessions.tokens()
    if tokens is not None:
        _probe(tokens)
    return redirect(url_for("compare.compare", _anchor="scores"), 303)


def measure() -> ResponseReturnValue:
    """POST /compare/measure: send the token again, and return the texts of the board that may have changed."""
    tokens = services().sessions.tokens()
    if tokens is None:
        return jsonify(error="Tally is not connected"), 403
    try:
        probes = probe_both(tokens)
    except Unreachable as error:
        return jsonify(error=str(error)), 503
    with _locked_board() as board:
        board.record(tokens["access_token"], probes)
    cells: dict[str, tuple[str, ...]] = {}
    for row in board.rows:
        for way, measurement in row.ways.items():
            cells[f"row-{row.number}-{way}"] = (
                measurement.tone,
                measurement.result,
                measurement.response,
                measurement.details,
            )
            if (newest := board.measured(row.event, way)) is not None:
                cells[f"notice-{row.event}-{way}"] = (newest.tone, newest.result)
    return jsonify(going_on=board.is_measuring(tokens["access_token"]), cells=cells)


def restore() -> ResponseReturnValue:
    """POST /compare/back: restore the server, the client, and the clock, or only what the parameter `what` names."""
    what = request.form.get("what", "")
    actions: dict[str, Callable[[], dict[str, Any]]] = {
        "go-on": lambda: _control("POST", "/acts", {"act": "go-on"}),
        "enable": lambda: _control("POST", "/acts", {"act": "enable", "client_id": services().settings.client_id}),
        "clock": lambda: _control("DELETE", "/clock", None),
    }
    try:
        sentences = [
            action().get("said", "The lab’s clock shows the real time again.")
            for name, action in actions.items()
            if what in {name, ""}
        ]
    except EventFailed as error:
        flash(f"Not everything was restored: {error}.", "bad")
        return redirect(url_for("compare.compare"), 303)
    with _locked_board() as board:
        board.close()
    flash(" ".join(sentences))
    return redirect(url_for("compare.compare"), 303)


def connect_and_return() -> ResponseReturnValue:
    """POST /compare/connect: start the flow as on the home page, and return here after it."""
    cookie["compare"] = True
    return connect()


def _return_here(response: Response) -> Response:
    """Redirect a user who connected from this page back to it instead of to the invoices."""
    if request.endpoint == "callback" and cookie.pop("compare", None) and response.location == url_for("invoices"):
        response.location = url_for("compare.compare")
    return response


def _probe(tokens: dict[str, Any]) -> list[Probe]:
    probes = probe_both(tokens)
    with _locked_board() as board:
        board.record(tokens["access_token"], probes)
    return probes


def _perform(chosen: Event, tokens: dict[str, Any]) -> str:
    """Let the event happen, and return a sentence about it.

    Raises:
        EventFailed: the event did not happen.
    """
    if chosen.advance is not None:
        seconds = chosen.advance or math.ceil(max(0, (tokens.get("expires_at") or 0) - clock.now())) + 1
        offset = _control("PUT", "/clock", {"advance": seconds})["offset"]
        return f"The lab’s clock was advanced by {seconds} s and is now {round(offset)} s ahead."
    if chosen.name == "revoke":
        try:
            with services().sessions.exclusive():
                held = services().sessions.tokens() or tokens
                services().runner.run("revoke", held)
                services().sessions.save(held)
        except (FlowError, Unreachable) as error:
            detail = error.detail if isinstance(error, FlowError) else str(error)
            raise EventFailed(detail) from error
        return "Tally has revoked its access token."
    return str(_control("POST", "/acts", {"act": chosen.name, **_PARAMETERS[chosen.name](tokens)})["said"])


def _server_status() -> dict[str, Any]:
    """Return for how many seconds the authorization server stays `unavailable`, and whether Tally is `disabled`."""
    try:
        status = _control("GET", "/acts", None)
        return {"unavailable": float(status["away"]), "disabled": services().settings.client_id in status["disabled"]}
    except (EventFailed, KeyError):
        return {"unavailable": 0.0, "disabled": False}


def _control(method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """Call a control endpoint of the authorization server's lab layer.

    Raises:
        EventFailed: the server does not respond, or rejects the request.
    """
    url = f"{services().settings.backchannel_url or services().settings.issuer}/_lab{path}"
    # these messages are not part of a flow, so they are not recorded
    with events.watching(events.Notebook()):
        try:
            response = _http.send(
                method,
                url,
                headers={"Content-Type": "application/json"} if body else None,
                body=json.dumps(body).encode() if body else None,
            )
            document = response.json()
        except (Unreachable, ValueError) as error:
            raise EventFailed(str(error)) from error
    if response.status != HTTPStatus.OK:
        raise EventFailed(str(document.get("error", f"the lab responded with {response.status}")))
    return document


def _load() -> Board:
    return Board.load(services().store.get("compare", visitor()))


@contextmanager
def _locked_board() -> Iterator[Board]:
    """Yield the browser's board and store its changes, in one request of the browser at a time."""
    store, browser = services().store, visitor()
    with (
        events.watching(events.Notebook()),  # the board must not appear among the recorded changes
        store.client.lock(f"{store.key('compare', browser)}:lock", timeout=20, blocking_timeout=5),
    ):
        board = _load()
        yield board
        store.put("compare", browser, board.dump(), services().settings.session_lifetime)
