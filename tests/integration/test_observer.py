"""The observer beside running services: real flows of any client, many viewers, and nobody who waits for it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from pages import connected, press, statuses, tokens_of_a_native_client
from rolecall_lab.walker import Walker
from stack import Stack, running_stack, wait_until

pytestmark = pytest.mark.integration


def picture_of(stack: Stack, page_text: str) -> tuple[str, str]:
    """The id and the page of the flow that one of Tally's pages leads to."""
    found = re.search(rf'href="({re.escape(stack.observer)}/of/[0-9a-f]+)"', page_text)
    assert found is not None
    walker = Walker()
    page = walker.follow(walker.open(found[1]))
    assert page.status == 200
    return page.url.rpartition("/")[2], page.text


@contextmanager
def watch(stack: Stack, flow: str, last: str = "") -> Iterator[http.client.HTTPResponse]:
    """An open stream of a flow's pictures."""
    host = urlsplit(stack.observer)
    connection = http.client.HTTPConnection("127.0.0.1", host.port or 80, timeout=20)
    connection.request("GET", f"/flows/{flow}/live", headers={"Host": host.netloc, "Last-Event-ID": last})
    answer = connection.getresponse()
    assert answer.status == 200
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def next_picture(answer: http.client.HTTPResponse) -> dict[str, Any]:
    """Wait for the next picture of a stream."""
    version = 0
    while line := answer.readline():
        if line.startswith(b"id: "):
            version = int(line[4:])
        elif line.startswith(b"data: "):
            return {"version": version, **json.loads(line[6:])}
    raise AssertionError("the stream ended")


def test_tallys_page_leads_to_the_picture_of_what_it_did(stack: Stack) -> None:
    walker, page = connected(stack)
    # each service writes in its own time
    wait_until(lambda: "POST /introspect" in picture_of(stack, page.text)[1])
    _, picture = picture_of(stack, page.text)
    for words in (
        "POST /connect",
        "POST /token",
        "GET /invoices",
        "POST /introspect",
        "The resource server checks the token",
    ):
        assert words in picture
    both = walker.open(f"{stack.client}/invoices?check=both")
    assert statuses(both) == ["200", "200"]
    _, picture = picture_of(stack, both.text)
    assert "Signature right" in Walker().open(re.sub(r"^", f"{stack.observer}", _message(picture, "/token"))).text


def _message(picture: str, path: str) -> str:
    found = re.search(rf'href="([^"]+)" class="message" aria-label="Message \d+: [^"]*{re.escape(path)}"', picture)
    assert found is not None
    return found[1].replace("&amp;", "&").partition("#")[0]


def test_a_client_that_knows_nothing_of_rolecall_gets_a_picture_as_well(stack: Stack) -> None:
    tokens = tokens_of_a_native_client(stack)
    status, _ = stack.get(f"{stack.api}/invoices", Authorization=f"Bearer {tokens['access_token']}")
    assert status == 200

    def drawn() -> bool:
        listed = Walker().open(f"{stack.observer}/").text
        flows = re.findall(r'href="(/flows/[0-9a-f]+)"', listed)[:5]
        pages = [Walker().open(f"{stack.observer}{flow}").text for flow in flows]
        return any("tally-desktop" in page and "GET /invoices" in page for page in pages)

    wait_until(drawn)


def test_two_peoples_flows_at_once_do_not_mix(stack: Stack) -> None:
    pages: dict[str, str] = {}

    def go(who: str, password: str) -> None:
        pages[who] = connected(stack, who, password)[1].text

    threads = [threading.Thread(target=go, args=who) for who in (("alice", "wonderland-lab"), ("bob", "builder-lab"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = {who: picture_of(stack, text) for who, text in pages.items()}
    assert found["alice"][0] != found["bob"][0]
    for _, picture in found.values():
        assert len(re.findall(r'aria-label="Message \d+: [^"]*/token"', picture)) == 1


def test_two_hundred_viewers_see_the_flow_grow_and_cost_the_services_nothing(stack: Stack) -> None:
    walker, page = connected(stack)
    flow, _ = picture_of(stack, page.text)
    with ExitStack() as opened:
        streams = [opened.enter_context(watch(stack, flow)) for _ in range(200)]
        for stream in streams:
            assert "POST /token" in next_picture(stream)["body"]
        before = len(stack.events())
        press(walker, page, stack, "/refresh")
        for stream in streams:
            while "POST /refresh" not in next_picture(stream)["body"]:
                pass
    told = [event for event in stack.events()[before:] if event["path"] not in {"/jwks", "/"}]
    assert len(told) < 20, "the viewers made the services do something"


def test_after_a_break_the_page_goes_on_where_it_was(stack: Stack) -> None:
    walker, page = connected(stack)
    flow, _ = picture_of(stack, page.text)
    with watch(stack, flow) as stream:
        seen = next_picture(stream)
    walker.open(f"{stack.client}/invoices?check=jwt")
    with watch(stack, flow, str(seen["version"])) as stream:
        assert next_picture(stream)["version"] > seen["version"]


@pytest.mark.embedded
def test_the_observer_is_dead_and_nobody_notices(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_stack(tmp_path_factory.mktemp("blind")) as stack:
        observer = psutil.Process(stack.pids["lab-observer"])
        for process in (observer, *observer.children()):
            os.kill(process.pid, signal.SIGKILL)
        observer.wait(10)
        for _ in range(3):
            walker, _ = connected(stack)
            assert statuses(walker.open(f"{stack.client}/invoices?check=both")) == ["200", "200"]
        assert all(stack.get(f"{url}/readyz")[0] == 200 for url in (stack.client, stack.auth, stack.api))


@pytest.mark.embedded
def test_redis_restarts_in_the_middle_and_the_picture_goes_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the services could not write is a gap; who looks on is told meanwhile."""
    with running_stack(tmp_path_factory.mktemp("restarted")) as stack:
        _, page = connected(stack)
        flow, _ = picture_of(stack, page.text)
        launcher = psutil.Process(stack.pids["auth-service"]).parent()
        assert launcher is not None
        [server] = [child for child in launcher.children() if "redis" in child.name() or "valkey" in child.name()]
        with watch(stack, flow) as stream:
            next_picture(stream)
            server.suspend()
            try:
                while not next_picture(stream)["away"]:
                    pass
            finally:
                server.resume()
            while next_picture(stream)["away"]:
                pass
        _, again = connected(stack)
        wait_until(lambda: "POST /token" in picture_of(stack, again.text)[1])
