"""Anonymous callers cannot fill Redis, and a Redis that is nearly full keeps working for everyone else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import REGISTRY

from rolecall import storage
from rolecall.limits import RESERVE, Limit, limit
from rolecall_auth import limits as auth_limits
from rolecall_client import limits as client_limits
from support.auth_server import TALLY, Server, authorize_url, csrf_token, make_server, make_settings, query
from support.servers import RedisServer
from support.tally import METADATA, Tally, make_tally

PRODUCTION = 200
"""MB: `maxmemory` in `compose.production.yml`, which the default limits suit."""

SMALL = 16
"""MB: the memory of the tests' Redis; the limits are scaled accordingly."""

LONG = {"state": "s" * 2000, "nonce": "n" * 1000}
"""Parameters that make a request almost as long as the maximum."""

TOO_LONG = {**LONG, "claims": json.dumps({"userinfo": {"\N{GRINNING FACE}" * 3950: None}}, ensure_ascii=False)}


@dataclass
class Services:
    """Both services that use Redis, with a Redis of 16 MB, and the limits of production scaled to its size."""

    server: Server
    tally: Tally
    redis: redis.Redis

    def used(self) -> float:
        return self.server.services.memory.part()

    def authorize(self, address: str, *, method: str = "POST", **changes: str) -> int:
        """Send an authorization request without a cookie; return its status, or 400 if the client got an error."""
        form, where = query(authorize_url(**changes)), {"REMOTE_ADDR": address}
        client = self.server.app.test_client()
        if method == "POST":
            response = client.post("/authorize", data=form, environ_base=where)
        else:
            response = client.get("/authorize", query_string=form, environ_base=where)
        return 400 if "error=" in response.headers.get("Location", "") else response.status_code


@pytest.fixture
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Services]:
    megabytes = getattr(request, "param", SMALL)
    scale = megabytes / PRODUCTION
    with tempfile.TemporaryDirectory(prefix="rolecall-") as folder:
        own = RedisServer(Path(folder), maxmemory=f"{megabytes}mb")
        own.start()
        try:
            server = make_server(make_settings(tmp_path, own.url, **_scaled(auth_limits.LIMITS, scale)))
            tally = make_tally(own.url).again(log_level="WARNING", **_scaled(client_limits.LIMITS, scale))
            client = redis.Redis.from_url(own.url)
            yield Services(server, tally, client)
            client.close()
            tally.services.store.client.close()
        finally:
            own.stop()


def _scaled(rows: Iterable[Limit], scale: float) -> dict[str, Any]:
    rates = {row: limit(row.default) for row in rows if row.unit == "bytes"}
    return {row.setting: type(rate)(int(rate.amount * scale), rate.multiples) for row, rate in rates.items()}


class People:
    """Earlier users: a person who is signed in to both services, a client, and the API."""

    def __init__(self, both: Services) -> None:
        self.server = both.server
        self.browser = both.server.browser()
        self.browser.sign_in()
        self.tokens = self._new_tokens(scope="invoices:read")
        self.at_tally = both.tally.browser()
        self.at_tally.connect()

    def go_on(self) -> None:
        """Sign in, authorize, refresh, introspect, and revoke."""
        someone = self.server.browser()
        assert someone.sign_in("bob").status_code == 303
        assert "/consent" in self.browser.request(prompt="consent").location
        revoked = self._new_tokens(scope="invoices:read")
        assert self.server.is_active(revoked["access_token"])
        assert self.server.post("/revoke", TALLY, token=revoked["access_token"]).status_code == 200
        assert not self.server.is_active(revoked["access_token"])
        refreshed = self.server.refresh(self.tokens["refresh_token"])
        assert refreshed.status_code == 200, refreshed.text
        self.tokens = dict(refreshed.json or {})
        assert self.server.is_active(self.tokens["access_token"])
        assert self.at_tally.press("/refresh", "/invoices").status_code == 303
        assert self.at_tally.client.get("/invoices").status_code == 200
        assert self.at_tally.press("/connect").status_code == 303

    def _new_tokens(self, **changes: str) -> dict[str, Any]:
        return dict(self.server.redeem(self.browser.authorize(**changes)["code"]).json or {})


