"""The recording of real exchanges between services, and the flows that their events form."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
import requests
from flask import jsonify, request

from rolecall import checks, clock, events
from rolecall.http import HttpClient
from rolecall.web.routes import Route
from rolecall_lab.recording import recorder
from rolecall_lab.recording.event import Exchange
from rolecall_lab.recording.flows import read_events, read_flows
from rolecall_lab.recording.marks import masked
from rolecall_lab.recording.recorder import STREAM
from rolecall_lab.recording.redaction import Redaction
from rolecall_lab.recording.rules import MAX_BODY
from rolecall_lab.settings import LabSettings
from rolecall_lab.wrap import MAX_CHECKS_HEADER, Lab
from support.recorded_events import describe
from support.small_services import ACCESS_TOKEN, CLAIMS, KEY, SECRETS, STATE, SmallServices, basic, flask_app, s256, toy

LONG = checks.define("test.long", "RFC 6749 section 4.1", "invalid_request", "Long.")


def raw(store: redis.Redis) -> str:
    """Return all events in Redis as text."""
    entries: Any = store.xrange(STREAM)
    return "\n".join(fields[b"event"].decode() for _, fields in entries)


@pytest.fixture
def recorded(small_services: SmallServices, store: redis.Redis) -> list[dict[str, Any]]:
    small_services.flow()
    written(small_services, store, 11)
    return read_events(store)


def written(small_services: SmallServices, store: redis.Redis, number: int) -> None:
    """Wait until Redis has this number of events; a server records an exchange after it has sent the response."""
    until = clock.monotonic() + 60
    while int(store.xlen(STREAM)) < number:
        assert clock.monotonic() < until, "some events were not recorded"
        small_services.written()
        threading.Event().wait(0.01)


def one(recorded: list[dict[str, Any]], path: str, direction: str = "received", **more: Any) -> dict[str, Any]:
    [found] = [
        event
        for event in recorded
        if event["path"] == path
        and event["direction"] == direction
        and all(event[name] == value for name, value in more.items())
    ]
    return found


WHOLE = {"code", "verifier", "refresh_token", "signature"}
"""The secrets that are recorded in full, because the observer shows how they are used."""


@pytest.mark.parametrize("name", sorted(SECRETS.keys() - WHOLE))
def test_what_is_never_recorded_is_not_in_the_stream(
    name: str, recorded: list[dict[str, Any]], store: redis.Redis
) -> None:
    assert len(recorded) == 11
    text = raw(store)
    assert SECRETS[name] not in text
    assert json.dumps(SECRETS[name])[1:-1] not in text
    assert basic("tally", SECRETS["client_secret"]).partition(" ")[2] not in text


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_left_in_what_is_masked(name: str, recorded: list[dict[str, Any]]) -> None:
    """RFC 9700 section 4.2."""
    text = json.dumps(masked(recorded))
    assert SECRETS[name] not in text
    assert "eyJhbG" in text, "the shortened values can still be followed"


def test_codes_and_tokens_are_whole_where_they_are_marked_and_nowhere_else(
    recorded: list[dict[str, Any]], store: redis.Redis
) -> None:
    for name in WHOLE:
        assert SECRETS[name] in raw(store)
    assert one(recorded, "/callback")["query"]["code"]["value"] == SECRETS["code"]
    assert one(recorded, "/token")["body"]["access_token"]["value"] == ACCESS_TOKEN
    assert "signature" not in one(recorded, "/introspect")["body"]["echo"]


def test_a_password_that_is_sent_as_a_token_is_not_recorded() -> None:
    redacting = Redaction(KEY)
    found = redacting.wipe(redacting.query("token=x"))
    assert found["token"]["value"] == "x"
    redacting = Redaction(KEY)
    text = json.dumps(
        redacting.wipe(redacting.query("token=the-pass-phrase&password=the-pass-phrase&code=a.the-pass-phrase"))
    )
    assert "the-pass" not in text


def test_a_very_long_token_is_followed_but_not_kept() -> None:
    marked = Redaction(KEY).mark("x" * 9000, keep_value=True)
    assert marked.keys() == {"shown", "hash"}


def test_cookies_are_named_and_only_our_own(recorded: list[dict[str, Any]], store: redis.Redis) -> None:
    event = one(recorded, "/sign-in", status=303)
    assert event["request_headers"]["cookie"] == ["auth"]
    assert event["response_headers"]["set-cookie"] == ["auth"]
    assert "old-session" not in raw(store)


def test_a_parameter_that_nobody_knows_is_hidden(recorded: list[dict[str, Any]]) -> None:
    form = one(recorded, "/sign-in")["form"]
    assert form == {
        "username": "alice",
        "password": {"hidden": True},
        "csrf_token": {"hidden": True},
        "also_unknown": {"hidden": True},
    }


def test_a_value_can_be_followed(recorded: list[dict[str, Any]]) -> None:
    """RFC 6749 section 4.1: the code goes from the authorization server through the browser to the token endpoint."""
    given = one(recorded, "/authorize", query={"interaction": redacted("interaction")})
    code = given["response_headers"]["location"]["parameters"]["code"]
    assert code == redacted("code") | {"value": SECRETS["code"]}
    assert one(recorded, "/callback")["query"]["code"] == code
    assert one(recorded, "/token")["form"]["code"] == one(recorded, "/token", "sent")["form"]["code"] == code
    state = {"value": STATE, "hash": Redaction(KEY).hash(STATE)}
    assert one(recorded, "/callback")["query"]["state"] == state


def redacted(name: str) -> dict[str, str]:
    return {"shown": SECRETS[name][:6] + "…", "hash": Redaction(KEY).hash(SECRETS[name])}


def test_an_access_token_shows_its_claims_and_no_signature(recorded: list[dict[str, Any]]) -> None:
    """RFC 9068 section 2."""
    token = one(recorded, "/invoices")["request_headers"]["authorization"]["token"]
    assert token["unverified_claims"] == CLAIMS
    assert token["unverified_header"] == {"alg": "ES256", "typ": "at+jwt"}
    assert token["hash"] == one(recorded, "/token")["body"]["access_token"]["hash"]
    assert token["hash"] == one(recorded, "/introspect")["form"]["token"]["hash"]


def test_a_secret_is_wiped_where_nobody_expects_it(recorded: list[dict[str, Any]]) -> None:
    assert one(recorded, "/introspect")["body"]["echo"] == "eyJhbG…"


def test_client_credentials_tell_whose_they_are(recorded: list[dict[str, Any]]) -> None:
    """RFC 6749 section 2.3.1."""
    header = one(recorded, "/token")["request_headers"]["authorization"]
    assert header == {"scheme": "Basic", "client_id": "tally"}


def test_checks_and_changes_are_in_the_event(recorded: list[dict[str, Any]]) -> None:
    [check] = one(recorded, "/token")["checks"]
    challenge = s256(SECRETS["verifier"])
    assert check == {
        "name": "test.code_verifier",
        "passed": True,
        "expected": {"shown": challenge[:6] + "…", "hash": Redaction(KEY).hash(challenge)},
        "actual": redacted("verifier"),
        "clause": "RFC 7636 section 4.6",
        "description": "Wrong verifier.",
        "after": 0,
    }
    assert one(recorded, "/sign-in")["changes"] == [
        {"store": "redis", "key": "auth:session:4f1a…", "change": "set", "seconds": 60}
    ]


def test_who_spoke_to_whom(recorded: list[dict[str, Any]]) -> None:
    """RFC 6749 section 1.2."""
    ends = {
        (each["path"], each["direction"]): (each["from"], each["to"], each["channel"], each["role"])
        for each in recorded
    }
    browser, client, server, api = "browser", "client", "authorization_server", "resource_server"
    assert ends["/authorize", "received"] == (browser, server, "front", server)
    assert ends["/callback", "received"] == (browser, client, "front", client)
    assert ends["/token", "sent"] == (client, server, "back", client)
    assert ends["/token", "received"] == (client, server, "back", server)
    assert ends["/introspect", "received"] == (api, server, "back", server)
    assert ends["/invoices", "received"] == (client, api, "back", api)


def test_one_flow_and_a_second_one_apart(
    recorded: list[dict[str, Any]], small_services: SmallServices, store: redis.Redis
) -> None:
    url = small_services.urls["authorization_server"] + "/nothing-here?state=another-state-1&client_id=other"
    requests.get(url, allow_redirects=False, timeout=60)
    written(small_services, store, 12)
    newer, older = read_flows(store)
    assert (older.client_id, older.messages) == ("tally", 8), "both ends of a message count as one"
    assert older.roles == ("authorization_server", "browser", "client", "resource_server")
    assert older.first <= older.last
    assert (newer.client_id, newer.messages) == (None, 1), "no service knows this client"
    assert {event["id"] for event in read_events(store, flow=older.id)} == {event["id"] for event in recorded}
    assert len(read_events(store, limit=3)) == 3


def test_events_are_in_the_order_in_which_exchanges_began(recorded: list[dict[str, Any]]) -> None:
    order = [(event["path"], event["direction"]) for event in recorded]
    assert order.index(("/callback", "received")) < order.index(("/token", "sent"))
    assert order.index(("/token", "sent")) < order.index(("/token", "received"))
    assert order.index(("/token", "received")) < order.index(("/invoices", "sent"))


def test_a_turned_clock_changes_the_time_and_not_the_order(settings: Callable[..., LabSettings]) -> None:
    clock.set_offset(86400)
    later = describe(Exchange("received", "GET", "/", {}, 1.0), settings())
    clock.set_offset(0)
    last = describe(Exchange("received", "GET", "/", {}, 1.0), settings())
    assert later["at"] > last["at"] + 80000
    assert later["id"] < last["id"]


def test_a_dead_receiver_is_visible(in_lab: Callable[..., Lab], store: redis.Redis) -> None:
    def view() -> Any:
        with pytest.raises(Exception, match="is unavailable"):
            HttpClient(connect=0.2).send("GET", "http://127.0.0.1:9/invoices")
        return jsonify(ok=True)

    app = flask_app("client", Route("x", "/x", ("GET",), view, "page", "test"))
    lab = in_lab(app, "client", resource_url="http://127.0.0.1:9")
    assert app.test_client().get("/x").json == {"ok": True}
    lab.recorder.flush()
    sent = one(read_events(store), "/invoices", "sent")
    assert sent["shadowed"] is False
    assert (sent["status"], sent["failure"]) == (None, "the connection failed")
    assert (sent["to"], sent["host"]) == ("resource_server", "127.0.0.1:9")


def test_what_the_receiver_recorded_too_is_shadowed(recorded: list[dict[str, Any]]) -> None:
    sent = [event for event in recorded if event["direction"] == "sent"]
    assert [event["path"] for event in sent] == ["/token", "/invoices", "/introspect"]
    assert all(event["shadowed"] for event in sent)


def test_the_sender_knows_best_who_it_was(settings: Callable[..., LabSettings], store: redis.Redis) -> None:
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    trace = "a" * 32
    url = "http://localhost:8001/introspect"
    sent = describe(Exchange("sent", "POST", url, headers, 2), settings("client"))
    received = describe(Exchange("received", "POST", "/introspect", headers, 1, trace=trace), settings())
    assert received["from"] == "resource_server"
    for event in (sent, received):
        store.xadd(STREAM, {"event": json.dumps({**event, "process": 1, "dropped": 0})})
    assert {event["from"] for event in read_events(store)} == {"client"}


def test_a_secret_within_a_secret_leaves_nothing_of_the_longer_one() -> None:
    for _ in range(20):
        redaction = Redaction(KEY)
        longer = "outer-begin-" + SECRETS["code"] + "-outer-end"
        for secret in (SECRETS["code"], longer, SECRETS["code"][4:]):
            redaction.mark(secret)
        assert redaction.wipe(f"x {longer} y") == "x outer-… y"


def test_a_stranger_is_recorded_as_well(in_lab: Callable[..., Lab], store: redis.Redis) -> None:
    app = toy(access_token=ACCESS_TOKEN)
    lab = in_lab(app)
    form = {"grant_type": "authorization_code", "code": SECRETS["code"], "client_secret": "short-but-secret"}
    app.test_client().post("/token", data=form, headers={"User-Agent": "curl/8"})
    lab.recorder.flush()
    [event] = read_events(store)
    assert (event["from"], event["channel"], event["span"]) == ("client", "back", None)
    assert event["form"] == {
        "grant_type": "authorization_code",
        "code": redacted("code") | {"value": SECRETS["code"]},
        "client_secret": {"hidden": True},
    }
    assert Redaction(KEY).hash(ACCESS_TOKEN) in event["handles"]


def test_without_redis_a_request_is_answered_and_loss_is_counted(in_lab: Callable[..., Lab], own_redis: Any) -> None:
    app = toy(ok=True)
    lab = in_lab(app)
    browser = app.test_client()
    browser.get("/token?state=first-state")
    assert lab.recorder.flush()
    own_redis.stop()
    for _ in range(3):
        assert browser.get("/token?state=lost-state").json == {"ok": True}
        assert lab.recorder.flush(10)
    own_redis.start()
    assert browser.get("/token?state=last-state").json == {"ok": True}
    assert lab.recorder.flush(10)
    with redis.Redis.from_url(own_redis.url) as client:
        [event] = read_events(client)
    assert event["query"]["state"]["value"] == "last-state"
    assert event["dropped"] == 3


def test_a_full_queue_drops_and_counts(
    in_lab: Callable[..., Lab], store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = toy(ok=True)
    lab = in_lab(app)
    browser = app.test_client()
    browser.get("/token")
    lab.recorder.flush()
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "MAX_WAITING", 0)
        assert browser.get("/token").json == {"ok": True}
    browser.get("/token")
    lab.recorder.flush()
    assert [event["dropped"] for event in read_events(store)] == [0, 1]


def test_an_event_that_cannot_be_made_ends_nothing(
    in_lab: Callable[..., Lab], store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = toy(ok=True)
    lab = in_lab(app)
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "encode", lambda *_args, **_named: 1 / 0)
        assert app.test_client().get("/token").json == {"ok": True}
        lab.recorder.flush()
    app.test_client().get("/token")
    lab.recorder.flush()
    assert [event["dropped"] for event in read_events(store)] == [1]


def test_health_and_style_sheets_are_not_recorded(in_lab: Callable[..., Lab], store: redis.Redis) -> None:
    app = toy()
    lab = in_lab(app)
    browser = app.test_client()
    for path in ("/healthz", "/readyz", "/static/rolecall/icon.svg", "/_lab/clock"):
        browser.get(path).close()
    lab.recorder.flush()
    assert store.xlen(STREAM) == 0


def test_unwrapped_nothing_happens(store: redis.Redis) -> None:
    route = Route("token", "/token", ("GET",), lambda: events.note("check", name="x") or jsonify(), "api", "test")
    app = flask_app("resource", route)
    answer = app.test_client().get("/token", headers={"Rolecall-Validator": "jwt"})
    assert answer.status_code == 200
    assert "Rolecall-Checks" not in answer.headers
    assert app.test_client().get("/_lab/clock").status_code == 404
    assert store.dbsize() == 0


def test_the_resource_server_tells_what_it_did(small_services: SmallServices, recorded: list[dict[str, Any]]) -> None:
    headers = {"Authorization": f"Bearer {ACCESS_TOKEN}", "Rolecall-Validator": "introspection"}
    answer = requests.get(small_services.urls["resource_server"] + "/invoices", headers=headers, timeout=60)
    assert answer.json()["validator"] == "introspection"
    report = json.loads(answer.headers["rolecall-checks"])
    assert report["validator"] == "introspection"
    [call] = report["calls"]
    assert (call["method"], call["status"]) == ("POST", 200)
    assert call["url"] == small_services.urls["authorization_server"] + "/introspect"
    assert report["checks"] == [
        {
            "name": "test.code_verifier",
            "passed": True,
            "expected": "a token",
            "actual": "eyJhbG…",
            "clause": "RFC 7636 section 4.6",
        }
    ]
    assert SECRETS["signature"] not in answer.headers["rolecall-checks"]


@pytest.mark.parametrize(
    ("role", "asked", "seen"),
    [
        ("resource_server", "jwt", "jwt"),
        ("resource_server", "none", None),
        ("authorization_server", "jwt", None),
    ],
)
def test_only_the_resource_server_lets_a_validator_be_chosen(
    role: str, asked: str, seen: str | None, in_lab: Callable[..., Lab]
) -> None:
    def view() -> Any:
        return jsonify(seen=request.environ.get("rolecall.validator"))

    app = flask_app("x", Route("x", "/x", ("GET",), view, "api", "test"))
    in_lab(app, role)
    answer = app.test_client().get("/x", headers={"Rolecall-Validator": asked})
    assert answer.json == {"seen": seen}
    assert ("Rolecall-Checks" in answer.headers) == (role == "resource_server")


@pytest.mark.parametrize("number", [1, 20, 500])
def test_the_checks_header_stays_short_and_ascii(number: int, in_lab: Callable[..., Lab]) -> None:
    def view() -> Any:
        for _ in range(number):
            LONG.note(True, expected="é…" * 150, actual=["x" * 300, None, float("nan")])
        return jsonify()

    app = flask_app("x", Route("x", "/x", ("GET",), view, "api", "test"))
    in_lab(app, "resource_server")
    text = app.test_client().get("/x").headers["Rolecall-Checks"]
    assert text.isascii()
    assert len(text) <= MAX_CHECKS_HEADER
    found = json.loads(text)["checks"]
    assert found[0]["name"] == "test.long"
    assert ("expected" in found[0]) == (number == 1)


def test_a_body_that_is_too_long_is_left_out(
    settings: Callable[..., LabSettings], in_lab: Callable[..., Lab], store: redis.Redis
) -> None:
    for size, kept in ((MAX_BODY - 20, True), (MAX_BODY, False)):
        app = toy(text="x" * size)
        lab = in_lab(app)
        assert len(app.test_client().get("/token").json["text"]) == size
        lab.recorder.flush()
        assert (read_events(store)[-1]["body"] is not None) == kept
