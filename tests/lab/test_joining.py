"""Joining messages to flows: values issued by a server join them, values invented by a third party do not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import combinations, permutations
from typing import Any

import pytest
import redis
import requests

from rolecall_lab.recording.event import Exchange
from rolecall_lab.recording.flows import Flows, read_flows
from rolecall_lab.recording.redaction import Redaction
from rolecall_lab.settings import LabSettings
from support.recorded_events import describe, event, mark, plain
from support.small_services import KEY, SmallServices

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = [("Content-Type", "application/json")]
CODE = "a-code-0123456789"


@pytest.fixture
def told(settings: Callable[..., LabSettings]) -> Callable[..., dict[str, Any]]:
    """Return a function that describes an exchange received by a service as an event."""

    def tell(method: str, url: str, status: int, role: str = "authorization_server", **more: Any) -> dict[str, Any]:
        exchange = Exchange("received", method, url, more.pop("headers", {}), 1.0, status=status, **more)
        return {**describe(exchange, settings(role)), "process": 1, "dropped": 0}

    return tell


def number_of(*events: dict[str, Any]) -> int:
    """Return the number of flows that these events form."""
    flows = Flows()
    flows.add(events)
    return flows.count()[0]


def test_a_clients_constant_trace_joins_nothing(small_services: SmallServices, store: redis.Redis) -> None:
    """W3C Trace Context: the flows of a client with a constant trace, as in an example with curl, stay separate."""
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    for number in range(3):
        bearer = {"Authorization": f"Bearer token-{number}-0123456789"}
        requests.get(small_services.urls["resource_server"] + "/invoices", headers=headers | bearer, timeout=60)
    small_services.written()
    flows = read_flows(store)
    assert [flow.messages for flow in flows] == [2, 2, 2], "each call, and the introspection that it caused"
    assert {flow.roles for flow in flows} == {("authorization_server", "client", "resource_server")}


def test_a_span_of_a_strangers_joins_two_of_its_requests_no_more_than_its_trace() -> None:
    same = {"trace": "a" * 32, "span": "b" * 16}
    calls = [
        event(number, "client", "resource_server", "GET /invoices", serving=f"{number}", **same) for number in range(3)
    ]
    assert number_of(*calls) == 3


@pytest.mark.parametrize("order", [*permutations(range(4))], ids=str)
def test_both_ends_of_a_message_and_what_it_was_sent_for_are_one_flow(order: tuple[int, ...]) -> None:
    """The span and the served request join events without shared values, in whatever order they are written."""
    one, two = {"trace": "a" * 32, "span": "1" * 16}, {"trace": "a" * 32, "span": "2" * 16}
    events = [
        event(0, "browser", "client", "GET /invoices", serving="c", trace="a" * 32),
        event(1, "client", "resource_server", "GET /invoices", serving="c", direction="sent", **one),
        event(2, "client", "resource_server", "GET /invoices", serving="r", **one),
        event(3, "resource_server", "authorization_server", "GET /jwks", serving="r", direction="sent", **two),
    ]
    assert number_of(*(events[position] for position in order)) == 1


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("/invoices", {"role": "resource_server", "headers": {"authorization": "Bearer the-same-token"}}),
        ("/token", {"headers": FORM, "request_body": b"grant_type=authorization_code&code=the-same-code"}),
    ],
)
def test_what_was_refused_joins_no_two_strangers(
    url: str, more: dict[str, Any], told: Callable[..., dict[str, Any]]
) -> None:
    assert number_of(*(told("POST", url, 401, **more) for _ in range(3))) == 3
    assert number_of(*(told("POST", url, 200, **more) for _ in range(3))) == 1, "a server accepted the value"


@pytest.mark.parametrize(("path", "body"), [("/introspect", {"active": False}), ("/revoke", {})])
def test_an_answer_of_200_to_a_question_about_a_token_does_not_make_it_one(
    path: str, body: dict[str, Any], told: Callable[..., dict[str, Any]]
) -> None:
    """RFC 7662 section 2.2, RFC 7009 section 2.2."""
    more = {"headers": FORM, "request_body": b"token=the-same-token", "response_headers": JSON}
    assert number_of(*(told("POST", path, 200, body=json.dumps(body).encode(), **more) for _ in range(2))) == 2


def test_a_code_that_is_presented_again_is_of_the_flow_in_which_it_was_given(
    told: Callable[..., dict[str, Any]],
) -> None:
    """RFC 6749 section 4.1.2; this also holds if the response that contains the code is written last."""
    location = [("Location", f"http://localhost:8000/callback?code={CODE}")]
    given = told("GET", "/authorize?response_type=code", 303, response_headers=location)
    form = f"grant_type=authorization_code&code={CODE}".encode()
    again = [told("POST", "/token", 400, headers=FORM, request_body=form) for _ in range(2)]
    assert again[0]["presented"] == [Redaction(KEY).hash(CODE)]
    assert given["presented"] == []
    for order in permutations([given, *again]):
        assert number_of(*order) == 1


def test_claims_that_anybody_can_write_join_nothing(told: Callable[..., dict[str, Any]]) -> None:
    """URLs within URLs, nested members of a response, and the JSON of a request do not join flows either."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    forged = f"{part({'alg': 'none'})}.{part({'code': CODE, 'access_token': CODE, 'state': CODE})}.x"
    inner = f"http://localhost/?code={CODE}"
    event = told(
        "POST", f"/x?id_token={forged}&redirect_uri={inner}", 200, headers={"content-type": "application/json"},
        request_body=json.dumps({"code": CODE, "redirect_uris": [inner]}).encode(), response_headers=JSON,
        body=json.dumps({"of": {"access_token": CODE}, "home": inner}).encode(),
    )  # fmt: skip
    assert event["query"]["id_token"]["unverified_claims"]["code"]["value"] == CODE, "it is still followed"
    assert (event["handles"], event["chosen"]) == ([], [])
    own = told("POST", "/token", 200, response_headers=JSON, body=json.dumps({"access_token": CODE}).encode())
    assert own["handles"] == [Redaction(KEY).hash(CODE)]


