"""Parts of a running lab stop, hang, die, or lose what they stored, and the rest goes on.

The tests share one lab and run in this order: each restores it, except for the last, which kills the observer.
"""

from __future__ import annotations

import os
import re
import signal
import urllib.parse
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import redis

from rolecall.storage import connect
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_lab.walker import Walker
from support.observer_pages import flow_page, messages, newest_flow, next_picture, picture_of, watch
from support.servers import RedisServer
from support.stack import Stack, lab_command, running_stack, suspended, wait_until
from support.tally_pages import connected, press, statuses, tokens_of_a_native_client

pytestmark = [pytest.mark.integration, pytest.mark.embedded, pytest.mark.long]

EMPTIED = "Redis was emptied or full at this point; messages may be missing"
LOST = re.compile(r"[1-9]\d* messages? of the resource server could not be recorded")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("faults"), REDIS_URL=redis_server.url) as running:
        yield running


def ready(stack: Stack) -> bool:
    try:
        return all(stack.get(f"{url}/readyz")[0] == 200 for url in (stack.client, stack.auth, stack.api))
    except OSError:
        return False


def connected_again(stack: Stack) -> Walker | None:
    """Return the browser of a person who has connected Tally; None while a worker of Tally still reports an outage.

    A worker without metadata fetches them again a second after a failure.
    """
    try:
        return connected(stack)[0]
    except RuntimeError:
        return None


def test_a_stopped_authorization_server_is_explained_and_signed_tokens_go_on(lab: Stack) -> None:
    walker, page = connected(lab)
    walker.open(f"{lab.client}/invoices?check=jwt")
    walker.open(f"{lab.client}/invoices?check=jwt")
    with suspended(lab.pids["auth-service"]):
        assert statuses(walker.open(f"{lab.client}/invoices?check=introspection")) == ["503"]
        refused = press(walker, page, lab, "/refresh")
        assert refused.status == 503
        assert "authorization server is not responding" in refused.text
    assert statuses(walker.open(f"{lab.client}/invoices?check=introspection")) == ["200"]


def test_a_killed_worker_is_replaced_and_the_person_goes_on(lab: Stack) -> None:
    walker = wait_until(lambda: connected_again(lab))
    assert walker is not None
    for name in ("client-webapp", "auth-service", "resource-service"):
        for worker in psutil.Process(lab.pids[name]).children():
            os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: ready(lab))
    assert statuses(walker.open(f"{lab.client}/invoices?check=both")) == ["200", "200"]


def test_keys_are_rotated_in_the_running_lab(lab: Stack) -> None:
    """A new key is published first, and signs after the max-age of the key set; no worker rejects it."""
    before = {key["kid"] for key in lab.get(f"{lab.auth}/jwks")[1]["keys"]}
    said = lab_command(lab, "launcher.flask_command", "auth-service", "keys", "rotate")
    assert said.stdout.count("Published") == len(ID_TOKEN_ALGORITHMS)
    wait_until(lambda: len(lab.get(f"{lab.auth}/jwks")[1]["keys"]) == 2 * len(ID_TOKEN_ALGORITHMS))
    try:
        lab.call("PUT", f"{lab.auth}/_lab/clock", b'{"advance": 302}')
        listed = lab_command(lab, "launcher.flask_command", "auth-service", "keys", "list").stdout
        states = (listed.count("  signing"), listed.count("  verifying"))
        assert states == (len(ID_TOKEN_ALGORITHMS),) * 2, "commands use the lab's clock too"
        lab.call("DELETE", f"{lab.auth}/_lab/clock", None)
        walker, page = connected(lab)
        lab.call("PUT", f"{lab.auth}/_lab/clock", b'{"advance": 302}')
        for _ in range(6):
            page = press(walker, page, lab, "/refresh")
            assert statuses(walker.open(f"{lab.client}/invoices?check=both")) == ["200", "200"]
        lab.call("PUT", f"{lab.auth}/_lab/clock", b'{"advance": 700}')
        assert before.isdisjoint(key["kid"] for key in lab.get(f"{lab.auth}/jwks")[1]["keys"])
    finally:
        lab.call("DELETE", f"{lab.auth}/_lab/clock", None)


def test_redis_hangs_and_the_picture_goes_on(lab: Stack, redis_server: RedisServer) -> None:
    """The page reports the outage while Redis does not respond."""
    _, page = connected(lab)
    flow, _ = picture_of(lab, page.text)
    with watch(lab, flow) as stream:
        next_picture(stream)
        with suspended(redis_server.pid):
            while not next_picture(stream)["away"]:
                pass
        while next_picture(stream)["away"]:
            pass
    _, again = connected(lab)
    picture_of(lab, again.text, "POST /token")


