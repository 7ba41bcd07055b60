"""Every part of every message of a flow has an explanation."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rolecall_auth.openapi.description  # noqa: F401  registers the checks
import rolecall_client.openapi  # noqa: F401
import rolecall_resource.openapi
from rolecall import checks, events
from rolecall_auth.parameters import BY_ENDPOINT
from rolecall_lab.compare import validator
from rolecall_lab.compare.sentences import SENTENCES
from rolecall_lab.observer import explanations
from rolecall_lab.observer.explanations import PLACES, Explanation, change_name, entries, explain, explain_check, link
from rolecall_lab.observer.inspector import MAX_NESTED, inspect
from rolecall_lab.observer.picture import lay_out
from rolecall_lab.observer.tokens import KeySet
from support.recorded_events import check, event, mark, plain_flow
from support.unexplained import unexplained


def test_every_entry_is_whole() -> None:
    exact, patterns = entries()
    found = [(place, each) for (place, _), rows in exact.items() for each in rows]
    found += [(place, each) for place, rows in patterns.items() for each in rows]
    assert len(found) > 300
    assert len({(place, each.name, each.only) for place, each in found}) == len(found)
    for place, each in found:
        assert each.means.endswith((".", "?")), (place, each.name)
        assert len(each.means) < 220, (place, each.name)
        if place == "check":  # the event contains the clause that the check declares
            assert (each.required_by, each.breaks, each.rfc) == ("", "", ""), each.name
        assert not each.breaks or each.breaks.endswith("."), (place, each.name)
        assert not each.required_by.endswith("."), (place, each.name)
        assert bool(each.url) == bool(each.rfc), (place, each.name, each.rfc)
        if place not in {"check", "error", "status", "change"}:
            assert each.required_by, (place, each.name)


def test_links_lead_to_the_clause() -> None:
    assert link("RFC 7636 section 4.3") == "https://www.rfc-editor.org/rfc/rfc7636#section-4.3"
    assert link("RFC 6749 sections 4.1.2.1 and 5.2") == "https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1"
    assert link("RFC 7517") == "https://www.rfc-editor.org/rfc/rfc7517"
    core = "https://openid.net/specs/openid-connect-core-1_0.html"
    assert link("OpenID Connect Core section 3.1.2.1") == f"{core}#rfc.section.3.1.2.1"
    assert link("RFC 6749 appendix A") == "https://www.rfc-editor.org/rfc/rfc6749#appendix-A"
    assert link("none") == ""


def test_every_parameter_of_the_server_and_every_check_is_explained() -> None:
    for endpoint, known in BY_ENDPOINT.items():
        for parameter in known:
            assert explain("parameter", parameter.name, f"/{endpoint}"), (endpoint, parameter.name)
    exact, patterns = entries()
    declared = {name for name in checks.registry if not name.startswith("test.")}
    for name in declared:
        assert checks.registry[name].description, name
    assert {name for place, name in exact if place == "check"} <= declared, "checks that are not declared have no entry"
    for pattern in patterns["check"]:
        assert fnmatch.filter(declared, pattern.name), pattern.name


def test_a_check_that_the_file_does_not_have_is_explained_by_its_declaration() -> None:
    check = checks.Check("new.check", "RFC 6749 section 5.2", "invalid_request", "The parameter is missing.")
    with events.watching(events.Notebook()) as notebook:
        check.note(True)
    explanation = explain_check(notebook.notes[0])
    assert explanation is not None
    assert explanation.means == "The parameter is missing."
    known = explain_check({"name": "token.code_verifier", "description": "another text"})
    assert known == explain("check", "token.code_verifier")
    assert explain_check({"name": "recorded.before", "clause": ""}) is None


def test_every_check_of_the_api_has_its_sentences() -> None:
    """No other check has sentences."""
    assert {check.name for check in checks.defined_in(rolecall_resource, validator)} == SENTENCES.keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{elsewhere: []}", "unknown place elsewhere"),
        ("{claim: [{name: sub}]}", "claim sub: .*means"),
        ("{claim: [{name: sub, means: Who., required_by: x, breaks: y, rfc: RFC 1, more: 1}]}", "claim sub: .*more"),
        ("{claim: [{name: sub, means: ''}]}", "claim sub: name and means"),
        ("{check: [{name: sub, means: Who., rfc: RFC 1}]}", "check sub: rfc"),
        ("{claim: [{name: sub, means: 1, required_by: x, breaks: y, rfc: RFC 1}]}", "claim sub: means"),
        ("{claim: [&a {name: sub, means: a}, *a]}", "claim sub is listed twice"),
        ("{claim: [{name: sub, means: a, required_by: a, breaks: a, rfc: a, only: [x]}]}", "claim sub: only"),
    ],
)
def test_an_entry_that_is_not_as_it_should_be_is_named(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "claim.yaml").write_text(text)
    monkeypatch.setattr(explanations, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=said):
        entries.__wrapped__()


def test_what_holds_for_a_path_goes_before_what_holds_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invoice's `state` is not the parameter of RFC 6749 section 4.1.1."""
    assert "paid" in getattr(explain("member", "state", "/invoices"), "means", "")
    assert explain("member", "state", "/token") is None
    everywhere = Explanation("a", "Here.", "x", "x", "none")
    there = Explanation("a", "There.", "x", "x", "none", ("/there",))
    monkeypatch.setattr(explanations, "entries", lambda: ({("member", "a"): [everywhere, there]}, {}))
    assert explain("member", "a", "/there/1") is there
    assert explain("member", "a", "/token") is everywhere


