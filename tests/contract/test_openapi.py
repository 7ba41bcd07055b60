"""The services' descriptions at /openapi.json are complete and correct (OpenAPI 3.1)."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs
import pytest
from flask import Flask
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

import rolecall
import rolecall_auth.openapi.description
import rolecall_client.openapi
import rolecall_resource.openapi
from rolecall import checks, openapi
from rolecall.limits import limit
from rolecall.openapi import Operations, path_template
from rolecall.vocabulary import METADATA_PATH, OPENID_CONFIGURATION_PATH, OPENID_SCOPES
from rolecall.web.routes import Route
from rolecall_auth import parameters
from rolecall_auth.grants import GRANTS
from rolecall_auth.limits import LIMITS
from rolecall_client.issuer import AuthorizationServer
from support.auth_server import (
    INVOICES,
    PASSWORDS,
    TALLY,
    Server,
    a_client,
    another_process,
    authorize_url,
    basic,
    csrf_token,
    query,
    with_scope,
)
from support.described import CHECKS_MADE, SUMS_UP, Document, fetched_twice, watched
from support.grants import OBTAIN
from support.invoices_api import Api, FakeServer, token
from support.openid_answers import clients_register, clients_register_in_vain, registries_are_away, relying_parties_ask
from support.openid_provider import Issuer
from support.servers import RedisServer
from support.tally import API, ISSUER, METADATA, TOKENS, Browser, Tally, stores_too_much

ROOT = Path(__file__).parents[2]
MADE_ELSEWHERE = re.compile(r"(parameter|register|request_object|client_assertion|engine)\.")
"""Checks that need other clients and values; the tests of their modules and of the tables trigger them."""

Services = list[tuple[Flask, Operations]]


@pytest.fixture
def services(server: Server, api: Api, tally: Tally) -> Services:
    auth = rolecall_auth.openapi.description.build_description(server.services.settings, "cookie")
    invoices = rolecall_resource.openapi.description(api.app.extensions["rolecall_resource"])
    client = rolecall_client.openapi.description(tally.services.settings, "cookie")
    return [(server.app, auth.operations), (api.app, invoices.operations), (tally.app, client.operations)]


def test_it_is_openapi_with_schemas_that_are_schemas(services: Services) -> None:
    """OpenAPI 3.1 section 4; its Schema Objects are JSON Schema 2020-12 (section 4.8.24)."""
    for app, _ in services:
        document = watched(app)
        errors = [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(document.content)]
        assert not errors
        schemas = list(_schemas(document.content))
        assert len(schemas) > 40
        for schema in schemas:
            jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        ids = [operation["operationId"] for operation in document.operations().values()]
        assert len({*ids}) == len(ids)


def test_every_route_is_described_and_nothing_else(services: Services) -> None:
    for app, operations in services:
        routes: tuple[Route, ...] = app.extensions["rolecall_routes"]
        document = watched(app)
        there = {(method, path_template(route)) for route in routes for method in route.methods}
        assert document.operations().keys() == there
        assert operations.keys() <= {(route.name, method) for route in routes for method in route.methods}
        for route in routes:
            for method in route.methods:
                operation = document.operations()[method, path_template(route)]
                assert operation["x-clause"] == route.clause
                assert operation["summary"]
                statuses = operation["responses"]
                assert any(status.startswith(("2", "3")) for status in statuses)


def test_every_parameter_of_the_guard_is_described(server: Server) -> None:
    """RFC 6749 appendix A: each endpoint that accepts it describes the guard's grammar and length."""
    operations = watched(server.app).operations()
    routes = {route.name: route for route in server.app.extensions["rolecall_routes"]}
    for endpoint, known in parameters.BY_ENDPOINT.items():
        described: dict[str, list[dict[str, Any]]] = {}
        for method in routes[endpoint].methods:
            for name, schema in _parameters(operations[method, routes[endpoint].path]):
                described.setdefault(name, []).append(schema)
        assert {parameter.name for parameter in known} <= described.keys(), endpoint
        for parameter in known:
            for schema in described[parameter.name]:
                if parameter.name == "grant_type":
                    assert schema["const"] in {grant.grant_type for grant in GRANTS}
                    continue
                assert schema["maxLength"] == parameter.max_length, (endpoint, parameter.name)
                assert schema["pattern"] == f"^(?:{parameter.grammar.pattern})$", (endpoint, parameter.name)
    body = operations["POST", "/token"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    assert [each["title"] for each in body["oneOf"]] == [grant.grant_type for grant in GRANTS]


def test_every_check_is_named_where_it_decides(services: Services) -> None:
    for app, package in zip(
        [app for app, _ in services], [rolecall_auth, rolecall_resource, rolecall_client], strict=True
    ):
        found = {name for _, name in watched(app).checks()}
        defined = {check.name for check in checks.defined_in(package)}
        assert len(defined) > 2
        assert defined - SUMS_UP == found


def test_it_is_made_once_and_kept_for_a_while(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 section 13.1.2."""
    monkeypatch.delattr(openapi, "document")
    for app, _ in services:
        client = app.test_client()
        first = client.get("/openapi.json")
        assert first.status_code == 200
        assert first.mimetype == "application/json"
        assert first.headers["Cache-Control"] == f"public, max-age={openapi.MAX_AGE}"
        again = client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert client.get("/openapi.json", headers={"If-None-Match": '"other"'}).data == first.data


def test_it_names_the_version_and_the_public_address(services: Services) -> None:
    contents = [watched(app).content for app, _ in services]
    assert {content["info"]["version"] for content in contents} == {rolecall.__version__}
    assert [content["servers"] for content in contents] == [
        [{"url": "http://auth.test"}],
        [{"url": "http://api.test"}],
        [{"url": "http://tally.test"}],
    ]
    metadata = services[0][0].test_client().get("/.well-known/oauth-authorization-server").json
    assert metadata is not None
    bearer = contents[1]["components"]["securitySchemes"]["bearer"]
    assert metadata["issuer"] in bearer["description"]
    assert all(bearer["x-scopes"].values())
    assert {*bearer["x-scopes"], *OPENID_SCOPES} == {*metadata["scopes_supported"]}


def test_every_answer_of_the_authorization_server(
    server: Server, own_redis: RedisServer, counted: set[tuple[str, str]]
) -> None:
    """Every response that is described occurs, and every response that occurs is as described.

    A 429 names the limits that its operation counts, and no others (RFC 6585 section 4).
    """
    document = watched(server.app)
    made: set[tuple[str, str]] = set()
    server.app.extensions[CHECKS_MADE] = made
    _programs_ask(server)
    for obtain in OBTAIN.values():
        assert obtain(server).status_code == 200
    access_token = relying_parties_ask(server)
    managed = clients_register(server)
    clients_register_in_vain(
        another_process(server, registration="closed"),
        document.seen,
        managed,
    )
    _people_ask(server, document)
    _bodies(server.app, document)
    low = {row.setting: limit("1/hour" if row.unit == "attempts" else "100000/hour") for row in LIMITS}
    with_limits = another_process(server, **low)
    watched(with_limits.app, document.seen)
    _too_often(with_limits)
    assert with_limits.app.test_client().post("/register", json={}).status_code == 400
    assert with_limits.app.test_client().post("/register", json={}).status_code == 429
    no_sign_up = another_process(server, sign_up="closed").app
    watched(no_sign_up, document.seen)
    page = no_sign_up.test_client()
    assert page.get("/sign-up").status_code == 403
    token = csrf_token(page.get("/sign-in"))
    assert page.post("/sign-up", data={"csrf_token": token}).status_code == 403
    away = another_process(server, redis_url=own_redis.url)
    watched(away.app, document.seen)
    _redis_is_stopped(away, own_redis)
    assert away.app.test_client().post("/register", json={}).status_code == 503
    bearer = {"Authorization": f"Bearer {access_token}"}
    assert away.app.test_client().get("/userinfo", headers=bearer).status_code == 503
    assert away.app.test_client().post("/userinfo", headers=bearer).status_code == 503
    without_sql = another_process(server, database_url="sqlite:////nowhere/auth.db")
    watched(without_sql.app, document.seen)
    _sql_is_away(without_sql)
    registries_are_away(without_sql.app, managed)
    _complete(document)
    del server.app.extensions[CHECKS_MADE]
    never_made = {(operation, name) for operation, name in document.checks() - made if not MADE_ELSEWHERE.match(name)}
    assert not never_made, "described, but never made"
    assert document.limits() == counted
    assert {setting for _, setting in counted} == {row.setting.upper() for row in LIMITS}


def test_every_answer_of_the_invoices_api(api: Api) -> None:
    document = watched(api.app)
    good = token()
    for path in ("/", "/healthz", "/readyz", "/openapi.json", "/.well-known/oauth-protected-resource"):
        assert api.app.test_client().get(path, headers={"Accept": "text/html"}).status_code == 200
    api.app.test_client().get("/", headers={"Accept": "application/json"})
    fetched_twice(api.app, "/openapi.json", "/.well-known/oauth-protected-resource")
    protected = [("GET", "/invoices"), ("GET", "/invoices/i1"), ("POST", "/invoices/i1/payment"), ("GET", "/profile")]
    assert api.app.test_client().post("/invoices/i1/payment", data=b"x" * 70_000).status_code == 413
    for method, path in protected:
        for bearer in (
            None,
            good,
            good,
            "b@d",
            "a.b.c",
            token(scope="other"),
            token(exp=1),
            token(aud="x"),
            token(sub=7),
        ):
            api.call(method, path, bearer)
        api.call(method, path, good, how="other")
        api.call(method, path.replace("i1", "i2"), token(sub="nobody"))
    assert api.get("/invoices?limit=1&page=2", good).status_code == 200
    assert api.get("/invoices?limit=0", good).status_code == 400
    other = _api_again(api, resource_identifier="http://api.test/deep/down")
    watched(other, document.seen)
    fetched_twice(other, *(f"/.well-known/oauth-protected-resource{path}" for path in ("", "/deep/down", "/other")))
    broken = _api_again(api, database_url="sqlite:////nowhere/api.db")
    watched(broken, document.seen)
    broken.test_client().get("/readyz")
    for method, path in protected:
        assert Api(broken, FakeServer()).call(method, path, good).status_code == 503
    _complete(document)


def test_every_answer_of_tally(tally: Tally, own_redis: RedisServer, counted: set[tuple[str, str]]) -> None:
    document = watched(tally.app)
    browser = tally.browser()
    for path in ("/", "/healthz", "/readyz", "/openapi.json", "/invoices"):
        browser.client.get(path)
    tag = browser.client.get("/openapi.json").headers["ETag"]
    browser.client.get("/openapi.json", headers={"If-None-Match": tag})
    browser.press("/refresh")
    browser.press("/revoke")
    browser.come_back(code="c0de", state="unknown", iss=ISSUER)
    browser.come_back(error="access_denied", state=browser.begin()["state"], iss=ISSUER)
    browser.come_back(error="server_error", state=browser.begin("/connect-and-sign-in")["state"], iss=ISSUER)
    browser.connect()
    browser.client.get("/invoices")
    for path in ("/refresh", "/revoke", "/disconnect"):
        assert browser.press(path, "/invoices").status_code == 303
        assert browser.client.post(path).status_code == 400
    for path in ("/connect", "/sign-in", "/connect-and-sign-in", "/sign-out"):
        assert browser.client.post(path).status_code == 400
    _signs_in(tally, browser)
    browser.connect()
    answers = dict(tally.http.answers)
    tally.http.answers |= {
        METADATA["token_endpoint"]: (400, {"error": "invalid_client"}, {}),
        METADATA["revocation_endpoint"]: (400, {}, {}),
        f"{API}/invoices": (401, {}, {}),
    }
    assert browser.client.get("/invoices").status_code == 502
    for path in ("/refresh", "/revoke", "/disconnect"):
        assert browser.press(path, "/invoices").status_code == 502
    tally.http.answers = answers | {f"{ISSUER}/.well-known/oauth-authorization-server": (200, {"issuer": "x"}, {})}
    tally.services.runner._server = AuthorizationServer(tally.services.settings, tally.http)  # type: ignore[arg-type]
    for path in ("/connect", "/sign-in", "/connect-and-sign-in"):
        assert tally.browser().press(path).status_code == 502
    tally.http.answers = answers
    assert browser.client.get("/").status_code == 200
    _bodies(tally.app, document)
    stores_too_much(tally, document.seen)
    _redis_goes_away(tally, document, own_redis)
    _complete(document)
    assert document.limits() == counted


def _signs_in(tally: Tally, browser: Browser) -> None:
    """Sign in, with requests before and after, and with both response modes."""
    issuer = Issuer(tally)
    assert browser.client.get("/me").status_code == 403
    assert issuer.sign_in(browser).status_code == 303
    assert browser.client.get("/me").status_code == 200
    for answer, status in (
        ({"state": browser.begin("/sign-in", "/me")["state"]}, 303),
        ({"state": "nobody's"}, 400),
        ({"state": ["a", "b"]}, 400),
    ):
        assert tally.app.test_client().post("/callback", data=answer).status_code == status
    assert issuer.sign_in(browser, "/me", aud="another").status_code == 502
    assert browser.press("/sign-out", "/me").status_code == 303
    tally.http.answers[METADATA["token_endpoint"]] = (200, TOKENS, {})


def _programs_ask(server: Server) -> None:
    client = server.app.test_client()
    documents = ("/jwks", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
    fetched_twice(server.app, "/healthz", "/readyz", "/openapi.json", *documents)
    given = server.tokens()
    server.refresh(given["refresh_token"])
    server.refresh("none")
    server.refresh(given["refresh_token"], scope="profile")
    server.redeem("none")
    server.redeem(server.code(redirect_uri="-"))
    server.redeem(server.code())
    server.redeem(server.code(), code_verifier="w" * 43)
    server.redeem(server.code(), code_verifier="-")
    server.redeem(server.code(), resource="http://other.test")
    server.redeem("none", {})
    server.redeem("none", basic("tally", "wrong"))
    server.post("/token", TALLY, grant_type="password")
    server.post("/token", TALLY)
    for path, headers in (("/token", TALLY), ("/introspect", INVOICES), ("/revoke", TALLY)):
        client.post(path, data={"token": ["a", "b"], "code": ["a", "b"], "grant_type": "x"}, headers=headers)
        client.post(f"{path}?token=a&code=a", headers=headers)
        client.post(path, json={}, headers=headers)
        client.post(path, data={"token": "a"})
        client.post(path, data={"token": "a"}, headers=basic("x", "y"))
    assert server.is_active(server.tokens()["access_token"])
    assert not server.is_active("none")
    server.post("/revoke", TALLY, token=given["access_token"])
    server.post("/revoke", TALLY, token=given["refresh_token"])
    server.add(a_client(client_id="other"))
    from support.auth_server import SECRET

    assert server.post("/revoke", basic("other", SECRET), token=server.tokens()["access_token"]).status_code == 400


def _people_ask(server: Server, document: Document) -> None:
    browser = server.browser()
    for path in ("/", "/sign-in", "/sign-up", "/consent", "/apps", "/sign-out"):
        browser.client.get(path)
    for path in ("/authorize", "/sign-in", "/sign-up", "/consent"):
        assert browser.client.get(f"{path}?interaction=lost").status_code == 400
    assert browser.client.get("/consent?interaction=a&interaction=b").status_code == 400
    to_sign_in = browser.request().location
    assert browser.client.get(f"/consent?{to_sign_in.partition('?')[2]}").status_code == 303
    assert browser.submit(to_sign_in, username="alice", password="wrong").status_code == 403
    assert browser.submit(to_sign_in.replace("sign-in", "sign-up"), username="!", password="x").status_code == 400
    with_scope(server, "profile")
    assert "/authorize" in browser.client.get(to_sign_in.replace("sign-in", "sign-up")).location
    with_scope(server, "invoices:read invoices:pay profile")
    assert browser.submit("/sign-in", username="alice", password="wrong").status_code == 403
    assert browser.submit("/sign-up", username="!", password="x").status_code == 400
    assert browser.submit("/sign-up", username="carol", password="correct horse").status_code == 303
    browser.submit("/sign-out")
    for path in ("/sign-in", "/sign-up", "/consent", "/apps/disconnect", "/sign-out"):
        assert browser.client.post(path, data={}).status_code == 400
    browser.sign_in("bob")
    assert browser.client.get("/sign-in").status_code == 303
    asked = query(authorize_url())
    assert browser.client.post("/authorize", data=asked).status_code == 303
    assert browser.client.post("/authorize", data={**asked, "client_id": "none"}).status_code == 400
    consent = browser.request().location
    assert browser.submit(consent).status_code == 200
    assert browser.submit(consent, decision="allow", request="of an older page").status_code == 409
    back = browser.submit(consent, decision="allow").location
    assert "code" in query(browser.client.get(back).location)
    errors = (
        ({"response_type": "-"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": "-", "code_challenge_method": "-"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"resource": "http://other.test"}, "invalid_target"),
        ({"state": "é"}, "invalid_request"),
    )
    redirected = document.operations()["GET", "/authorize"]["responses"]["303"]
    named = {check["error"] for check in redirected["x-checks"]}
    for changes, error in errors:
        assert query(browser.request(**changes).location)["error"] == error
        posted = browser.client.post("/authorize", data=query(authorize_url(**changes)))
        assert query(posted.location)["error"] == error
        assert error in named
    assert browser.request(redirect_uri="http://elsewhere.test").status_code == 400
    page = browser.client.get("/apps")
    form = {"csrf_token": csrf_token(page), "client_id": "tally"}
    assert browser.client.post("/apps/disconnect", data=form).status_code == 303
    assert browser.submit("/sign-out").status_code == 303


def _too_often(server: Server) -> None:
    for path, headers in (("/token", basic("a", "x")), ("/introspect", basic("b", "x")), ("/revoke", basic("c", "x"))):
        for _ in range(2):
            answer = server.post(path, headers, token="x", grant_type="refresh_token", refresh_token="x")
        assert answer.status_code == 429
    for method in ("GET", "PUT", "DELETE"):
        assert server.app.test_client().open("/register/none", method=method).status_code == 429
    browser = server.browser()
    browser.submit("/sign-in", username="alice", password="wrong")
    assert browser.submit("/sign-in", username="alice", password=PASSWORDS["alice"]).status_code == 429
    assert browser.client.get(authorize_url()).status_code == 303
    assert browser.client.get(authorize_url()).status_code == 429
    assert browser.client.post("/authorize", data=dict(parse_qsl(authorize_url().partition("?")[2]))).status_code == 429
    stranger = server.app.test_client()
    elsewhere = {"REMOTE_ADDR": "192.0.2.2"}
    assert stranger.post("/authorize", data=query(authorize_url()), environ_base=elsewhere).status_code == 303
    browser.submit("/sign-up", username="dave", password="correct horse")
    assert server.browser().submit("/sign-up", username="erin", password="correct horse").status_code == 429


def _redis_is_stopped(server: Server, redis: RedisServer) -> None:
    browser, other = server.browser(), server.browser()
    browser.sign_in()
    form = {"csrf_token": csrf_token(browser.client.get("/sign-out"))}
    consent = browser.request(scope="profile").location
    back = other.request().location
    new_account = {"csrf_token": csrf_token(other.client.get(back.replace("sign-in", "sign-up")))}
    new_account |= {"username": "frank", "password": "correct horse"}
    redis.stop()
    for path in ("/", "/readyz", "/sign-in", "/apps", "/sign-out", consent, back.replace("sign-in", "sign-up")):
        assert browser.client.get(path).status_code == 503, path
    for path in ("/sign-in", "/apps/disconnect", "/sign-out", consent):
        assert browser.client.post(path, data=form).status_code == 503, path
    assert other.client.post("/sign-up", data=new_account).status_code == 503


def _sql_is_away(server: Server) -> None:
    """Send requests to a server whose database has never responded; otherwise, cached data could hide the outage."""
    client = server.app.test_client()
    assert client.get(authorize_url()).status_code == 503
    assert client.post("/authorize", data=query(authorize_url())).status_code == 503
    for path in ("/jwks", METADATA_PATH, OPENID_CONFIGURATION_PATH):
        assert client.get(path).status_code == 503
    for path, headers in (("/token", TALLY), ("/introspect", INVOICES), ("/revoke", TALLY)):
        assert server.post(path, headers, token="x", grant_type="refresh_token", refresh_token="x").status_code == 503


def _redis_goes_away(tally: Tally, document: Document, redis: RedisServer) -> None:
    away = tally.again(redis_url=redis.url)
    watched(away.app, document.seen)
    browser = away.browser()
    browser.connect()
    Issuer(away).sign_in(browser, "/invoices")
    form = {"csrf_token": csrf_token(browser.client.get("/invoices"))}
    redis.stop()
    for path in ("/", "/readyz", "/invoices", "/me", "/callback?state=x"):
        assert browser.client.get(path).status_code == 503
    assert browser.client.post("/callback", data={"state": "x"}).status_code == 503
    for path in ("/connect", "/refresh", "/revoke", "/disconnect", "/sign-in", "/connect-and-sign-in", "/sign-out"):
        assert browser.client.post(path, data=form).status_code == 503


def _bodies(app: Flask, document: Document) -> None:
    """RFC 9110 section 15.5.14: a body that is too long."""
    for (method, path), operation in document.operations().items():
        if "413" in operation["responses"]:
            assert app.test_client().open(path, method=method, data={"a": "x" * 70_000}).status_code == 413


def _complete(document: Document) -> None:
    never = sorted(document.answers() - document.seen)
    assert not never, "described, but never occurred"


def _api_again(api: Api, **changes: Any) -> Flask:
    from rolecall_resource import create_app

    settings = dataclasses.replace(api.app.extensions["rolecall_resource"], **changes)
    app = create_app(settings, http=api.server)  # type: ignore[arg-type]
    app.extensions["resource_validator"] = api.app.extensions["resource_validator"]
    return app


def _parameters(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = [(each["name"], each["schema"]) for each in operation["parameters"]]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for schema in content["schema"].get("oneOf", [content["schema"]]):
            found += schema["properties"].items()
    return found


def _schemas(node: Any) -> Any:
    """Yield every Schema Object: the values of `schema`, and those in the components."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "schema":
                yield value
            elif name == "schemas":
                yield from value.values()
            yield from _schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from _schemas(value)
