"""Used assertions after Redis was emptied or replaced, and may have lost their `jti` (RFC 7523 section 3)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall.limits import limit
from rolecall_auth import create_app
from rolecall_auth.clients.assertion import LEEWAY, MAX_AHEAD
from support.auth_server import Server, make_server, make_settings, opened
from support.signing import claims, is_in, is_refused, now, present, signed, signer

pytestmark = pytest.mark.database


@pytest.fixture
def server(tmp_path: Any, redis_url: str) -> Server:
    server = make_server(make_settings(tmp_path, redis_url, client_limit=limit("1000/minute")))
    server.add(signer())
    return server


def is_asked_for_another(response: TestResponse) -> bool:
    """Return whether the response asks for a new assertion, without calling the credentials wrong."""
    error = response.json["error"] if response.json else ""
    return response.status_code == 503 and error == "temporarily_unavailable" and response.headers["Retry-After"] == "1"


def test_what_was_used_before_redis_was_emptied_is_refused(server: Server) -> None:
    used, kept = signed(claims(exp=now() + 600)), signed(claims(exp=now() + 600))
    assert is_in(present(server, used))
    server.services.store.client.flushall()
    for _ in range(2):
        assert is_asked_for_another(present(server, used))
        assert is_asked_for_another(present(server, kept)), "the server cannot know that it was not used"
    clock.set_offset(1)
    new = signed(claims())
    assert is_in(present(server, new))
    assert is_refused(present(server, new))
    assert is_asked_for_another(present(server, used))


def test_of_32_parallel_uses_in_an_emptied_redis_none_passes(server: Server) -> None:
    used, barrier = signed(claims()), threading.Barrier(32)
    assert is_in(present(server, used))
    server.services.store.client.flushall()

    def one(_: int) -> TestResponse:
        barrier.wait()
        return present(server, used)

    with ThreadPoolExecutor(32) as pool:
        assert all(map(is_asked_for_another, pool.map(one, range(32))))


def test_another_redis_has_its_own_memory(server: Server) -> None:
    """A replica that took over, or a restored copy, may lack the last writes of the old Redis."""
    used = signed(claims())
    assert is_in(present(server, used))
    server.remember_since(0, run_id="another")
    assert is_asked_for_another(present(server, used))
    clock.set_offset(1)
    assert is_in(present(server, signed(claims())))


def test_a_redis_that_is_new_is_marked_before_anybody_relies_on_it(server: Server) -> None:
    before = signed(claims(iat=now() - 5))
    server.services.store.client.flushall()
    app = create_app(server.services.settings)
    opened.append(app.extensions["rolecall_auth"])
    fresh = Server(app, app.extensions["rolecall_auth"])
    assert app.test_client().get("/readyz").status_code == 200
    clock.set_offset(1)
    assert is_in(present(fresh, signed(claims()))), "the first new assertion is accepted"
    assert is_asked_for_another(present(fresh, before))


def test_a_redis_that_came_back_is_marked_by_who_connects_to_it(server: Server) -> None:
    """A restored copy has the marker of the old Redis; an assertion issued a moment later is accepted anyway."""
    before = signed(claims(iat=now() - 5))
    server.remember_since(0, run_id="another")
    server.services.store.client.connection_pool.disconnect()
    assert server.app.test_client().get("/readyz").status_code == 200
    clock.set_offset(1)
    assert is_in(present(server, signed(claims())))
    assert is_asked_for_another(present(server, before))


def test_what_does_not_say_when_it_was_made_may_be_as_old_as_can_be(server: Server) -> None:
    """`iat` is optional (RFC 7523 section 3): Retry-After gives the time until assertions without it are accepted."""
    lifetime = 60
    assert is_in(present(server, signed(claims(iat=None, exp=now() + lifetime))))
    server.remember_since(now())
    refused = present(server, signed(claims(iat=None, exp=now() + lifetime)))
    assert (refused.status_code, (refused.json or {})["error"]) == (503, "temporarily_unavailable")
    wait = int(refused.headers["Retry-After"])
    assert wait == MAX_AHEAD + LEEWAY - lifetime
    assert is_in(present(server, signed(claims(iat=None, nbf=now()))))
    clock.set_offset(wait - 2)
    assert present(server, signed(claims(iat=None, exp=now() + lifetime))).status_code == 503
    clock.set_offset(wait + 1)
    assert is_in(present(server, signed(claims(iat=None, exp=now() + lifetime))))


def test_a_clock_that_was_turned_back_shuts_nobody_out(server: Server) -> None:
    server.remember_since(now() + 3600)
    assert is_asked_for_another(present(server, signed(claims())))
    clock.set_offset(1)
    assert is_in(present(server, signed(claims())))


def test_a_redis_that_is_full_can_be_read_by_who_comes_new(server: Server) -> None:
    """`noeviction`: Redis accepts no writes, but the set of revoked tokens can still be read."""
    token = server.tokens()["access_token"]
    assert server.is_active(token)
    client = server.services.store.client
    client.config_set("maxmemory", 1)
    try:
        client.delete(server.services.replays.marker)
        client.connection_pool.disconnect()
        assert server.is_active(token)
        assert present(server, signed(claims())).status_code == 503, "a second use could not be detected"
    finally:
        client.config_set("maxmemory", 0)