def test_what_is_not_explained_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unexplained names are found in every place of a message."""
    assert unexplained(plain_flow()) == set()
    token = {"unverified_claims": {"c": {"deeper": [{"still": 1}]}}, "unverified_header": {"h": 1}}
    strange = event(
        1, "client", "authorization_server", "POST /token", form={"new": "1"}, query={"odd": "1"},
        json={"asked": {"for": 1}, "assertion": {"unverified_claims": {"claimed": 1}, "hash": "0" * 16, "shown": "x"}},
        request_headers={"x-new": {"hidden": True}, "authorization": {"token": token}},
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
        ("claim", "c"), ("claim", "deeper"), ("claim", "still"), ("claim", "claimed"), ("jose", "h"),
        ("member", "asked"), ("member", "for"), ("member", "assertion"),
        ("member", "inner"), ("error", "refused"), ("error", "challenged"),
        ("status", "299"), ("check", "some.check"), ("change", "thing lost"),
    }  # fmt: skip
    exact, patterns = entries()
    without = {key: rows for key, rows in exact.items() if key != ("parameter", "code_verifier")}
    monkeypatch.setattr(explanations, "entries", lambda: (without, patterns))
    assert unexplained(plain_flow()) == {("parameter", "code_verifier", "/token")}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["hash", "shown", "value", "url", "hidden", "kid"]) | st.text(), inner)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(PLACES)), JSON | st.binary() | st.text(max_size=10_000), st.text())
def test_nothing_that_is_asked_for_breaks_an_explanation(place: str, name: Any, path: str) -> None:
    """No specification defines numbers, lists, or null as names, but a response may contain them."""
    found = explain(place, name, path)
    assert found is None or isinstance(name, str)
    assert change_name({"key": name, "change": name})
    assert isinstance(change_name({}), str)
    assert isinstance(link(str(name)), str)


class NoKeys(KeySet):
    """The key set of an authorization server that does not respond."""

    def __init__(self) -> None:
        pass

    def verdict(self, *_: Any) -> tuple[bool | None, str]:
        return None, "there are no keys"


@settings(deadline=None)
@given(JSON, st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_whatever_an_answer_holds_is_explained_as_far_as_it_can_be(body: Any, claims: dict[str, Any]) -> None:
    asked = event(1, "client", "authorization_server", "POST /token", body={"error": body, "x": body})
    asked["form"] = {"token": mark("eyJhbGciOiJub25lIn0.e30.", **claims)}
    found = inspect(lay_out([asked]), 1, NoKeys())
    assert found is not None
    assert sum("." in line.name for line in found.lines if line.name.startswith("x")) <= MAX_NESTED
    assert {"error", "x"} <= {line.name for line in found.lines if line.place == "response body"}
    unexplained([asked])


def test_members_within_members_are_named_by_their_path_and_explained() -> None:
    """The explanation is that of the whole path, if it has one, or of the last name; strings are not searched."""
    keys = [{"kid": "a", "kty": "EC"}, {"kid": "b"}]
    inner = {"country": "NZ", "code": mark("the-code-of-it"), "url": "one of its own"}
    body = {"keys": keys, "cnf": {"jkt": "t"}, "address": inner, "token": mark("some-token")}
    asked = event(1, "client", "authorization_server", "GET /jwks", body=body)
    found = inspect(lay_out([asked]), 1, NoKeys())
    assert found is not None
    lines = {line.name: line for line in found.lines if line.place == "response body"}
    assert lines.keys() == {
        "keys", "keys[0].kid", "keys[0].kty", "keys[1].kid", "cnf", "cnf.jkt",
        "address", "address.country", "address.code", "address.url", "token",
    }  # fmt: skip
    assert lines["address.code"].text == "the-code-of-it"
    for name, last in (("keys[0].kid", "kid"), ("keys[1].kid", "kid"), ("keys[0].kty", "kty")):
        assert lines[name].explanation is explain("member", last, "/jwks") is not None
