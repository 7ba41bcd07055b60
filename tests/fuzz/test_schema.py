"""The services follow their OpenAPI descriptions at /openapi.json (OpenAPI 3.1, schemathesis)."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.auth_server import INVOICES, TALLY, Server
from support.fuzz import metadata
from support.fuzz.effort import examples
from support.fuzz.party import register
from support.fuzz.visitor import Visitor
from support.openid import relying_party, tokens
from support.stack import Stack

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


Known = dict[str, tuple[dict[str, str], dict[str, str]]]
"""Valid headers, and the path parameters that belong to them, by path."""


def keeps_to_its_schema(schema: Any, known: Known) -> None:
    """Send valid and invalid requests for every operation, without credentials and with those in `known`."""
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 5
    assert known.keys() <= {operation.path for operation in operations}
    for operation in operations:
        headers, names = known.get(operation.path, ({}, {}))
        # an operation without parameters and body has no invalid requests
        for mode in GenerationMode if operation.query or operation.body else (GenerationMode.POSITIVE,):
            _keeps(operation, mode, {}, {}, len(operations))
            if headers or names:
                _keeps(operation, mode, headers, names, len(operations))


def _keeps(operation: Any, mode: GenerationMode, headers: dict[str, str], names: dict[str, str], of: int) -> None:
    pinned = {"path_parameters": names} if names else {}

    @settings(max_examples=examples(3, 10 * of))
    @given(case=operation.as_strategy(mode, **pinned))
    def check(case: Any) -> None:
        answer = case.call(headers=headers)
        # gunicorn itself rejects very long URLs, so the description of the application does not apply
        if answer.status_code != 414:
            case.validate_response(answer, checks=CHECKS, headers=headers)

    check()


def of(app: Flask) -> Any:
    """Return the description that an application publishes."""
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


def test_the_authorization_server(server: Server) -> None:
    server.add(relying_party())
    bearer = {"Authorization": f"Bearer {tokens(server)['access_token']}"}
    keeps_to_its_schema(
        of(server.app),
        {
            "/token": (TALLY, {}),
            "/revoke": (TALLY, {}),
            "/introspect": (INVOICES, {}),
            "/userinfo": (bearer, {}),
            "/register/{client_id}": registered(server.app.test_client().post("/register", json=metadata.GOOD).json),
        },
    )


def registered(told: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return header and path parameter for the registration in a registration response (RFC 7592 section 2)."""
    bearer = {"Authorization": f"Bearer {told['registration_access_token']}"}
    return bearer, {"client_id": told["client_id"]}


def test_the_invoices_api(api: Any) -> None:
    api.server.introspection = {"active": False}
    keeps_to_its_schema(of(api.app), {"/invoices": ({"Authorization": "Bearer a.b.c"}, {})})


def test_tally(tally: Any) -> None:
    keeps_to_its_schema(of(tally.app), {})


@pytest.mark.integration
@pytest.mark.parametrize("service", ["client", "auth", "api"])
def test_the_running_services(stack: Stack, service: str) -> None:
    """Send the requests through gunicorn, with valid tokens and secrets."""
    parties = register(stack)
    visitor = Visitor.arrive(stack, parties)
    headers = {name: {"Authorization": value.decode()} for name, value in visitor.authorizations.items()}
    basic = {"Authorization": parties["client_secret_basic"].authorization.decode()}
    bearer, invoice = headers["resource-service"], {"invoice_id": visitor.known["invoice"]}
    known: dict[str, Known] = {
        "client": dict.fromkeys(("/invoices", "/me", "/"), ({"Cookie": visitor.cookies("client-webapp").decode()}, {})),
        "auth": {
            "/token": (basic, {}),
            "/revoke": (basic, {}),
            "/introspect": (headers["introspect"], {}),
            "/userinfo": (headers["userinfo"], {}),
            "/register/{client_id}": (headers["registration"], {"client_id": visitor.known["registration"]}),
            "/logos/{client_id}": ({}, {"client_id": parties["client_secret_post"].client_id}),
            "/apps": ({"Cookie": visitor.cookies("auth-service").decode()}, {}),
        },
        "api": {
            "/invoices": (bearer, {}),
            "/profile": (bearer, {}),
            "/invoices/{invoice_id}": (bearer, invoice),
            "/invoices/{invoice_id}/payment": (bearer, invoice),
        },
    }
    schema = schemathesis.openapi.from_url(f"{getattr(stack, service)}/openapi.json")
    keeps_to_its_schema(schema, known[service])