def test_a_denied_request_is_answered_in_its_own_flow() -> None:
    """RFC 6749 section 4.1.2.1: an error response does not contain a code, and a client may reuse its `state`."""
    same = plain("the-state-of-an-example")
    asked = {"response_type": "code", "state": same}
    refused = {"error": "access_denied", "state": same}

    def begun(number: int) -> dict[str, Any]:
        return event(
            number, "browser", "authorization_server", "GET /authorize", 303, query=asked, chosen=["state"],
            handles=[f"interaction-{number}"],
        )  # fmt: skip

    def denied(number: int) -> dict[str, Any]:
        return event(
            10 + number, "browser", "authorization_server", "POST /consent", 303, chosen=["state"],
            handles=[f"interaction-{number}"], query={"interaction": mark(f"interaction-{number}")},
            response_headers={"location": {"url": "http://localhost:8000/callback", "parameters": refused}},
        )  # fmt: skip

    back = event(20, "browser", "client", "GET /callback", query=refused, chosen=["state"])
    flows = Flows()
    flows.add([begun(0), begun(1), denied(0), begun(2), back])
    found = [[each["path"] for each in flow.events] for flow in flows.snapshot()]
    assert sorted(found) == [["/authorize"], ["/authorize"], ["/authorize", "/consent", "/callback"]]


