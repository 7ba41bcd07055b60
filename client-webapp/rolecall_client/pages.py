"""Tally's pages: home, connect, the callback, the invoices, and the token actions."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from flask import flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from rolecall import audit, clock
from rolecall.http import Unreachable
from rolecall.web.errors import PageError, Problem
from rolecall.web.headers import let_forms_leave
from rolecall_client import flows
from rolecall_client.errors import with_error_pages
from rolecall_client.flow import Context, FlowError
from rolecall_client.flows import sign_in
from rolecall_client.money import money
from rolecall_client.services import services
from rolecall_client.times import moment

log = logging.getLogger(__name__)

_INVOICE_STRINGS: Final = ("supplier", "description", "number", "currency", "due_on", "state")


@dataclass(slots=True)
class InvoicesResponse:
    """A response of the Invoices API.

    Args:
        milliseconds: the response time.
        invoices: the valid invoices on this page.
        total: the number of invoices on all pages; `unpaid` of them are open.
        challenge: the `WWW-Authenticate` header.
        error: the error description.
    """

    status: int
    milliseconds: float
    invoices: list[dict[str, Any]]
    total: int
    unpaid: int
    pages: int
    challenge: str
    error: str


def home() -> ResponseReturnValue:
    """GET /: the role diagram, and the buttons to connect and to sign in."""
    response = make_response(
        render_template(
            "home.html",
            connected=services().sessions.tokens() is not None,
            user=services().sessions.user(),
            settings=services().settings,
        )
    )
    let_forms_leave(response)  # to the authorization endpoint, which may be on any host (RFC 8414 section 2)
    return response


@with_error_pages
def connect() -> ResponseReturnValue:
    """POST /connect: start the authorization code flow."""
    return redirect(services().runner.start("authorization_code"), 303)


@with_error_pages
def connect_and_sign_in() -> ResponseReturnValue:
    """POST /connect-and-sign-in: start the flow that does both."""
    return redirect(services().runner.start("connect_and_sign_in"), 303)


@with_error_pages
def callback() -> ResponseReturnValue:
    """GET /callback: handle the authorization response, and redirect, so that the code leaves the address bar."""
    flow, context, _ = services().runner.resume(_unique_parameters(request.args))
    if flow == sign_in.FLOW.name:
        # The access token was only needed for userinfo. It is not stored, and expires in a few minutes.
        _sign_in(context)
        return redirect(url_for("me"), 303)
    _revoke_connection()
    if flow == flows.connect_and_sign_in.FLOW.name:
        services().sessions.end()  # it has just been revoked
        _sign_in(context)
    services().sessions.begin(context.tokens)
    audit.record("connected")
    return redirect(url_for("invoices"), 303)


def _sign_in(context: Context) -> None:
    claims, previous = context.memory["claims"], services().sessions.user()
    if previous and previous["claims"]["sub"] != claims["sub"]:
        # the connection belongs to another user
        _revoke_connection()
        services().sessions.end()
    services().sessions.sign_in(claims, context.memory.get("userinfo"), context.memory["id_token"])
    audit.record("signed_in", subject=claims["sub"])


def _revoke_connection() -> None:
    """Revoke the tokens of the current connection. If that fails, they expire on their own."""
    if tokens := services().sessions.tokens():
        with suppress(FlowError, Unreachable):
            services().runner.run("disconnect", tokens)


@with_error_pages
def posted_callback() -> ResponseReturnValue:
    """POST /callback: store an authorization response sent as a form, and redirect to GET /callback.

    A form of another site does not send the session cookie, which is SameSite=Lax; the GET request does.
    """
    parameters = _unique_parameters(request.form)
    services().runner.store_response(parameters)
    return redirect(url_for("callback", state=parameters["state"], response_mode="form_post"), 303)


@with_error_pages
def invoices() -> ResponseReturnValue:
    """GET /invoices: request a page of invoices from the API, and show the response."""
    tokens = current_tokens()
    number = page_number()
    response = read_response(services().runner.run("ask", tokens, page=number).memory)
    return invoices_page("invoices.html", tokens, number, response)


def page_number() -> int:
    """Return the page that this request asks for; 1 if the parameter is missing or invalid."""
    value = request.args.get("page", "1")
    return int(value) if re.fullmatch("[1-9][0-9]{0,5}", value) else 1


def read_response(memory: dict[str, Any]) -> InvoicesResponse:
    """Return the response that the flow `ask` stored in its memory, without invalid parts."""
    body = memory["body"]
    rows = _invoices(body.get("invoices"))
    return InvoicesResponse(
        status=memory["status"],
        milliseconds=memory["milliseconds"],
        invoices=rows,
        total=_count(body.get("total"), len(rows)),
        unpaid=_count(body.get("open"), sum(row["state"] == "open" for row in rows)),
        pages=_count(body.get("pages"), 1),
        challenge=memory["challenge"],
        error=str(body.get("error_description", "")),
    )


def invoices_page(
    template: str, tokens: dict[str, Any], number: int, response: InvoicesResponse, **values: Any
) -> ResponseReturnValue:
    """Render the page for a response of the API.

    Args:
        number: the page of invoices that was requested.
        values: further variables of the template; they replace those given here.
    """
    now = clock.now()
    variables = {
        "response": response,
        "tokens": tokens,
        "page_number": number,
        "page_url": lambda other: url_for("invoices", page=other, _anchor="list"),
        "now": now,
        "money": money,
        "day": _day,
        "moment": lambda seconds: moment(seconds, now),
    }
    status = response.status if response.status in {200, 503} else 502
    return render_template(template, **(variables | values)), status, {"Retry-After": "2"} if status == 503 else {}


@with_error_pages
def refresh() -> ResponseReturnValue:
    """POST /refresh: get new tokens with the refresh token."""
    with services().sessions.exclusive():
        tokens = current_tokens()
        previous = tokens.get("refresh_token")
        try:
            services().runner.run("refresh_token", tokens)
        except FlowError as error:
            if error.error == "bad_refreshed_id_token":
                services().sessions.end()  # the new tokens may be another user's
            if error.error != "invalid_grant":
                raise
            services().sessions.end()
            raise FlowError("refused_refresh", error.detail) from error
        tokens.pop("revoked_at", None)
        services().sessions.save(tokens)
    is_rotated = tokens["refresh_token"] != previous
    flash(f"Tally has a new access token and {'a new' if is_rotated else 'the same'} refresh token.")
    return redirect(url_for("invoices"), 303)


@with_error_pages
def revoke() -> ResponseReturnValue:
    """POST /revoke: revoke the access token, and show how the API responds to it."""
    revoke_access_token()
    flash("The access token is revoked. Below is the API’s response to it.")
    return redirect(url_for("invoices"), 303)


def revoke_access_token() -> None:
    """Revoke the access token of the current connection.

    Raises:
        FlowError: the authorization server rejected the request.
        Unreachable: the authorization server did not respond.
    """
    with services().sessions.exclusive():
        tokens = current_tokens()
        services().runner.run("revoke", tokens)
        services().sessions.save(tokens)


@with_error_pages
def disconnect() -> ResponseReturnValue:
    """POST /disconnect: revoke all tokens, and end the connection."""
    revoked = True
    with services().sessions.exclusive():
        tokens = services().sessions.tokens()
        if tokens:
            services().runner.run("disconnect", tokens)
            revoked = not tokens
            audit.record("disconnected")
        services().sessions.end()
    ended = (
        "its tokens are revoked and deleted"
        if revoked
        else "its tokens are deleted. Tally could not revoke them, so they stay valid until they expire"
    )
    flash(
        f"Tally is disconnected: {ended}. You may still be signed in to the authorization server, and it may still "
        "have your consent, so it may not ask you to sign in or allow access next time."
    )
    return redirect(url_for("home"), 303)


def _unique_parameters(parameters: MultiDict[str, str]) -> dict[str, str]:
    """Return the parameters, none of which may be repeated; an empty one counts as omitted (RFC 6749 section 3.1)."""
    present = {name: [value for value in values if value] for name, values in parameters.lists()}
    if any(len(values) > 1 for values in present.values()):
        raise FlowError("repeated_parameter", "a parameter is repeated")
    return {name: values[0] for name, values in present.items() if values}


def current_tokens() -> dict[str, Any]:
    """Return the tokens of the current connection.

    Raises:
        PageError: the browser is not connected.
    """
    tokens = services().sessions.tokens()
    if tokens is None:
        lost = services().sessions.was_connected()
        raise PageError(
            Problem(
                403,
                "Your session with Tally has ended" if lost else "Tally is not connected",
                "The session expired, or its data were lost. Your invoices are not affected. Connect again to see them."
                if lost
                else "Connect your invoices to see them here.",
                (("Back to the home page", "/"),),
                is_error=lost,
            )
        )
    return tokens


def _invoices(value: Any) -> list[dict[str, Any]]:
    """Return the valid invoices; the API is another party, and its response may be malformed."""
    rows = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
    valid = [row for row in rows if _is_invoice(row)]
    if len(valid) < len(rows):
        log.warning("the API returned invalid invoices", extra={"number": len(rows) - len(valid)})
    return valid


def _is_invoice(row: dict[str, Any]) -> bool:
    amount = row.get("amount_minor")
    if not isinstance(amount, int) or abs(amount) >= 10**15:
        return False
    if not all(isinstance(row.get(name), str) for name in _INVOICE_STRINGS):
        return False
    try:
        date.fromisoformat(row["due_on"][:10])
    except ValueError:
        return False
    return True


def _count(value: Any, default: int) -> int:
    return value if isinstance(value, int) and 0 <= value < 10**9 else default


def _day(date_text: str) -> str:
    return date.fromisoformat(date_text[:10]).strftime("%-d %b %Y")
