"""Tally's page /compare, in the lab only: one token sent both ways, events to try, and the score board."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, flash, jsonify, make_response, redirect, render_template, request, url_for
from flask import session as cookie
from flask.typing import ResponseReturnValue

from rolecall import clock, events
from rolecall.http import HttpClient, Unreachable
from rolecall.web import Kind, allow_form_targets
from rolecall_client.errors import with_error_pages
from rolecall_client.flow import FlowError
from rolecall_client.pages import connect
from rolecall_client.services import services
from rolecall_client.times import distance, moment
from rolecall_lab.compare.asking import WAYS, ask_both_ways, real
from rolecall_lab.compare.board import EVENTS, Board, Event, prediction
from rolecall_lab.compare.sentences import check_result

log = logging.getLogger(__name__)

PATH: Final = "/compare"

GROUPS: Final = {
    "What was given": ("revoke", "disconnect"),
    "The authorization server": ("rotate", "retire", "disable", "stop"),
    "The lab’s clock": ("clock-61", "clock-300", "expire"),
}

FRESH: Final = 20.0
"""Seconds of real time in which a page that is opened goes on measuring by itself."""

_ACTS: Final[dict[str, Callable[[dict[str, Any]], dict[str, str]]]] = {
    "disconnect": lambda tokens: {"token": tokens["access_token"]},
    "rotate": lambda _: {},
    "retire": lambda tokens: {"token": tokens["access_token"]},
    "disable": lambda _: {"client_id": services().settings.client_id},
    "stop": lambda _: {},
}
"""What the authorization server's control endpoint needs to know for each event that it makes."""

_http = HttpClient(connect=1.0, read=5.0)


class NotDone(Exception):
    """What was asked for did not happen; the text says why."""


def show(app: Flask) -> None:
    """Add the page to Tally's application."""
    views: tuple[tuple[str, str, Callable[[], ResponseReturnValue], Kind], ...] = (
        ("GET", "", compare, "page"),
        ("POST", "/send", send, "page"),
        ("POST", "/event", event, "page"),
        ("POST", "/again", again, "page"),
        ("POST", "/back", put_back, "page"),
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
    """GET /compare: the newest answers side by side, the events, the score board."""
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
        condition=_condition(),
        offset=clock.offset(),
        refused=any(each.status in {401, 403} for each in board.newest.values()),
        going_on=bool(tokens and board.going_on(tokens["access_token"])),
        is_fresh=bool(newest and real() - newest.at < FRESH),
        predicted=lambda event, way: prediction(event, way, left),
        check_result=lambda check: check_result(check, now),
        moment=lambda seconds: moment(seconds, now),
        distance=distance,
    )
    response = make_response(page)
    # the button that connects leads to the authorization server
    parts = urlsplit(services().settings.issuer)
    allow_form_targets(response, f"{parts.scheme}://{parts.netloc}")
    response.headers["Content-Security-Policy"] += "; script-src 'self'; connect-src 'self'"
    return response


@with_error_pages
def send() -> ResponseReturnValue:
    """POST /compare/send: the token goes to the API both ways, once."""
    tokens = services().sessions.tokens()
    if tokens is not None:
        _ask(tokens)
    return redirect(url_for("compare.compare"), 303)


@with_error_pages
def event() -> ResponseReturnValue:
    """POST /compare/event: ask both ways, do it, ask both ways; the page goes on asking."""
    chosen, tokens = EVENTS.get(request.form.get("event", "")), services().sessions.tokens()
    if chosen is None or tokens is None:
        return redirect(url_for("compare.compare"), 303)
    before = _ask(tokens)
    lab_at = clock.now()
    try:
        said = _make(chosen, tokens)
    except NotDone as error:
        flash(f"Nothing was done: {error}.", "bad")
        return redirect(url_for("compare.compare"), 303)
    with _changing() as board:
        board.add(chosen, said, tokens, before, at=real(), lab_at=lab_at if chosen.advance is not None else clock.now())
    _ask(tokens)
    return redirect(url_for("compare.compare", _anchor="board"), 303)


@with_error_pages
def again() -> ResponseReturnValue:
    """POST /compare/again: one more question both ways, for browsers without script."""
    tokens = services().sessions.tokens()
    if tokens is not None:
        _ask(tokens)
    return redirect(url_for("compare.compare", _anchor="board"), 303)


