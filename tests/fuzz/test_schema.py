"""The services keep to what they publish at /openapi.json (OpenAPI 3.1, schemathesis)."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from auth_support import INVOICES, TALLY, Server
from fuzz.effort import examples
from pages import tokens_of_a_native_client
from stack import Stack

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def keeps_to_its_schema(schema: Any, headers: dict[str, dict[str, str]]) -> None:
    """Every operation, with and without `headers`, which are given by path."""
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 5
    for operation in operations:
        _keeps(operation, {}, len(operations))
        _keeps(operation, headers.get(operation.path, {}), len(operations))


def _keeps(operation: Any, headers: dict[str, str], operations: int) -> None:
    @settings(max_examples=examples(15, 10 * operations))
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, headers=headers)

    check()


def of(app: Flask) -> Any:
    """The description that an application publishes."""
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


def test_the_authorization_server(server: Server) -> None:
    keeps_to_its_schema(of(server.app), {"/token": TALLY, "/revoke": TALLY, "/introspect": INVOICES})


def test_the_invoices_api(api: Any) -> None:
    api.server.introspection = {"active": False}
    keeps_to_its_schema(of(api.app), {"/invoices": {"Authorization": "Bearer a.b.c"}})


def test_tally(tally: Any) -> None:
    keeps_to_its_schema(of(tally.app), {})


@pytest.mark.integration
@pytest.mark.parametrize("service", ["client", "auth", "api"])
def test_the_running_services(stack: Stack, service: str) -> None:
    """Through gunicorn, a socket and all that lies between; with an access token that is good."""
    bearer = {"Authorization": f"Bearer {tokens_of_a_native_client(stack)['access_token']}"}
    schema = schemathesis.openapi.from_url(f"{getattr(stack, service)}/openapi.json")
    keeps_to_its_schema(schema, dict.fromkeys(("/invoices", "/profile", "/invoices/{invoice_id}"), bearer))