def connections(both: Services) -> Callable[[str], int]:
    """Return a function that starts a connection at Tally from an address, with one cookie and one form token."""
    client = both.tally.app.test_client()
    form = {"csrf_token": csrf_token(client.get("/"))}
    return lambda address: client.post("/connect", data=form, environ_base={"REMOTE_ADDR": address}).status_code


def test_one_address_cannot_fill_redis(both: Services) -> None:
    people, connect = People(both), connections(both)
    assert {both.authorize("192.0.2.1", **TOO_LONG) for _ in range(10)} == {400}
    statuses = [both.authorize("192.0.2.1", method="GET" if n % 8 == 0 else "POST", **LONG) for n in range(80)]
    assert {*statuses} == {303, 429}
    assert {*statuses[75:]} == {429}
    assert {connect("192.0.2.1") for _ in range(30)} == {303}
    assert both.used() < 0.2
    elsewhere = both.server.app.test_client()
    page = elsewhere.get(authorize_url(prompt="login"), environ_base={"REMOTE_ADDR": "192.0.2.2"})
    assert page.status_code == 303
    form = {"csrf_token": csrf_token(elsewhere.get(page.location)), "username": "bob", "password": "builder-lab"}
    assert "interaction=" in elsewhere.post(page.location, data=form).location
    assert connect("192.0.2.2") == 303
    people.go_on()


@pytest.mark.long
@pytest.mark.parametrize("both", [SMALL, PRODUCTION], indirect=True, ids=lambda megabytes: f"{megabytes} MB")
def test_many_addresses_cannot_fill_redis(both: Services, request: pytest.FixtureRequest) -> None:
    """Send requests as fast as the services respond, until both reach the limit of all anonymous callers together."""
    scale = request.node.callspec.params["both"] / SMALL
    people, connect = People(both), connections(both)
    assert {both.authorize("192.0.2.1", **TOO_LONG) for _ in range(200)} == {400}
    assert {connect("192.0.2.1") for _ in range(int(330 * scale))} == {303, 429}
    found: dict[str, set[int]] = {"authorize": set(), "connect": set()}
    for number in range(int(1500 * scale)):
        address = f"10.{number // 62500}.{number // 250 % 250}.{number % 250}"
        found["connect"].add(connect(address))
        if number < 800 * scale:
            found["authorize"].add(both.authorize(address, **LONG))
        if number % int(300 * scale) == 0:
            people.go_on()
            assert both.used() < 1 - RESERVE
    assert found == {"authorize": {303, 503}, "connect": {303, 503}}
    people.go_on()


