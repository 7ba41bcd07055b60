"""Whatever a flow sends is explained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import auth_service.openapi  # noqa: F401  registers the checks
import client_webapp.openapi  # noqa: F401
import resource_service.openapi  # noqa: F401
from auth_service.parameters import BY_ENDPOINT
from lab.observing import check, event, plain_flow
from pages import connected, press
from rolecall import checks
from rolecall.storage import connect
from rolecall_lab.catalogue.entries import ENTRIES
from rolecall_lab.observer import explanations
from rolecall_lab.observer.explanations import Explanation, entries, explain, link, unexplained
from rolecall_lab.recorder import read_events
from rolecall_lab.walker import Walker
from stack import Stack, running_stack, wait_until


def test_every_entry_is_whole() -> None:
    exact, patterns = entries()
    found = [(place, each) for (place, _), rows in exact.items() for each in rows]
    found += [(place, each) for place, rows in patterns.items() for each in rows]
    assert len(found) > 300
    assert len({(place, each.name, each.only) for place, each in found}) == len(found)
    for place, each in found:
        assert each.means.endswith((".", "?")), (place, each.name)
        assert len(each.means) < 220, (place, each.name)
        assert each.required_by, (place, each.name)
        assert each.breaks or place in {"status", "check", "change"}, (place, each.name)
        assert each.url or each.rfc == "none", (place, each.name, each.rfc)


def test_links_lead_to_the_clause() -> None:
    assert link("RFC 7636 section 4.3") == "https://www.rfc-editor.org/rfc/rfc7636#section-4.3"
    assert link("RFC 7517") == "https://www.rfc-editor.org/rfc/rfc7517"
    core = "https://openid.net/specs/openid-connect-core-1_0.html"
    assert link("OpenID Connect Core section 3.1.2.1") == f"{core}#rfc.section.3.1.2.1"
    assert link("RFC 6749 appendix A") == "https://www.rfc-editor.org/rfc/rfc6749#appendix-A"
    assert link("none") == ""


def test_every_parameter_of_the_server_and_every_check_is_explained() -> None:
    for endpoint, known in BY_ENDPOINT.items():
        for parameter in known:
            assert explain("parameter", parameter.name, f"/{endpoint}"), (endpoint, parameter.name)
    for name in checks.registry:
        if not name.startswith("test."):
            assert explain("check", name), name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{elsewhere: []}", "there is no place elsewhere"),
        ("{claim: [{name: sub, means: Who., required_by: x, breaks: y}]}", "claim sub: .*rfc"),
        ("{claim: [{name: sub, means: Who., required_by: x, breaks: y, rfc: RFC 1, more: 1}]}", "claim sub: .*more"),
        ("{claim: [{name: sub, means: Who., required_by: x, breaks: '', rfc: RFC 1}]}", "claim sub: breaks"),
        ("{claim: [{name: sub, means: 1, required_by: x, breaks: y, rfc: RFC 1}]}", "claim sub: means"),
        ("{claim: [&a {name: sub, means: a, required_by: a, breaks: a, rfc: a}, *a]}", "claim sub stands there twice"),
        ("{claim: [{name: sub, means: a, required_by: a, breaks: a, rfc: a, only: [x]}]}", "claim sub: only"),
    ],
)
def test_an_entry_that_is_not_as_it_should_be_is_named(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "explanations.yaml").write_text(text)
    monkeypatch.setattr(explanations, "FILE", tmp_path / "explanations.yaml")
    with pytest.raises(ValueError, match=said):
        entries.__wrapped__()


def test_what_holds_for_a_path_goes_before_what_holds_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invoice's `state` is not that of RFC 6749 section 4.1.1."""
    assert "paid" in getattr(explain("member", "state", "/invoices"), "means", "")
    assert explain("member", "state", "/token") is None
    everywhere = Explanation("a", "Here.", "x", "x", "none")
    there = Explanation("a", "There.", "x", "x", "none", ("/there",))
    monkeypatch.setattr(explanations, "entries", lambda: ({("member", "a"): [everywhere, there]}, {}))
    assert explain("member", "a", "/there/1") is there
    assert explain("member", "a", "/token") is everywhere


