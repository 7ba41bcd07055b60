"""The services keep to what they publish at /openapi.json (OpenAPI 3.1, schemathesis, in this process)."""

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

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def keeps_to_its_schema(app: Flask, headers: dict[str, dict[str, str]]) -> None:
    """Every operation, with and without `headers`, which are given by path."""
    if not any(rule.rule == "/openapi.json" for rule in app.url_map.iter_rules()):
        pytest.skip("there is no /openapi.json")
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert operations
    for operation in operations:
        _keeps(operation, {}, len(operations))
        _keeps(operation, headers.get(operation.path, {}), len(operations))


def _keeps(operation: Any, headers: dict[str, str], operations: int) -> None:
    @settings(max_examples=examples(15, 10 * operations))
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, headers=headers)

    check()


def test_the_authorization_server(server: Server) -> None:
    keeps_to_its_schema(server.app, {"/token": TALLY, "/revoke": TALLY, "/introspect": INVOICES})


def test_the_invoices_api(api: Any) -> None:
    api.server.introspection = {"active": False}
    keeps_to_its_schema(api.app, {"/invoices": {"Authorization": "Bearer a.b.c"}})


def test_tally(tally: Any) -> None:
    keeps_to_its_schema(tally.app, {})
