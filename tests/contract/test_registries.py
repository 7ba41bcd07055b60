"""The tables are complete and correct: the code matches their rows, and each part of the code has a row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from rolecall import checks
from rolecall.vocabulary import PROFILES
from rolecall_auth import parameters
from rolecall_auth.clients.metadata import MEMBERS, Member
from rolecall_auth.grants import GRANTS
from rolecall_auth.routes import ROUTES as AUTH_ROUTES
from rolecall_client.flows import FLOWS
from rolecall_client.routes import ROUTES as CLIENT_ROUTES
from rolecall_lab.documentation import pages
from support.auth_server import INVOICES, TALLY, Server, authorize_url, query

ROOT = Path(__file__).parents[2]
CLAUSE = re.compile(r"RFC \d{4,5}|OpenID Connect (Core|Discovery|Registration) section|OAuth 2.0 |none: ")


@pytest.mark.parametrize("route", [*AUTH_ROUTES, *CLIENT_ROUTES], ids=lambda route: route.path)
def test_every_route_names_what_it_implements(route: object) -> None:
    assert CLAUSE.match(route.clause)  # type: ignore[attr-defined]
    assert route.view.__doc__  # type: ignore[attr-defined]


def test_every_check_names_its_clause_and_a_registered_error() -> None:
    import rolecall_resource  # noqa: F401  # its checks too

    registered = {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "unsupported_response_type", "invalid_scope", "access_denied", "invalid_target", "invalid_token",
        "insufficient_scope", "server_error", "temporarily_unavailable", "login_required", "consent_required",
        "unmet_authentication_requirements", "invalid_request_object", "invalid_request_uri",
        "invalid_redirect_uri", "invalid_client_metadata",
    }  # fmt: skip
    assert len(checks.registry) > 50
    for name, check in checks.registry.items():
        assert CLAUSE.match(check.clause), name
        assert check.error in registered, name
        assert check.refusal().description, name


def test_every_grant_is_in_the_metadata(server: Server) -> None:
    document = server.app.test_client().get("/.well-known/oauth-authorization-server").json
    assert document is not None
    assert document["grant_types_supported"] == [grant.grant_type for grant in GRANTS]
    for grant in GRANTS:
        assert CLAUSE.match(grant.clause)


def test_every_endpoint_of_the_metadata_answers(server: Server) -> None:
    client = server.app.test_client()
    document = client.get("/.well-known/oauth-authorization-server").json
    assert document is not None
    endpoints = {name: url for name, url in document.items() if name.endswith(("_endpoint", "_uri"))}
    assert len(endpoints) == 7
    for url in endpoints.values():
        path = url.removeprefix(document["issuer"])
        assert client.open(path, method="OPTIONS").status_code == 200


@pytest.mark.parametrize("parameter", parameters.PARAMETERS, ids=lambda parameter: parameter.name)
@pytest.mark.parametrize("value", ["é", "\0", "a\r\nb", "x" * 20000, "😀", "\x7f"], ids=repr)
def test_every_malformed_value_has_the_outcome_that_its_rfc_names(
    server: Server, parameter: parameters.Parameter, value: str
) -> None:
    """RFC 6749 appendix A: no input leads to a 500, and the response does not repeat it.

    The table covers RFC 6749 appendix A.1, A.2, A.3, A.4, A.5, A.6, A.10, A.11 and A.17, RFC 9101 sections 5.1 and 5.2.
    """
    if len(value) <= parameter.max_length and parameter.grammar.fullmatch(value):
        pytest.skip("the grammar allows this value")
    for endpoint in parameter.endpoints:
        if endpoint == "authorize":
            response = server.app.test_client().get(authorize_url(**{parameter.name: value}))
            assert response.status_code == (
                400 if parameter.name in {"client_id", "redirect_uri", "interaction"} else 303
            )
            if response.status_code == 303:
                expected = None if parameter.is_hint else parameter.error
                assert query(response.location).get("error") == expected
        elif endpoint in PAGES:
            page = server.app.test_client().get(f"/{endpoint}", query_string={parameter.name: value})
            assert page.status_code == 400
        else:
            response = unreadable(server, endpoint, parameter.name, value)
            assert (response.status_code, (response.json or {}).get("error")) == expected_outcome(endpoint, parameter)


def unreadable(server: Server, endpoint: str, name: str, value: str) -> TestResponse:
    """Send a request in which only this value is wrong."""
    headers = {"introspect": INVOICES, "userinfo": {}}.get(endpoint, TALLY)
    if name in {"client_id", "client_secret", "client_assertion", "client_assertion_type"}:
        headers = {}
    form = {
        "token": {"grant_type": "refresh_token" if name == "refresh_token" else "authorization_code", "code": "x"},
        "userinfo": {},
    }.get(endpoint, {"token": "x"})
    return server.app.test_client().post(f"/{endpoint}", data=form | {name: value}, headers=headers)


def expected_outcome(endpoint: str, parameter: parameters.Parameter) -> tuple[int, str | None]:
    """Return the status and the error for a malformed value, which some endpoints treat as an unknown value."""
    if endpoint not in parameter.unknown_at:
        return (200, None) if parameter.is_hint else (400, parameter.error)
    return UNKNOWN[parameter.name]


UNKNOWN: dict[str, tuple[int, str | None]] = {
    "client_id": (401, "invalid_client"),
    "client_secret": (401, "invalid_client"),
    "client_assertion": (401, "invalid_client"),
    "client_assertion_type": (401, "invalid_client"),
    "grant_type": (400, "unsupported_grant_type"),
    "code": (400, "invalid_grant"),
    "redirect_uri": (400, "invalid_grant"),
    "refresh_token": (400, "invalid_grant"),
    "access_token": (401, "invalid_token"),
    "token": (200, None),
}
"""The outcome of an unknown value: RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 7662 section 2.2, RFC 7009."""


PAGES = {route.name for route in AUTH_ROUTES if route.kind == "page"} - {"authorize"}

_NO_LIST = ["x", 5, 1.5, True, {}, {"0": "x"}]
_NO_LIST_OF_TEXTS = [*_NO_LIST, [5], [None], [True], [["x"]], [{}]]
_NO_TEXT = [5, 1.5, True, [], ["x"], {}, {"x": "y"}]
WRONG_TYPES: dict[str, list[Any]] = {
    "text": _NO_TEXT,
    "uri": _NO_TEXT,
    "texts": _NO_LIST_OF_TEXTS,
    "uris": _NO_LIST_OF_TEXTS,
    "number": ["5", 1.5, True, [], [5], {}],
    "flag": ["true", 0, 1, [], [True], {}],
    "keys": ["x", 5, True, [], [{}], {}, {"keys": {}}, {"keys": "x"}, {"keys": [5]}],
}
"""JSON values that a member of a kind cannot have; null counts as left out."""


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_every_member_refuses_every_wrong_json_type(server: Server, member: Member) -> None:
    """RFC 7591 section 3.2.2: the error is right at registration and at replacement (RFC 7592 section 2.2)."""
    from support.registration import manage, register, registered

    client = registered(server)
    error = "invalid_redirect_uri" if member.name == "redirect_uris" else "invalid_client_metadata"
    for value in WRONG_TYPES[member.kind]:
        wrong = {member.name: value}
        for answer in (register(server, **wrong), manage(server, client, "PUT", **wrong)):
            assert (answer.status_code, answer.json["error"]) == (400, error), value
            assert member.name in answer.json["error_description"]


def test_every_flow_is_made_of_named_steps() -> None:
    for name, flow in FLOWS.items():
        assert flow.name == name
        assert CLAUSE.match(flow.specification)
        assert flow.steps
        for step in flow.steps:
            assert 1 <= step.diagram <= 5
            assert step.build.__doc__
            assert step.handle.__doc__


def test_profiles_are_the_three_of_the_design() -> None:
    assert PROFILES == ("oauth2.1", "openid", "fapi2")


def test_the_generated_pages_are_up_to_date() -> None:
    assert pages.SETTINGS.read_text(encoding="utf-8") == pages.settings_page(), "run `make docs`"
    containers = pages.CONTAINERS.read_text(encoding="utf-8")
    assert pages.with_containers(containers) == containers, "run `make docs`"


def test_no_template_loads_anything_from_elsewhere_or_holds_a_script() -> None:
    # the pages of tests/interop belong to an app with a library of another project
    templates = [path for path in ROOT.rglob("*.html") if {".venv", "interop", "_site"}.isdisjoint(path.parts)]
    assert len(templates) > 10
    for path in templates:
        text = path.read_text()
        assert not re.search(r"""(src|href|action)=["'](https?:)?//""", text), path
        if path.name == "form_post.html":
            script = """<script src="{{ url_for('static', filename='form_post.js') }}" defer></script>"""
            assert script in text
            text = text.replace(script, "")
        if "lab" in path.relative_to(ROOT).parts:
            # the lab's pages may load the lab's modules
            text = re.sub(r"""<script type="module" src="\{\{ url_for\([^}]+\) \}\}"></script>""", "", text)
        assert "<script" not in text, path
        assert "style=" not in text, path
        assert "onclick" not in text, path


@pytest.mark.parametrize("service", ["auth-service", "resource-service", "client-webapp", "shared"])
def test_services_do_not_know_the_lab(service: str) -> None:
    for path in (ROOT / service).rglob("*.py"):
        assert "rolecall_lab" not in path.read_text(), path
