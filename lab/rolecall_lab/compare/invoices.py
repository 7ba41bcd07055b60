"""Adds the choice of the validator, and the resource server's report, to Tally's page with the invoices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from flask import Blueprint, Flask, flash, make_response, redirect, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import clock
from rolecall.openapi import Operation, Schema, publish, string
from rolecall_client import openapi, pages
from rolecall_client.errors import with_error_pages
from rolecall_client.services import services
from rolecall_lab.compare.report import objects, report, with_validator
from rolecall_lab.compare.sentences import CheckResult, check_result

CHOICES: Final = {"introspection": ("introspection",), "jwt": ("jwt",), "both": ("introspection", "jwt")}
"""The validators that each value of the parameter `check` uses."""

_CHECK: Final = string(enum=list(CHOICES), description="How the API validates the token; only in the lab.")


@dataclass(slots=True)
class Outcome(pages.InvoicesResponse):
    """A response of the API with its report: the validator, the checks, the calls, and the milliseconds it `spent`."""

    way: str
    checks: list[CheckResult] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    spent: float | None = None


def show(app: Flask) -> None:
    """Replace views, flows, and the OpenAPI description of Tally's application; call it after flows have been added."""
    app.register_blueprint(Blueprint("validators", __name__, template_folder="templates"))
    app.view_functions |= {"invoices": invoices, "refresh": refresh, "revoke": revoke}
    runner = app.extensions["rolecall_client"].runner
    runner.flows = {name: with_validator(flow) for name, flow in runner.flows.items()}
    settings = app.extensions["rolecall_client"].settings
    description = openapi.description(settings, app.config["SESSION_COOKIE_NAME"])
    publish(app, replace(description, operations={**description.operations, **_operations(description.operations)}))


@with_error_pages
def invoices() -> ResponseReturnValue:
    """GET /invoices: request the invoices with one validator or with both, and show the responses."""
    tokens, number = pages.current_tokens(), pages.page_number()
    way = request.args.get("check", "introspection")
    outcomes = [_request(tokens, each, number) for each in CHOICES.get(way, CHOICES["introspection"])]
    return pages.invoices_page(
        "compare/invoices.html",
        tokens,
        number,
        min(outcomes, key=lambda outcome: (outcome.status != 200, outcome.status != 503)),
        outcomes=outcomes,
        way=way,
        page_url=lambda other: url_for("invoices", check=way, page=other, _anchor="list"),
    )


def refresh() -> ResponseReturnValue:
    """POST /refresh: refresh the tokens, and show the invoices with the same validator as before."""
    response = make_response(pages.refresh())
    if response.location == url_for("invoices"):
        response.location = url_for("invoices", check=request.form.get("check"))
    return response


@with_error_pages
def revoke() -> ResponseReturnValue:
    """POST /revoke: revoke the access token, and show how the validators differ."""
    pages.revoke_access_token()
    flash("The access token is revoked. Below are the API’s responses to it with both methods.")
    return redirect(url_for("invoices", check="both"), 303)


def _request(tokens: dict[str, Any], way: str, number: int) -> Outcome:
    memory = services().runner.run("ask", tokens, validator=way, page=number).memory
    reported, now = report(memory), clock.now()
    return Outcome(
        **asdict(pages.read_response(memory)),
        way=way,
        checks=[check_result(check, now) for check in objects(reported.get("checks"))],
        calls=objects(reported.get("calls")),
        spent=reported.get("milliseconds"),
    )


def _operations(operations: Mapping[tuple[str, str], Operation]) -> dict[tuple[str, str], Operation]:
    invoices, refresh = operations["invoices", "GET"], operations["refresh", "POST"]
    parameter: Schema = {"name": "check", "in": "query", "schema": _CHECK}
    form = dict(refresh.form or {})
    form["properties"] = {"check": _CHECK, **form["properties"]}
    return {
        ("invoices", "GET"): replace(invoices, parameters=(parameter, *invoices.parameters)),
        ("refresh", "POST"): replace(refresh, form=form),
    }
