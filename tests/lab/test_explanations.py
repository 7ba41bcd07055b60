"""Whatever a flow sends is explained."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import auth_service.openapi  # noqa: F401  registers the checks
import client_webapp.openapi  # noqa: F401
import resource_service.openapi  # noqa: F401
from auth_service.parameters import BY_ENDPOINT
from lab.observing import event, plain_flow
from pages import connected, press
from rolecall import checks
from rolecall.storage import connect
from rolecall_lab.catalogue.entries import ENTRIES
from rolecall_lab.observer import explanations
from rolecall_lab.observer.explanations import entries, explain, link, unexplained
from rolecall_lab.recorder import read_events
from rolecall_lab.walker import Walker
from stack import Stack, running_stack, wait_until


def test_every_entry_is_whole() -> None:
    exact, patterns = entries()
    found = [(place, each) for (place, _), rows in exact.items() for each in rows]
    found += [(place, each) for place, rows in patterns.items() for each in rows]
    assert len(found) > 150
    assert len({(place, each.name, each.only) for place, each in found}) == len(found)
    for place, each in found:
        assert each.means.endswith((".", "?")), (place, each.name)
        assert len(each.means) < 220, (place, each.name)
        assert each.required_by, (place, each.name)
        assert each.breaks or place in {"status", "check"}, (place, each.name)
        assert each.url or each.rfc == "none", (place, each.name, each.rfc)


def test_links_lead_to_the_clause() -> None:
    assert link("RFC 7636 section 4.3") == "https://www.rfc-editor.org/rfc/rfc7636#section-4.3"
    assert link("RFC 7517") == "https://www.rfc-editor.org/rfc/rfc7517"
    assert link("OpenID Connect Core section 3.1.2.1").startswith("https://openid.net/specs/")
    assert link("none") == ""


def test_every_parameter_of_the_server_and_every_check_is_explained() -> None:
    for endpoint, known in BY_ENDPOINT.items():
        for parameter in known:
            assert explain("parameter", parameter.name, f"/{endpoint}"), (endpoint, parameter.name)
    for name in checks.registry:
        if not name.startswith("test."):
            assert explain("check", name), name


def test_what_is_not_explained_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of the places where something can be."""
    assert unexplained(plain_flow()) == set()
    token = {"unverified_claims": {"c": 1}, "unverified_header": {"h": 1}}
    strange = event(
        1, "client", "authorization_server", "POST /token", form={"new": "1"}, query={"odd": "1"},
        request_headers={"x-new": "1", "authorization": {"token": token}},
        response_headers={"location": {"url": "/", "parameters": {"back": "1"}}}, body={"member": 1},
    )  # fmt: skip
    assert {(place, name) for place, name, _ in unexplained([strange])} == {
        ("parameter", "new"), ("parameter", "odd"), ("parameter", "back"), ("header", "x-new"), ("member", "member"),
        ("claim", "c"), ("jose", "h"),
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
def test_everything_that_any_flow_sends_is_explained(site: Stack) -> None:
    """All of the catalogue, what people press, and a request of each kind that is refused."""
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
    site.get(f"{site.auth}/.well-known/oauth-authorization-server")
    site.get(f"{site.api}/.well-known/oauth-protected-resource")
    site.get(f"{site.api}/invoices")
    client = connect(site.redis_url)

    def told() -> set[str]:
        return {each["path"] for each in read_events(client)}

    wait_until(lambda: told() >= {"/authorize", "/token", "/introspect", "/revoke", "/jwks", "/consent", "/callback"})
    events = read_events(client)
    client.close()
    assert {each["status"] for each in events} >= {200, 303, 400, 401}
    assert unexplained(events) == set()
    assert not [each for each in events if re.search(r"\?", each["path"])]
