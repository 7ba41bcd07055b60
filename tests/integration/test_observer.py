"""The observer with running services: real flows of any client, and many viewers, without delays for the services."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest

from rolecall_lab.observer.live import MAX_VIEWERS
from rolecall_lab.walker import Walker
from support.observer_pages import flow_ids, messages, newest_flow, next_picture, picture_of, watch
from support.stack import Stack, wait_until
from support.tally_pages import connected, press, statuses, tokens_of_a_native_client

pytestmark = pytest.mark.integration


@pytest.mark.smoke
def test_tallys_page_leads_to_the_picture_of_what_it_did(stack: Stack) -> None:
    walker, page = connected(stack)
    step = "The resource server validates the token"
    told = ("POST /connect", f"POST {stack.base}/token", "GET /invoices", f"POST {stack.base}/introspect", step)
    picture_of(stack, page.text, *told)
    both = walker.open(f"{stack.client}/invoices?check=both")
    assert statuses(both) == ["200", "200"]
    flow, picture = picture_of(stack, both.text, f"POST {stack.base}/token")
    [number] = messages(picture, "/token")
    assert "Valid signature" in Walker().open(f"{stack.observer}/flows/{flow}?message={number}").text


def test_a_client_that_knows_nothing_of_rolecall_gets_a_picture_as_well(stack: Stack) -> None:
    tokens = tokens_of_a_native_client(stack)
    status, _ = stack.get(f"{stack.api}/invoices", Authorization=f"Bearer {tokens['access_token']}")
    assert status == 200

    wait_until(lambda: newest_flow(stack, "tally-desktop", "GET /invoices"))


def test_two_peoples_flows_at_once_do_not_mix(stack: Stack) -> None:
    pages: dict[str, str] = {}

    def go(who: str, password: str) -> None:
        pages[who] = connected(stack, who, password)[1].text

    threads = [threading.Thread(target=go, args=who) for who in (("alice", "wonderland-lab"), ("bob", "builder-lab"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = {who: picture_of(stack, text, f"POST {stack.base}/token") for who, text in pages.items()}
    assert found["alice"][0] != found["bob"][0]
    for _, picture in found.values():
        assert len(messages(picture, "/token")) == 1


REFRESHED = {
    "client received /refresh": 1,
    "client sent /token": 1,
    "authorization_server received /token": 1,
    "client received /invoices": 1,
    "client sent /invoices": 1,
    "resource_server received /invoices": 1,
    "resource_server sent /introspect": 1,
    "authorization_server received /introspect": 1,
}
"""The events of one press of the button, regardless of the number of viewers."""


def test_two_hundred_viewers_see_the_flow_grow_and_cost_the_services_nothing(stack: Stack) -> None:
    walker, page = connected(stack)
    flow, _ = picture_of(stack, page.text, f"POST {stack.base}/token", f"POST {stack.base}/introspect", "GET /invoices")
    with ExitStack() as opened:
        streams = [opened.enter_context(watch(stack, flow)) for _ in range(200)]
        for stream in streams:
            assert f"POST {stack.base}/token" in next_picture(stream)["diagram"]
        # counting events would not work: a full stream loses its oldest events
        before = max(event["id"] for event in stack.events())
        press(walker, page, stack, "/refresh")
        for stream in streams:
            while "POST /refresh" not in next_picture(stream)["diagram"]:
                pass

    def told() -> Counter[str]:
        recorded = [event for event in stack.events() if event["id"] > before]
        return Counter(f"{event['role']} {event['direction']} {event['path']}" for event in recorded)

    # each process writes its events with a different delay
    wait_until(lambda: told() >= Counter(REFRESHED))
    all_told = told()
    # each worker fetches the published documents from time to time, and so does the observer
    of_keys = [each for each in all_told if each.endswith("/jwks") or "/oauth-authorization-server" in each]
    assert sum(map(all_told.pop, of_keys)) <= 2 * stack.workers, "each viewer causes a request for the keys"
    assert all_told == REFRESHED, "the viewers caused requests to the services"


def test_who_is_gone_takes_nobodys_place(stack: Stack) -> None:
    """If all viewers reload the page, all of them get live updates again."""
    _, page = connected(stack)
    flow, _ = picture_of(stack, page.text)

    with ExitStack() as opened:
        for _ in range(MAX_VIEWERS):
            opened.enter_context(watch(stack, flow))
        assert _status(stack, flow) == 503
    # all places are free again
    with ExitStack() as opened:
        for _ in range(MAX_VIEWERS):
            wait_until(lambda: opened.enter_context(watch(stack, flow)).status == 200)


def _status(stack: Stack, flow: str) -> int:
    with watch(stack, flow) as answer:
        return answer.status


def test_two_hundred_who_read_nothing_keep_nobody_waiting(stack: Stack) -> None:
    """Their connections fill up and block one thread each; all other viewers still see the flow grow."""
    walker, page = connected(stack)
    flow, _ = picture_of(stack, page.text)
    host = urlsplit(stack.observer)
    with ExitStack() as opened:

        def stall() -> bool:
            stalled = opened.enter_context(closing(socket.socket()))
            stalled.settimeout(60)
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", host.port or 80))
            stalled.sendall(f"GET /flows/{flow}/live HTTP/1.1\r\nHost: {host.netloc}\r\n\r\n".encode())
            return stalled.recv(12) == b"HTTP/1.1 200"

        for _ in range(200):
            # the observer may not have noticed yet that the previous test's connections are closed
            wait_until(stall)
        wait_until(lambda: _status(stack, flow) == 200)
        with watch(stack, flow) as reader:
            for number in range(1, 4):
                page = press(walker, page, stack, "/refresh")
                while len(messages(next_picture(reader)["diagram"], "/refresh")) < number:
                    pass
        assert stack.get(f"{stack.observer}/readyz")[0] == 200
        assert flow in flow_ids(stack)


def test_after_a_break_the_page_goes_on_where_it_was(stack: Stack) -> None:
    walker, page = connected(stack)
    flow, _ = picture_of(stack, page.text)
    with watch(stack, flow) as stream:
        seen = next_picture(stream)
    walker.open(f"{stack.client}/invoices?check=jwt")
    with watch(stack, flow, seen["event_id"]) as stream:
        again = next_picture(stream)
    process, version = seen["event_id"].split("-")
    assert again["event_id"].startswith(f"{process}-")
    assert int(again["event_id"].partition("-")[2]) > int(version)
