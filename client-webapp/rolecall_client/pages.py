"""Tally's pages: connect, the callback, the invoices, and what can be done with a token."""

from __future__ import annotations

import json
import logging
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from flask import flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from rolecall import audit, clock
from rolecall.http import Unreachable
from rolecall.web.errors import PageError, Problem
from rolecall.web.headers import allow_form_targets, origin_of
from rolecall_client.errors import explained
from rolecall_client.flow import Refused
from rolecall_client.flows import sign_in
from rolecall_client.money import money
from rolecall_client.services import services
from rolecall_client.told import Told, moment, told

log = logging.getLogger(__name__)

WAYS: Final = {"introspection": ("introspection",), "jwt": ("jwt",), "both": ("introspection", "jwt")}
"""The ways of checking a token that a page can ask for."""

_INVOICE_TEXTS: Final = ("supplier", "description", "number", "currency", "due_on", "state")


@dataclass(slots=True)
class Outcome:
    """What one question to the API came to: status, a page of invoices, and what the resource server did, if it tells.

    Args:
        total: invoices on all pages, of which `unpaid` are open.
    """

    way: str
    status: int
    milliseconds: float
    invoices: list[dict[str, Any]]
    total: int
    unpaid: int
    pages: int
    challenge: str
    error: str
    checks: list[Told] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    spent: float | None = None


def home() -> ResponseReturnValue:
    """GET /: the role diagram and the button."""
    response = make_response(
        render_template(
            "home.html",
            connected=services().sessions.tokens() is not None,
            person=services().sessions.person(),
            settings=services().settings,
        )
    )
    # the button's answer leads to the authorization server, and from there back to us
    allow_form_targets(response, origin_of(services().settings.issuer))
    return response


@explained
def connect() -> ResponseReturnValue:
    """POST /connect: begin the flow, send the browser on."""
    return redirect(services().runner.start("authorization_code", services().sessions.browser()), 303)


@explained
def callback() -> ResponseReturnValue:
    """GET /callback: the browser brings the answer; then away from the address that holds the code."""
    flow, context, _ = services().runner.resume(services().sessions.browser(), _once(request.args))
    if flow == sign_in.FLOW.name:
        return _signed_in(context.memory["claims"], context.memory["userinfo"])
    _give_back()
    services().sessions.begin(context.tokens)
    audit.record("connected")
    return redirect(url_for("invoices"), 303)


def _signed_in(claims: dict[str, Any], userinfo: dict[str, Any]) -> ResponseReturnValue:
    """The access token was for userinfo: nobody keeps it, and it ends by itself in a few minutes."""
    before = services().sessions.person()
    if before and before["claims"]["sub"] != claims["sub"]:
        # what another person connected in this browser is not theirs
        _give_back()
        services().sessions.end()
    services().sessions.sign_in(claims, userinfo)
    audit.record("signed_in", subject=claims["sub"])
    return redirect(url_for("me"), 303)


def _give_back() -> None:
    """Nobody will hold the connection's tokens any more; should they live on, they end by themselves."""
    if before := services().sessions.tokens():
        with suppress(Refused, Unreachable):
            services().runner.run("disconnect", before)


@explained
def posted_callback() -> ResponseReturnValue:
    """POST /callback: the answer in a form. Another site's form brings no Lax cookie; the GET that follows does."""
    answer = _once(request.form)
    services().runner.keep_answer(answer)
    return redirect(url_for("callback", state=answer["state"], response_mode="form_post"), 303)


@explained
def invoices() -> ResponseReturnValue:
    """GET /invoices: ask the API, one way or both, and show what came back."""
    tokens = _tokens()
    way = request.args.get("check", "introspection")
    asked = request.args.get("page", "1")
    page_number = int(asked) if re.fullmatch("[1-9][0-9]{0,5}", asked) else 1
    # only the lab's API lets the caller choose how it checks
    chosen = WAYS.get(way, WAYS["introspection"]) if services().settings.lab else ("",)
    outcomes = [_ask(tokens, each, page_number) for each in chosen]
    statuses = {outcome.status for outcome in outcomes}
    status = 200 if 200 in statuses else 503 if 503 in statuses else 502
    now = clock.now()
    page = render_template(
        "invoices.html",
        outcomes=outcomes,
        tokens=tokens,
        way=way,
        page_number=page_number,
        now=now,
        money=money,
        day=_day,
        moment=lambda seconds: moment(seconds, now),
    )
    return page, status, {"Retry-After": "2"} if status == 503 else {}