def test_redis_restarts_empty_and_the_picture_says_that_messages_are_missing(
    lab: Stack, redis_server: RedisServer
) -> None:
    """Messages from the time without Redis are a gap in the flow, and the flow goes on."""
    tokens = tokens_of_a_native_client(lab)
    bearer = {"Authorization": f"Bearer {tokens['access_token']}", "Rolecall_Validator": "jwt"}

    def call_api() -> int:
        return lab.get(f"{lab.api}/invoices", **bearer)[0]

    assert call_api() == 200
    wait_until(lambda: newest_flow(lab, "tally-desktop", "GET /invoices"))
    flow = newest_flow(lab, "tally-desktop", "GET /invoices")
    before = messages(flow_page(lab, flow), "GET /invoices")
    assert EMPTIED not in flow_page(lab, flow)
    redis_server.stop()
    # enough requests that the first events are dropped before Redis is back
    assert {call_api() for _ in range(20)} <= {200, 503}
    wait_until(lambda: "Redis is unavailable" in flow_page(lab, flow))
    redis_server.start()
    wait_until(lambda: call_api() == 200)
    # the next message of the same process reports the loss, and there are several processes
    wait_until(lambda: call_api() == 200 and LOST.search(flow_page(lab, flow)) is not None)
    page = flow_page(lab, flow)
    assert EMPTIED in page
    assert len(messages(page, "GET /invoices")) > len(before), "the flow does not continue"
    assert "POST /token" in page, "earlier messages are missing"
    assert "Redis is unavailable" not in page


def test_the_observer_is_dead_and_nobody_notices(lab: Stack) -> None:
    observer = psutil.Process(lab.pids["lab-observer"])
    for process in (observer, *observer.children()):
        os.kill(process.pid, signal.SIGKILL)
    observer.wait(60)
    for _ in range(3):
        walker, _ = connected(lab)
        assert statuses(walker.open(f"{lab.client}/invoices?check=both")) == ["200", "200"]
    assert ready(lab)


def test_the_embedded_redis_is_killed_and_replaced(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The launcher restarts it empty: a revoked token stays revoked, and the lab's clock is reset everywhere."""
    with running_stack(tmp_path_factory.mktemp("killed")) as stack:
        client = connect(stack.redis_url)
        kept, revoked = tokens_of_a_native_client(stack), tokens_of_a_native_client(stack)
        stack.call("PUT", f"{stack.auth}/_lab/clock", b'{"advance": 60}')
        form = urllib.parse.urlencode({"token": revoked["access_token"], "client_id": "tally-desktop"})
        assert stack.call("POST", f"{stack.auth}/revoke", form.encode())[0] == 200
        killed = client.info("server")["process_id"]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: answers(client) and client.info("server")["process_id"] != killed and ready(stack))

        def validated(tokens: dict[str, Any]) -> int:
            bearer = {"Authorization": f"Bearer {tokens['access_token']}", "Rolecall_Validator": "introspection"}
            return stack.get(f"{stack.api}/invoices", **bearer)[0]

        wait_until(lambda: validated(kept) == 200)
        assert validated(revoked) == 401
        for url in (stack.client, stack.auth, stack.api):
            wait_until(lambda url=url: stack.get(f"{url}/_lab/clock")[1].get("workers") == stack.workers)
            assert stack.get(f"{url}/_lab/clock")[1]["offset"] == 0
        assert stack.call("PUT", f"{stack.api}/_lab/clock", b'{"advance": 60}')[0] == 200
        walker, page = connected(stack)
        assert statuses(walker.open(f"{stack.client}/invoices?check=both")) == ["200", "200"]
        picture_of(stack, page.text, "POST /token")
        client.close()


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.mark.parametrize(("skew", "accepted"), [("120", True), ("-120", False)])
def test_a_clock_that_is_off_by_two_minutes_is_found_by_the_doctor(
    tmp_path_factory: pytest.TempPathFactory, skew: str, accepted: bool
) -> None:
    """RFC 9068 section 4: new tokens are valid if the API's clock is ahead, but not yet valid if it is behind."""
    with running_stack(tmp_path_factory.mktemp("skewed"), RESOURCE_SERVICE_LAB_CLOCK_SKEW=skew) as stack:
        tokens = tokens_of_a_native_client(stack)
        for how in ("jwt", "introspection"):
            headers = {"Authorization": f"Bearer {tokens['access_token']}", "Rolecall-Validator": how}
            status, answer = stack.get(f"{stack.api}/invoices", **headers)
            assert status == (200 if accepted else 401), (how, answer)
        done = lab_command(stack, "launcher.doctor")
        assert done.returncode == 1
        where = "ahead of" if accepted else "behind"
        assert re.search(rf"the clock of resource-service \(.*\) is 1[12]\d s {where} this machine's", done.stdout)