def measure() -> ResponseReturnValue:
    """POST /compare/measure: one question both ways; gives the texts of the board that may have changed."""
    tokens = services().sessions.tokens()
    if tokens is None:
        return jsonify(error="Tally is not connected"), 403
    try:
        asked = ask_both_ways(tokens)
    except Unreachable as error:
        return jsonify(error=str(error)), 503
    with _changing() as board:
        board.take(tokens["access_token"], asked)
    cells: dict[str, tuple[str, ...]] = {}
    for row in board.rows:
        for way, measured in row.ways.items():
            cells[f"row-{row.number}-{way}"] = (measured.tone, measured.result, measured.answer, measured.details)
            if (newest := board.measured(row.event, way)) is not None:
                cells[f"notice-{row.event}-{way}"] = (newest.tone, newest.result)
    return jsonify(going_on=board.going_on(tokens["access_token"]), cells=cells)


def put_back() -> ResponseReturnValue:
    """POST /compare/back: the clock, the answers and the client as they were; `what` asks for one of them alone."""
    what = request.form.get("what", "")
    undone: dict[str, Callable[[], dict[str, Any]]] = {
        "go-on": lambda: _lab("POST", "/acts", {"act": "go-on"}),
        "enable": lambda: _lab("POST", "/acts", {"act": "enable", "client_id": services().settings.client_id}),
        "clock": lambda: _lab("DELETE", "/clock", None),
    }
    try:
        said = [act().get("said", "The clock is right again.") for name, act in undone.items() if what in {name, ""}]
    except NotDone as error:
        flash(f"Not all of it was put back: {error}.", "bad")
        return redirect(url_for("compare.compare"), 303)
    with _changing() as board:
        board.finish()
    flash(" ".join(said))
    return redirect(url_for("compare.compare"), 303)


def connect_and_return() -> ResponseReturnValue:
    """POST /compare/connect: begin the flow as on the first page, and come back here after it."""
    cookie["compare"] = True
    return connect()


def _return_here(response: Response) -> Response:
    """Who began to connect on this page comes back to it, and not to the invoices."""
    if request.endpoint == "callback" and cookie.pop("compare", None) and response.location == url_for("invoices"):
        response.location = url_for("compare.compare")
    return response


def _ask(tokens: dict[str, Any]) -> list[Any]:
    asked = ask_both_ways(tokens)
    with _changing() as board:
        board.take(tokens["access_token"], asked)
    return asked


def _make(chosen: Event, tokens: dict[str, Any]) -> str:
    """Let the event happen; gives what is said of it.

    Raises:
        NotDone: it did not happen.
    """
    if chosen.advance is not None:
        seconds = chosen.advance or math.ceil(max(0, (tokens.get("expires_at") or 0) - clock.now())) + 1
        offset = _lab("PUT", "/clock", {"advance": seconds})["offset"]
        return f"The lab’s clock is turned by {seconds} s, and goes {round(offset)} s ahead."
    if chosen.name == "revoke":
        try:
            with services().sessions.exclusive():
                held = services().sessions.tokens() or tokens
                services().runner.run("revoke", held)
                services().sessions.save(held)
        except (FlowError, Unreachable) as error:
            detail = error.detail if isinstance(error, FlowError) else str(error)
            raise NotDone(detail) from error
        return "Tally has revoked its access token."
    return str(_lab("POST", "/acts", {"act": chosen.name, **_ACTS[chosen.name](tokens)})["said"])


def _condition() -> dict[str, Any]:
    """How the authorization server is: `away` in seconds that it still will be, and whether Tally is `disabled`."""
    try:
        found = _lab("GET", "/acts", None)
        return {"away": float(found["away"]), "disabled": services().settings.client_id in found["disabled"]}
    except (NotDone, KeyError):
        return {"away": 0.0, "disabled": False}


def _lab(method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """Ask a control endpoint of the authorization server's lab layer.

    Raises:
        NotDone: it does not answer, or refuses.
    """
    url = f"{services().settings.backchannel_url or services().settings.issuer}/_lab{path}"
    # no message of any flow, so it is not drawn among them
    with events.watching(events.Notebook()):
        try:
            answer = _http.send(
                method,
                url,
                headers={"Content-Type": "application/json"} if body else None,
                body=json.dumps(body).encode() if body else None,
            )
            found = answer.json()
        except (Unreachable, ValueError) as error:
            raise NotDone(str(error)) from error
    if answer.status != HTTPStatus.OK:
        raise NotDone(str(found.get("error", f"the lab answered {answer.status}")))
    return found


def _load() -> Board:
    return Board.load(services().store.get("compare", services().sessions.browser()))


@contextmanager
def _changing() -> Iterator[Board]:
    """The browser's board; what the block changes is kept. One request of the browser at a time."""
    store, browser = services().store, services().sessions.browser()
    with (
        events.watching(events.Notebook()),  # the board is no part of what it shows
        store.client.lock(f"{store.key('compare', browser)}:lock", timeout=20, blocking_timeout=5),
    ):
        board = _load()
        yield board
        store.put("compare", browser, board.dump(), services().settings.session_lifetime)
