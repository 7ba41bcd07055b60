"""All flows of the catalog together: all their messages are explained, and they use every advertised capability."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import rolecall_auth.openapi.description  # noqa: F401  registers the checks
import rolecall_client.openapi  # noqa: F401
import rolecall_resource.openapi  # noqa: F401
from rolecall.storage import connect
from rolecall_auth.clients.metadata import MEMBERS
from rolecall_auth.parameters import BY_ENDPOINT
from rolecall_lab.catalog.entries import ENTRIES
from rolecall_lab.observer import explanations
from rolecall_lab.observer.explanations import explain
from rolecall_lab.recording.flows import read_events
from rolecall_lab.walker import Walker
from support.stack import Stack, wait_until
from support.tally_pages import connected, press
from support.unexplained import unexplained

pytestmark = [pytest.mark.integration, pytest.mark.embedded]

Event = dict[str, Any]


@pytest.fixture(scope="module")
def events(quiet_stack: Stack) -> list[Event]:
    """The events of all catalog entries, of each button of Tally, of a denied consent, and of refused requests."""
    quiet_stack.call("DELETE", f"{quiet_stack.client}/_lab/events", None)
    walker, page = connected(quiet_stack)
    walker.open(f"{quiet_stack.client}/invoices?check=both")
    page = press(walker, page, quiet_stack, "/refresh")
    page = press(walker, page, quiet_stack, "/revoke")
    walker.open(f"{quiet_stack.client}/invoices?check=both")
    press(walker, walker.open(f"{quiet_stack.client}/invoices"), quiet_stack, "/disconnect")
    for entry in ENTRIES.values():
        person = Walker()
        for name in ("sign_in", entry.name) if entry.needs == "sign-in" else (entry.name,):
            shown = person.submit(
                person.open(f"{quiet_stack.client}/flows/{name}"), f"{quiet_stack.client}/flows/{name}/start"
            )
            shown = person.follow(shown)
            if 'id="login-submit"' in shown.text:
                shown = person.follow(person.submit(shown, username="alice", password="wonderland-lab"))
            if 'id="consent-allow"' in shown.text:
                shown = person.follow(person.submit(shown, decision="allow"))
        if shown.url == f"{quiet_stack.client}/me":
            person.open(f"{quiet_stack.client}/sign-out", {"csrf_token": shown.hidden()["csrf_token"]})
    bob = Walker()
    asked = press(bob, bob.open(quiet_stack.client), quiet_stack, "/connect")
    asked = bob.follow(bob.submit(asked, username="bob", password="builder-lab"))
    bob.follow(bob.submit(asked, decision="deny"))
    quiet_stack.get(f"{quiet_stack.auth}/.well-known/oauth-authorization-server")
    quiet_stack.get(f"{quiet_stack.auth}/jwks")
    quiet_stack.get(f"{quiet_stack.api}/.well-known/oauth-protected-resource")
    quiet_stack.get(f"{quiet_stack.api}/invoices")
    quiet_stack.call(
        "POST", f"{quiet_stack.auth}/token", b"grant_type=refresh_token&client_id=tally-desktop&refresh_token=none"
    )
    quiet_stack.call(
        "POST", f"{quiet_stack.auth}/token", b"grant_type=refresh_token&client_id=nobody&refresh_token=none"
    )
    quiet_stack.call("PUT", f"{quiet_stack.auth}/token", b"")
    client = connect(quiet_stack.redis_url)

    def told() -> set[tuple[str, int]]:
        return {(each["path"], each["status"]) for each in read_events(client)}

    wait_until(lambda: ("/token", 405) in told())
    events = read_events(client)
    client.close()
    paths = {"/authorize", "/token", "/introspect", "/revoke", "/jwks", "/consent", "/callback", "/disconnect"}
    paths |= {"/sign-in", "/userinfo", "/me", "/sign-out"}
    assert {each["path"] for each in events} >= paths
    assert {each["status"] for each in events} >= {200, 303, 400, 401, 405}
    return events


def test_everything_that_any_flow_sends_is_explained(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    assert {(place, name) for place, name, _ in unexplained(events)} == set()
    assert {each["method"] for each in events if each["json"] and each["path"].startswith("/register")} >= {"POST"}
    assert not [each for each in events if re.search(r"\?", each["path"])]

    # without any explanations, all names are found
    monkeypatch.setattr(explanations, "entries", lambda: ({}, {}))
    found = {(place, name) for place, name, _ in unexplained(events)}
    assert found >= {
        ("parameter", "claims"), ("parameter", "response_mode"), ("claim", "at_hash"), ("check", "id_token.nonce"),
        ("check", "id_token.auth_time"), ("member", "email_verified"),
        ("parameter", "code_verifier"), ("header", "authorization"), ("header", "content-security-policy"),
        ("header", "referrer-policy"), ("jose", "kid"), ("claim", "jti"),
        ("member", "kty"), ("member", "amount_minor"),
        ("error", "access_denied"), ("error", "invalid_client"), ("error", "invalid_token"),
        ("status", "303"), ("check", "client.state"), ("check", "token.signature"), ("check", "token.active"),
        ("change", "code set"), ("change", "authorization tokens given"), ("change", "session set"),
        ("change", "refresh_token rotated"), ("change", "authorization ended"), ("change", "revoked added"),
    }  # fmt: skip


def test_each_advertised_capability_has_a_flow_that_shows_it(quiet_stack: Stack, events: list[Event]) -> None:
    """RFC 8414 section 2, OpenID Connect Discovery section 3: the flows use everything that the metadata advertise."""
    asked = [each for each in events if each["role"] == "authorization_server" and each["direction"] == "received"]
    _, metadata = quiet_stack.get(f"{quiet_stack.auth}/.well-known/openid-configuration")
    registered = [each["body"] for each in asked if each["path"] == "/register" and each["status"] == 201]
    given = [each["body"] for each in asked if each["path"] == "/token" and each["status"] == 200]

    def sent(name: str) -> set[str]:
        return {str(each[place][name]) for each in asked for place in ("query", "form") if name in each[place]}

    def words(name: str) -> set[str]:
        return {word for text in sent(name) for word in text.split()}

    def signed(found: list[Any]) -> set[str]:
        return {str(each["unverified_header"]["alg"]) for each in found if "unverified_header" in each}

    def sent_signed(name: str) -> set[str]:
        return signed([each[place][name] for each in asked for place in ("query", "form") if name in each[place]])

    def of_clients(name: str) -> set[str]:
        return {str(each[name]) for each in registered if name in each}

    shown = {
        "response_types_supported": sent("response_type"),
        "response_modes_supported": sent("response_mode") | {"query"},
        "grant_types_supported": sent("grant_type"),
        "code_challenge_methods_supported": sent("code_challenge_method"),
        "scopes_supported": words("scope"),
        "prompt_values_supported": words("prompt"),
        "acr_values_supported": words("acr_values"),
        "subject_types_supported": of_clients("subject_type"),
        "token_endpoint_auth_methods_supported": of_clients("token_endpoint_auth_method"),
        "id_token_signing_alg_values_supported": signed([each["id_token"] for each in given if "id_token" in each]),
        # the response is not JSON, so it is not recorded; the flow has verified its algorithm
        "userinfo_signing_alg_values_supported": of_clients("userinfo_signed_response_alg"),
        "request_object_signing_alg_values_supported": sent_signed("request"),
        "token_endpoint_auth_signing_alg_values_supported": sent_signed("client_assertion"),
    }
    algorithms = {name for name in metadata if name.endswith("_signing_alg_values_supported")}
    assert algorithms - {"revocation_endpoint_auth_signing_alg_values_supported"} <= shown.keys()
    missing = {name: set(metadata[name]) - values for name, values in shown.items()}
    assert {name: values for name, values in missing.items() if values} == {}
    for endpoint in ("authorize", "token", "introspect", "revoke", "userinfo"):
        there = {name for each in asked if each["path"] == f"/{endpoint}" for name in {*each["query"], *each["form"]}}
        assert {parameter.name for parameter in BY_ENDPOINT[endpoint]} - there == set(), endpoint
    # the client metadata that differ from their defaults
    said = {
        member.name
        for member in MEMBERS
        for each in registered
        if each.get(member.name) not in (None, member.default, [*member.default] if member.default else [])
    }
    with_a_choice = {member.name for member in MEMBERS if len(member.choices) != 1}
    assert with_a_choice - said == set()


def test_everything_that_the_services_describe_is_explained(quiet_stack: Stack) -> None:
    """All parameters and response members in the OpenAPI documents, and all metadata (RFC 8414, 9728)."""
    missing = set()
    count = 0
    for service in (quiet_stack.client, quiet_stack.auth, quiet_stack.api):
        document = quiet_stack.get(f"{service}/openapi.json")[1]
        for place, name, path in _described(document):
            count += 1
            if explain(place, name, path) is None:
                missing.add((place, name, path))
    for url in (
        f"{quiet_stack.auth}/.well-known/oauth-authorization-server",
        f"{quiet_stack.api}/.well-known/oauth-protected-resource",
    ):
        answer = quiet_stack.get(url)[1]
        assert answer
        missing |= {("member", name, url) for name in answer if explain("member", name) is None}
    assert count > 100
    assert missing == set()


def _described(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    operations = [
        (path, operation)
        for path, item in document["paths"].items()
        for operation in item.values()
        if isinstance(operation, dict)
    ]
    for path, operation in operations:
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                yield "parameter", parameter["name"], path
        sent = [each["schema"] for each in operation.get("requestBody", {}).get("content", {}).values()]
        answered = [
            each["schema"] for answer in operation["responses"].values() for each in answer.get("content", {}).values()
        ]
        for name in _properties(sent, document):
            yield "parameter", name, path
        for name in _properties(answered, document):
            yield "member", name, path


def _properties(schema: Any, document: dict[str, Any]) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _properties(each, document)
    elif isinstance(schema, dict):
        if "$ref" in schema:
            yield from _properties(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
        yield from schema.get("properties", ())
        parts = ("items", "oneOf", "anyOf", "allOf")
        yield from _properties(
            [*schema.get("properties", {}).values(), *(schema.get(part) for part in parts)], document
        )