@explained
def refresh() -> ResponseReturnValue:
    """POST /refresh: a new access token for the refresh token."""
    with services().sessions.alone():
        tokens = _tokens()
        try:
            services().runner.run("refresh_token", tokens)
        except Refused as error:
            if error.error != "invalid_grant":
                raise
            services().sessions.end()
            raise Refused("refused_refresh", error.detail) from error
        tokens.pop("revoked_at", None)
        services().sessions.keep(tokens)
    flash("Tally has a new access token, and a new refresh token in the place of the old one.")
    return redirect(url_for("invoices", check=request.form.get("check")), 303)


@explained
def revoke() -> ResponseReturnValue:
    """POST /revoke: the access token ends; both ways of checking are asked at once, to see the difference."""
    with services().sessions.alone():
        tokens = _tokens()
        services().runner.run("revoke", tokens)
        services().sessions.keep(tokens)
    again = ", both ways" if services().settings.lab else ""
    flash(f"The access token is revoked. Below, the API was asked with it again{again}.")
    return redirect(url_for("invoices", check="both"), 303)


@explained
def disconnect() -> ResponseReturnValue:
    """POST /disconnect: revoke everything, end the session."""
    with services().sessions.alone():
        tokens = services().sessions.tokens()
        if tokens:
            services().runner.run("disconnect", tokens)
            audit.record("disconnected")
        services().sessions.end()
    flash(
        "Tally is disconnected: its tokens are revoked and forgotten. The authorization server still remembers that "
        "you allowed it, and that you are signed in, so it will not ask next time. To be asked again, "
        "disconnect it there too, under connected apps."
    )
    return redirect(url_for("home"), 303)


def _once(answer: MultiDict[str, str]) -> dict[str, str]:
    """The answer's parameters, each once (RFC 6749 section 3.1)."""
    if any(len(values) > 1 for _, values in answer.lists()):
        raise Refused("repeated_parameter", "a parameter is repeated")
    return answer.to_dict()


def _tokens() -> dict[str, Any]:
    tokens = services().sessions.tokens()
    if tokens is None:
        lost = services().sessions.was_connected()
        raise PageError(
            Problem(
                403,
                "Your session with Tally is gone" if lost else "Tally is not connected",
                "It ended, or was lost with the memory that held it. Your invoices are where they were; "
                "connect again to see them."
                if lost
                else "There is nothing to show before you connect your invoices.",
                (("Back to the first page", "/"),),
                is_error=lost,
            )
        )
    return tokens


def _ask(tokens: dict[str, Any], way: str, page_number: int) -> Outcome:
    answer = services().runner.run("ask", tokens, validator=way, page=page_number).memory
    try:
        report = json.loads(answer["report"] or "{}")
    except ValueError:
        report = {}
    report = report if isinstance(report, dict) else {}
    now = clock.now()
    body = answer["body"]
    listed = _invoices(body.get("invoices"))
    return Outcome(
        way=way,
        status=answer["status"],
        milliseconds=answer["milliseconds"],
        invoices=listed,
        total=_count(body.get("total"), len(listed)),
        unpaid=_count(body.get("open"), sum(row["state"] == "open" for row in listed)),
        pages=_count(body.get("pages"), 1),
        challenge=answer["challenge"],
        error=str(body.get("error_description", "")),
        checks=[told(check, now) for check in _objects(report.get("checks"))],
        calls=_objects(report.get("calls")),
        spent=report.get("milliseconds"),
    )


def _invoices(value: Any) -> list[dict[str, Any]]:
    """The rows that are what an invoice must be: the API is another party, and may answer strangely."""
    rows = _objects(value)
    good = [row for row in rows if _is_invoice(row)]
    if len(good) < len(rows):
        log.warning("the API sent invoices that are none", extra={"number": len(rows) - len(good)})
    return good


def _is_invoice(row: dict[str, Any]) -> bool:
    amount = row.get("amount_minor")
    if not isinstance(amount, int) or abs(amount) >= 10**15:
        return False
    if not all(isinstance(row.get(name), str) for name in _INVOICE_TEXTS):
        return False
    try:
        date.fromisoformat(row["due_on"][:10])
    except ValueError:
        return False
    return True


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and 0 <= value < 10**9 else otherwise


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _day(text: str) -> str:
    """An ISO date as people read it."""
    return date.fromisoformat(text[:10]).strftime("%-d %b %Y")