def test_what_is_not_explained_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of the places where something can be."""
    assert unexplained(plain_flow()) == set()
    token = {"unverified_claims": {"c": 1}, "unverified_header": {"h": 1}}
    strange = event(
        1, "client", "authorization_server", "POST /token", form={"new": "1"}, query={"odd": "1"},
        request_headers={"x-new": "1", "authorization": {"token": token}},
        response_headers={
            "location": {"url": "/", "parameters": {"back": "1"}}, "www-authenticate": 'Bearer error="challenged"',
        },
        body={"member": 1, "keys": [{"inner": {"hidden": True}}], "error": "refused",
              "iss": {"url": "", "parameters": {}}},
        changes=[{"store": "redis", "key": "auth:thing:ab12…", "change": "lost"}],
        checks=[check("some.check")], status=299,
    )  # fmt: skip
    assert {(place, name) for place, name, _ in unexplained([strange])} == {
        ("parameter", "new"), ("parameter", "odd"), ("parameter", "back"), ("header", "x-new"), ("member", "member"),
        ("claim", "c"), ("jose", "h"), ("member", "inner"), ("error", "refused"), ("error", "challenged"),
        ("status", "299"), ("check", "some.check"), ("change", "thing lost"),
    }  # fmt: skip
    exact, patterns = entries()
    without = {key: rows for key, rows in exact.items() if key != ("parameter", "code_verifier")}
    monkeypatch.setattr(explanations, "entries", lambda: (without, patterns))
    assert unexplained(plain_flow()) == {("parameter", "code_verifier", "/token")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("explained")) as running:
        yield running


@pytest.mark.integration
@pytest.mark.embedded
def test_everything_that_any_flow_sends_is_explained(site: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the catalogue, what people press, a denied consent, and requests of each kind that are refused."""
    walker, page = connected(site)
    walker.open(f"{site.client}/invoices?check=both")
    page = press(walker, page, site, "/refresh")
    page = press(walker, page, site, "/revoke")
    walker.open(f"{site.client}/invoices?check=both")
    press(walker, walker.open(f"{site.client}/invoices"), site, "/disconnect")
    for name in ENTRIES:
        person = Walker()
        shown = person.submit(person.open(f"{site.client}/flows/{name}"), f"{site.client}/flows/{name}/start")
        shown = person.follow(shown)
        if 'id="login-submit"' in shown.text:
            shown = person.follow(person.submit(shown, username="alice", password="wonderland-lab"))
        if 'id="consent-allow"' in shown.text:
            person.follow(person.submit(shown, decision="allow"))
    bob = Walker()
    asked = press(bob, bob.open(site.client), site, "/connect")
    asked = bob.follow(bob.submit(asked, username="bob", password="builder-lab"))
    bob.follow(bob.submit(asked, decision="deny"))
    site.get(f"{site.auth}/.well-known/oauth-authorization-server")
    site.get(f"{site.auth}/jwks")
    site.get(f"{site.api}/.well-known/oauth-protected-resource")
    site.get(f"{site.api}/invoices")
    site.call("POST", f"{site.auth}/token", b"grant_type=refresh_token&client_id=tally-desktop&refresh_token=none")
    site.call("POST", f"{site.auth}/token", b"grant_type=refresh_token&client_id=nobody&refresh_token=none")
    site.call("PUT", f"{site.auth}/token", b"")
    client = connect(site.redis_url)

    def told() -> set[tuple[str, int]]:
        return {(each["path"], each["status"]) for each in read_events(client)}

    wait_until(lambda: ("/token", 405) in told())
    events = read_events(client)
    client.close()
    paths = {"/authorize", "/token", "/introspect", "/revoke", "/jwks", "/consent", "/callback", "/disconnect"}
    assert {each["path"] for each in events} >= paths
    assert {each["status"] for each in events} >= {200, 303, 400, 401, 405}
    assert unexplained(events) == set()
    assert not [each for each in events if re.search(r"\?", each["path"])]

    # what there was, by taking each explanation away
    monkeypatch.setattr(explanations, "entries", lambda: ({}, {}))
    found = {(place, name) for place, name, _ in unexplained(events)}
    assert found >= {
        ("parameter", "code_verifier"), ("header", "authorization"), ("jose", "kid"), ("claim", "jti"),
        ("member", "kty"), ("member", "amount_minor"),
        ("error", "access_denied"), ("error", "invalid_client"), ("error", "invalid_token"),
        ("status", "303"), ("check", "client.state"), ("check", "token.signature"), ("check", "token.active"),
        ("change", "code set"), ("change", "code taken"), ("change", "code presented again"), ("change", "session set"),
        ("change", "refresh_token rotated"), ("change", "authorization ended"), ("change", "revoked added"),
    }  # fmt: skip


@pytest.mark.integration
@pytest.mark.embedded
def test_everything_that_the_services_describe_is_explained(site: Stack) -> None:
    """The parameters and the members of all answers in their OpenAPI documents, and their metadata (RFC 8414, 9728)."""
    missing = set()
    count = 0
    for service in (site.client, site.auth, site.api):
        document = site.get(f"{service}/openapi.json")[1]
        for place, name, path in _described(document):
            count += 1
            if explain(place, name, path) is None:
                missing.add((place, name, path))
    for url in (
        f"{site.auth}/.well-known/oauth-authorization-server",
        f"{site.api}/.well-known/oauth-protected-resource",
    ):
        answer = site.get(url)[1]
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
