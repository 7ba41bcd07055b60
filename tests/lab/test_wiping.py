"""The search for secrets in an event's text finds everything that the walk through its values would change."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall_lab.recording import event, parts
from rolecall_lab.recording.event import Exchange
from rolecall_lab.recording.wiping import Secrets
from rolecall_lab.settings import LabSettings
from support.recorded_events import describe
from support.small_services import b64, basic

SECRETS = (
    "hunter2",
    "a-pass-phrase",
    'pass "word"\\/é\n',
    "\ud83d\ude00 😀 long",
    "eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
    "form",
    "x",
)
TOKENS = (f"{b64({'alg': 'x'})}.{b64({'client_id': 'tally', 'n': 1})}.signature", "opaque-token-0123456789", "short")

texts = st.sampled_from((*SECRETS, *TOKENS, "plain", "Basic", "tally", "")) | st.text(max_size=12)
joined = st.lists(texts, min_size=1, max_size=3).map(" ".join)
names = st.sampled_from(
    [
        "password",
        "client_secret",
        "token",
        "access_token",
        "code",
        "state",
        "scope",
        "username",
        "client_id",
        "note",
        "a-pass-phrase",
        "redirect_uri",
        "id_token",
        "at_hash",
    ]
)
json_values = st.recursive(
    joined | st.integers(0, 9) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
facts = joined | st.lists(joined, max_size=2) | st.none() | st.integers()
checks = st.fixed_dictionaries({"expected": facts, "actual": facts}).map(
    lambda given: {"kind": "check", "name": "c", "passed": True, "clause": "RFC", "description": "A form.", **given}
)
headers = st.dictionaries(
    st.sampled_from(("User-Agent", "Cookie", "Authorization", "DPoP", "X-Other", "Accept")),
    joined | st.sampled_from((f"Bearer {TOKENS[0]}", "Bearer a-pass-phrase", basic("tally", "a-pass-phrase"))),
    max_size=4,
)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    form = draw(st.dictionaries(names, joined, max_size=4))
    query = draw(st.dictionaries(names, joined, max_size=3))
    return Exchange(
        "received",
        "POST",
        f"{draw(st.sampled_from(('/token', '/register', '/i/a-pass-phrase')))}?{urlencode(query, errors='replace')}",
        {"Content-Type": "application/x-www-form-urlencoded", **draw(headers)},
        1.0,
        request_body=urlencode(form, errors="replace").encode(),
        status=200,
        response_headers=[
            ("Content-Type", "application/json"),
            ("Set-Cookie", f"session={draw(joined)}"),
            ("Location", f"http://x/cb?{urlencode(query, errors='replace')}"),
        ],
        body=json.dumps(draw(st.dictionaries(names, json_values, max_size=4))).encode(),
        notes=draw(st.lists(checks, max_size=3)),
        ended=1.0,
        offset=0.0,
    )


def without_id(described: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in described.items() if name != "id"}


@pytest.fixture(scope="module")
def lab() -> LabSettings:
    return LabSettings(lab_key="a key of the tests", lab_redis_url="redis://unused", role="authorization_server")


@given(exchange=exchanges())
def test_the_search_finds_what_the_walk_would_change(exchange: Exchange, lab: LabSettings) -> None:
    found = without_id(describe(exchange, lab))
    again = without_id(describe(exchange, lab))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Secrets, "complete", lambda *_: None)
        patch.setattr(parts, "known", lambda _text: None)
        patch.setattr(event, "_check_texts", {})
        expected = without_id(describe(exchange, lab))
    assert found == again == expected


PASSWORDS = (("another-one", "a-pass-phrase"), ("a-pass-phrase", "a-p…"), ("another-one", "a-pass-phrase"))
"""Passwords, and the text that is recorded where the second one appears elsewhere."""


def test_a_cached_part_is_searched_too(settings: Callable[..., LabSettings]) -> None:
    """A document that is the same in many responses may contain a text that is secret in only one of them."""
    body = json.dumps({"keys": [], "note": "a-pass-phrase"}).encode()
    answer: dict[str, Any] = {"status": 200, "response_headers": [("Content-Type", "application/json")], "body": body}
    for password, shown in (
        ("another-one", "a-pass-phrase"),
        ("a-pass-phrase", "a-p…"),
        ("another-one", "a-pass-phrase"),
    ):
        form = {"request_headers": {"Content-Type": "application/x-www-form-urlencoded"}}
        sent = Exchange(
            "received", "POST", "/", milliseconds=1, request_body=f"password={password}".encode(), **form, **answer
        )
        assert describe(sent, settings())["body"]["note"] == shown


def test_a_cached_check_is_searched_too(settings: Callable[..., LabSettings]) -> None:
    check = {
        "kind": "check",
        "name": "c",
        "passed": True,
        "clause": "RFC",
        "expected": "a-pass-phrase",
        "actual": "form",
    }
    for password, shown in (
        ("another-one", "a-pass-phrase"),
        ("a-pass-phrase", "a-p…"),
        ("another-one", "a-pass-phrase"),
    ):
        headers = {"Authorization": "Basic " + base64.b64encode(f"tally:{password}".encode()).decode()}
        described = describe(Exchange("received", "GET", "/", headers, 1, notes=[check]), settings())
        assert described["checks"][0]["expected"] == shown


@pytest.mark.parametrize("odd", ["\ud800", 2**70, "plain"])
@pytest.mark.parametrize("place", ["body", "check"])
def test_secrets_are_wiped_beside_values_that_orjson_does_not_support(
    odd: Any, place: str, settings: Callable[..., LabSettings]
) -> None:
    check = {
        "kind": "check",
        "name": "c",
        "passed": True,
        "clause": "RFC",
        "description": "d",
        "expected": "pässwörtlich",
    }
    exchange = Exchange(
        "received",
        "POST",
        "/",
        {"Content-Type": "application/x-www-form-urlencoded"},
        1,
        request_body=urlencode({"password": "pässwörtlich"}).encode(),
        response_headers=[("Content-Type", "application/json")],
        body=json.dumps({"note": "pässwörtlich", "odd": odd if place == "body" else ""}).encode(),
        notes=[{**check, "actual": odd if place == "check" else ""}],
    )
    for _ in range(2):
        described = describe(exchange, settings())
        assert described["body"]["note"] == described["checks"][0]["expected"] == "päs…"
        assert (described["body"]["odd"] if place == "body" else described["checks"][0]["actual"]) == odd
