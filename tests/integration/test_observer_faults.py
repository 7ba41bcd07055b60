"""The observer with running services that receive hostile and simultaneous requests."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

from rolecall_lab.walker import Walker, connect
from support.hostile_client import ATTRIBUTE, IMAGE, SCRIPT, authorization_request, register, use
from support.observer_pages import flow_ids, flow_page, messages, newest_flow, next_picture, picture_of, watch
from support.stack import Stack, wait_until
from support.tally_pages import connected, tokens_of_a_native_client

pytestmark = [pytest.mark.integration, pytest.mark.embedded]

EMPTIED = "Redis was emptied or full at this point; messages may be missing"
LOST = re.compile(r"[1-9]\d* messages? of the resource server could not be recorded")
COMMANDS = "a state; $(touch taken) `touch taken` %0d%0a"


def authorized(stack: Stack, client_id: str, state: str) -> tuple[str, list[str]]:
    """Sign in as Bob and give consent; return the code, and the pages that he has seen."""
    walker = Walker()
    seen = [walker.follow(walker.open(authorization_request(stack, client_id, state)))]
    seen.append(walker.follow(walker.submit(seen[-1], username="bob", password="builder-lab")))
    decided = walker.submit(seen[-1], decision="allow")
    assert decided.location is not None
    location = walker.open(decided.location).location
    assert location is not None
    answer = urllib.parse.parse_qs(urllib.parse.urlsplit(location).query)
    assert answer["state"] == [state]
    seen.append(walker.open(f"{stack.auth}/apps"))
    return answer["code"][0], [page.text for page in seen]


def registration_of(stack: Stack, client_id: str) -> str:
    """Return the flow in which the client was registered; its response contains the client ID."""
    address = f"{stack.observer}/flows/{{}}/messages/1"
    found = (flow for flow in flow_ids(stack)[:20] if client_id in Walker().open(address.format(flow)).text)
    return next(found, "")


def pages_of(stack: Stack, flow: str) -> list[str]:
    """Return everything that the observer shows of a flow as HTML or SVG."""
    page = flow_page(stack, flow)
    parts = ["messages/" + number for number in dict.fromkeys(messages(page, ""))]
    with watch(stack, flow) as stream:
        live = [part for part in next_picture(stream).values() if isinstance(part, str)]
    return [
        page,
        *live,
        *(Walker().open(f"{stack.observer}/flows/{flow}/{part}").text for part in [*parts, "export/svg"]),
    ]


@pytest.mark.parametrize("markup", [SCRIPT, IMAGE, ATTRIBUTE])
def test_a_clients_name_a_state_and_a_header_are_text_wherever_they_are_shown(stack: Stack, markup: str) -> None:
    state, agent = f"{COMMANDS}{markup}", f"agent {markup}"
    client_id = register(stack, markup)
    wait_until(lambda: registration_of(stack, client_id))
    registration = registration_of(stack, client_id)
    code, pages = authorized(stack, client_id, state)
    use(stack, client_id, code, agent)
    # the recorder shortens what looks random
    told_of = (client_id[:5], f"GET {stack.base}/authorize", f"POST {stack.base}/token", "GET /invoices")
    wait_until(lambda: newest_flow(stack, *told_of))
    flow = newest_flow(stack, *told_of)
    # no client has this client_id: the flow is listed without it, because it may be a secret
    assert stack.get(authorization_request(stack, markup, state))[0] == 400
    wait_until(lambda: "unknown client" in Walker().open(f"{stack.observer}/").text)

    registered, told = pages_of(stack, registration), pages_of(stack, flow)
    for page in [*pages, *registered, *told, Walker().open(f"{stack.observer}/").text]:
        assert markup not in page
    # the check above is only meaningful if the texts are shown
    for shown, where in ((markup, pages[1:2]), (markup, pages[2:]), (markup, registered), (state, told), (agent, told)):
        assert shown in html.unescape("".join(where))

    def taken(kind: str) -> str:
        page = Walker().open(f"{stack.observer}/flows/{flow}/export/{kind}?secrets=yes")
        assert page.status == 200
        return page.text

    assert "<" not in taken("mermaid").replace("<br", "")
    sent = [entry["request"] for entry in json.loads(taken("har"))["log"]["entries"]]
    assert {"name": "state", "value": state} in [each for request in sent for each in request["queryString"]]
    assert {"name": "user-agent", "value": agent} in [each for request in sent for each in request["headers"]]
    words = shlex.split(taken("curl"), comments=True)
    assert f"user-agent: {agent}" in words
    assert any(urllib.parse.parse_qs(urllib.parse.urlsplit(word).query).get("state") == [state] for word in words)


def jwt_of(*parts: bytes) -> str:
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


BROKEN = {
    "rubbish": "rub.bi.sh",
    "header is no JSON": jwt_of(b"\xff\xfe", b"{}", b"x"),
    "header is a list": jwt_of(b"[]", b"{}", b"x"),
    "claims are a number": jwt_of(b'{"alg":"ES256"}', b"5", b"x"),
    "deep": jwt_of(b'{"alg":"ES256"}', b'{"a":' * 3000 + b"1" + b"}" * 3000, b"x"),
    "dots": "." * 7000,
    "very many dots": "." * 100_000,
    "NUL": jwt_of(b'{"alg":"\x00"}', b'{"sub":"\x00"}', b"\x00"),
    "numbers": jwt_of(b'{"alg":1,"kid":2,"typ":3}', b'{"iss":1,"exp":"x","aud":{}}', b"x"),
}


def test_binary_bodies_and_broken_tokens_are_recorded_and_nothing_breaks(stack: Stack) -> None:
    """Each request gets the response of its specification, and its picture is drawn."""
    bodies = [b"\x00\xff\xfe" * 300, b"\x1f\x8b\x08\x00" + bytes(200), b"token=%ff%00%80&code=\xff", b"x" * 1_000_000]
    for body in bodies:
        for kind in ("application/octet-stream", "application/x-www-form-urlencoded", "application/json"):
            for url in (f"{stack.auth}/token", f"{stack.auth}/introspect", f"{stack.auth}/revoke", stack.api):
                try:
                    status = stack.call("POST", url, body, Content_Type=kind, User_Agent="binary")[0]
                except OSError:  # the service closes the connection before it has the whole megabyte
                    assert len(body) > 100_000
                    status = 413
                assert 400 <= status < 500, (url, kind, body[:10])
    for name, token in BROKEN.items():
        headers = {"Authorization": f"Bearer {token}"} if "\0" not in token else {}
        for way in ("jwt", "introspection"):
            status, _ = stack.get(f"{stack.api}/invoices", **headers, Rolecall_Validator=way)
            assert status in {400, 401, 431}, (name, way)
        form = urllib.parse.urlencode({"token": token, "client_id": "tally-desktop"}).encode()
        assert stack.call("POST", f"{stack.auth}/revoke", form)[0] in {200, 400, 413}, name
    tokens_of_a_native_client(stack)

    wait_until(lambda: newest_flow(stack, "tally-desktop", f"POST {stack.base}/token"))
    for flow in flow_ids(stack)[:60]:
        assert Walker().open(f"{stack.observer}/flows/{flow}").status == 200
        assert Walker().open(f"{stack.observer}/flows/{flow}/messages/1").status == 200
    assert stack.get(f"{stack.observer}/readyz")[0] == 200


@pytest.mark.parametrize("number", [20, pytest.param(100, marks=pytest.mark.long)])
def test_many_real_flows_at_once_do_not_mix(stack: Stack, number: int) -> None:
    people = [("alice", "wonderland-lab"), ("bob", "builder-lab")]
    connected(stack)  # the very first introspection fills the set of revoked tokens

    def signed_in(number: int) -> Walker:
        name, password = people[number % 2]
        walker = Walker()
        walker.submit(walker.open(f"{stack.auth}/sign-in"), username=name, password=password)
        return walker

    def go(walker: Walker) -> str:
        texts: list[str] = []

        def is_served() -> bool:
            try:
                texts.append(connect(walker, stack.client, "", "").text)
            except RuntimeError as error:
                # the services' timeouts are a few seconds, which a busy machine may exceed
                if "responded with 503" not in str(error):
                    raise
            return bool(texts)

        wait_until(is_served)
        return texts[-1]

    with ThreadPoolExecutor(6) as pool:  # more passwords are not hashed in parallel
        walkers = list(pool.map(signed_in, range(number)))
    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(go, walkers))
    found = {}
    for text in texts:
        name, picture = picture_of(stack, text, f"POST {stack.base}/token", f"POST {stack.base}/introspect")
        found[name] = picture
    assert len(found) == number, "two flows were joined"
    codes = set()
    for flow, picture in found.items():
        assert len(messages(picture, "/token")) == 1
        events = json.loads(Walker().open(f"{stack.observer}/flows/{flow}/export/json?secrets=yes").text)["events"]
        mine = {code["value"] for event in events if (code := event["form"].get("code"))}
        assert len(mine) == 1, "a flow has another user's code"
        codes |= mine
    assert len(codes) == number, "two flows have the same code"