@pytest.mark.parametrize("sent", [*combinations(range(5), 3)], ids=str)
def test_a_client_that_connects_again_starts_another_flow(sent: tuple[int, ...]) -> None:
    """The revocation of the replaced token belongs to the new flow, in whatever order two services write."""
    one, two = {"trace": "a" * 32, "span": "1" * 16}, {"trace": "a" * 32, "span": "2" * 16}
    revoked = {"form": {"token": mark("old-token")}, "presented": ["old-token"]}
    code = {"handles": ["new-code"]}
    before = [
        event(0, "client", "authorization_server", "POST /token", handles=["old-code", "old-token"]),
        event(10, "browser", "authorization_server", "GET /authorize", 303, **code),
    ]
    by_client = iter([
        event(12, "client", "authorization_server", "POST /token", direction="sent", serving="c", **code, **one),
        event(14, "client", "authorization_server", "POST /revoke", direction="sent", serving="c", **revoked, **two),
        event(11, "browser", "client", "GET /callback", 303, serving="c", trace="a" * 32, **code),
    ])  # fmt: skip
    by_server = iter([
        event(13, "client", "authorization_server", "POST /token", serving="s", **code, **one),
        event(15, "client", "authorization_server", "POST /revoke", serving="t", **revoked, **two),
    ])  # fmt: skip
    flows = Flows()
    flows.add([*before, *(next(by_client if place in sent else by_server) for place in range(5))])
    old, new = sorted(flows.snapshot(), key=lambda flow: flow.events[0]["id"])
    assert [each["path"] for each in old.events] == ["/token"]
    paths = ["/authorize", "/callback", "/token", "/token", "/revoke", "/revoke"]
    assert [each["path"] for each in new.events] == paths
    assert flows.count() == (2, 7)


@pytest.mark.parametrize("by_server", [(first, second) for first in (0, 1) for second in range(2, 5)], ids=str)
def test_a_second_authorization_request_continues_the_flow(by_server: tuple[int, ...]) -> None:
    """A client may redirect the browser again after it got a code, for example with `id_token_hint`."""

    def redirect(state: str) -> dict[str, Any]:
        parameters = {"response_type": "code", "state": plain(state)}
        return {"location": {"url": "http://localhost:8001/authorize", "parameters": parameters}}

    def request(at: int, state: str, code: str) -> dict[str, Any]:
        asked = {"response_type": "code", "state": plain(state)}
        return event(
            at, "browser", "authorization_server", "GET /authorize", 303, query=asked, chosen=[state], handles=[code]
        )

    client = iter([
        event(0, "browser", "client", "POST /start", 303, chosen=["one"], response_headers=redirect("one")),
        event(
            2, "browser", "client", "GET /callback", 303, presented=["code-1"], chosen=["one", "two"],
            response_headers=redirect("two"),
        ),
        event(4, "browser", "client", "GET /callback", presented=["code-2"], chosen=["two"]),
    ])  # fmt: skip
    server = iter([request(1, "one", "code-1"), request(3, "two", "code-2")])
    assert number_of(*(next(server if place in by_server else client) for place in range(5))) == 1


@pytest.mark.parametrize("order", [*permutations(range(3))], ids=str)
def test_a_revocation_belongs_to_the_flow_of_the_token(order: tuple[int, ...]) -> None:
    """RFC 7009 section 2.1; the user presses a button of the client, whose request contains no value of the flow."""
    ends = {"trace": "a" * 32, "span": "1" * 16}
    revoked = {"form": {"token": mark("a-token")}, "presented": ["a-token"]}
    events = [
        event(1, "browser", "client", "POST /revoke", 303, serving="c", trace="a" * 32),
        event(2, "client", "authorization_server", "POST /revoke", direction="sent", serving="c", **revoked, **ends),
        event(3, "client", "authorization_server", "POST /revoke", serving="s", **revoked, **ends),
    ]
    token = event(0, "client", "authorization_server", "POST /token", handles=["a-token"])
    assert number_of(token, *(events[position] for position in order)) == 1


def test_whoever_asks_for_the_keys_is_the_client_until_its_own_event_says_otherwise(
    told: Callable[..., dict[str, Any]],
) -> None:
    assert told("GET", "/jwks", 200, back_channel=True)["from"] == "client"
    assert told("POST", "/introspect", 200, back_channel=True)["from"] == "resource_server"