def test_the_reserve_is_for_those_who_are_signed_in(both: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MEMORY_AGE", 0.0)
    people, connect = People(both), connections(both)
    fill(both, 0.9)
    assert both.authorize("192.0.2.1") == 503
    assert both.authorize("192.0.2.1", method="GET") == 503
    assert connect("192.0.2.1") == 503
    people.go_on()
    assert both.server.app.test_client().get("/readyz").status_code == 200


def fill(both: Services, part: float) -> None:
    """Store arbitrary data until this part of Redis is full."""
    number = 0
    while both.used() < part:
        both.redis.set(f"test:{number}", b"x" * 50_000)
        number += 1


def test_a_full_redis_is_not_ready(both: Services, caplog: pytest.LogCaptureFixture) -> None:
    applications = {"auth-service": both.server.app, "client-webapp": both.tally.app}
    for app in applications.values():
        assert app.test_client().get("/readyz").json["redis_memory"] is True
    fill(both, 0.97)
    for service, app in applications.items():
        response = app.test_client().get("/readyz")
        assert (response.status_code, response.json["redis_memory"]) == (503, False)
        assert response.json["redis"] is True
        checked = app.test_cli_runner().invoke(args=["check"])
        assert checked.exit_code == 1
        assert "Redis is full: it uses 97% of its maxmemory. Raise maxmemory" in checked.output + checked.stderr
        assert (REGISTRY.get_sample_value("rolecall_redis_memory_used_ratio", {"service": service}) or 0) > 0.95
    assert "Redis is full" in " ".join(str(vars(record).get("detail")) for record in caplog.records)


def test_a_redis_without_a_maximum_is_never_full(server: Server) -> None:
    assert server.services.memory.part() == 0.0
    server.services.memory.require_room()


def test_a_request_that_is_too_long_is_refused_and_not_stored(server: Server) -> None:
    """RFC 6749 section 4.1.2.1. Sizes are in bytes of UTF-8, not in characters."""
    for face, accepted in (("\N{GRINNING FACE}" * 800, True), ("\N{GRINNING FACE}" * 1000, False), ("x" * 1000, True)):
        claims = json.dumps({"userinfo": {face: None}}, ensure_ascii=False)
        before = len(server.redis_keys("interaction:*"))
        form = query(authorize_url(claims=claims))
        client = server.app.test_client()
        for response in (client.post("/authorize", data=form), client.get("/authorize", query_string=form)):
            parameters = query(response.location)
            assert ("interaction" in parameters) == accepted
            assert parameters.get("error") == (None if accepted else "invalid_request")
            assert parameters.get("state") == (None if accepted else "st4te")
        assert len(server.redis_keys("interaction:*")) - before == (2 if accepted else 0)
    client = server.services.store.client
    assert max(client.memory_usage(key) for key in server.redis_keys("interaction:*")) < 6000


def test_a_signed_in_person_does_not_use_up_the_share_of_the_others(tmp_path: Path, redis_url: str) -> None:
    server = make_server(make_settings(tmp_path, redis_url, anonymous_bytes_limit=limit("2000/hour")))
    person, stranger = server.browser(), server.browser()
    person.sign_in()
    for _ in range(4):
        assert "/consent" in person.request().location
    statuses = [stranger.client.get(authorize_url()).status_code for _ in range(4)]
    assert statuses == [303, 303, 503, 503]
    refused = stranger.client.get(authorize_url())
    assert "Too many people are signing in" in refused.text
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert "/consent" in person.request().location
    assert (
        "/consent" in person.client.get(person.client.post("/authorize", data=query(authorize_url())).location).location
    )


def test_tally_counts_bytes_by_address_and_in_total(tally: Tally) -> None:
    limited = tally.again(flow_bytes_limit=limit("3000/hour"), anonymous_bytes_limit=limit("5000/hour"))
    connected = limited.browser()
    connected.connect()
    client = limited.app.test_client()
    form = {"csrf_token": csrf_token(client.get("/"))}

    def press(address: str, path: str = "/connect") -> Any:
        return client.post(path, data=form, environ_base={"REMOTE_ADDR": address})

    assert [press("192.0.2.1").status_code for _ in range(3)] == [303, 303, 429]
    refused = press("192.0.2.1", "/sign-in")
    assert refused.status_code == 429
    assert "have been started from this address" in refused.text
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert [press("192.0.2.2").status_code for _ in range(2)] == [303, 503]
    assert "Too many people are connecting" in press("192.0.2.3").text
    assert connected.press("/connect").status_code == 303


def test_tally_stores_no_long_response(tally: Tally) -> None:
    state = tally.browser().begin()["state"]
    client = tally.app.test_client()
    assert client.post("/callback", data={"state": state, "code": "\N{GRINNING FACE}" * 1500}).status_code == 400
    assert not tally.services.store.client.keys("client:posted:*")
    assert client.post("/callback", data={"state": state, "code": "c" * 1500}).status_code == 303


def test_a_refused_session_redeems_no_code(tally: Tally) -> None:
    limited = tally.again(session_limit=limit("1/hour"))
    limited.browser().connect()
    browser = limited.browser()
    response = browser.come_back(code="c0de", state=browser.begin()["state"], iss=METADATA["issuer"])
    assert response.status_code == 429
    assert len(tally.http.to(METADATA["token_endpoint"])) == 1


def test_values_of_other_servers_are_stored_as_they_are(redis_url: str) -> None:
    """A lone surrogate is valid in JSON (RFC 8259 section 8.2), and has no encoding in UTF-8."""
    store = storage.Store(storage.connect(redis_url), "test", keep=60)
    store.put("kind", "name", {"text": "\N{GRINNING FACE}\ud800é"}, 60)
    assert (store.get("kind", "name") or {})["text"] == "\N{GRINNING FACE}\ud800é"
    assert "\N{GRINNING FACE}".encode() in store.client.get(store.key("kind", "name"))
    store.client.close()
