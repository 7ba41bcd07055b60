"""Missing messages of a flow, the versions that a page already has, and values that are hashes or keys."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import redis
from flask import Flask

from rolecall_lab import demo
from rolecall_lab.observer import app as observer
from rolecall_lab.observer.diagram import View
from rolecall_lab.observer.live import Live
from rolecall_lab.observer.picture import lay_out
from rolecall_lab.recording.flows import Flows
from rolecall_lab.recording.recorder import STREAM
from support.observer_app import load, parts, record, shown
from support.recorded_events import event, hash_of, mark, plain, plain_flow

MISSING = "Redis was emptied or full at this point; messages may be missing"


def calls(first: int, number: int) -> list[dict[str, Any]]:
    return [
        event(at, "client", "resource_server", "GET /invoices", handles=["access-a-0123"])
        for at in range(first, first + number)
    ]


def test_what_is_thrown_away_before_it_was_read_leaves_a_gap_there(app: Flask, live: Live, store: redis.Redis) -> None:
    """The observer was slower than the services; flows that begin later are not affected."""
    record(store, *plain_flow())
    live.tail.read()
    record(store, *calls(100, 5))
    store.xtrim(STREAM, maxlen=2, approximate=False)
    live.tail.read()
    record(store, *calls(200, 1), event(300, "browser", "client", "GET /callback", handles=["code-b-01234"]))
    live.tail.read()
    flows = {len(flow.events): flow for flow in live.flows.snapshot()}
    page = app.test_client().get(f"/flows/{flows[10].id}").text
    assert page.count(MISSING) >= 1
    rows = [*live.draw(flows[10], View()).picture.rows]
    [gap] = [place for place, row in enumerate(rows) if row.kind == "gap"]
    assert rows[gap + 1].number == 8, "the gap is before the next message"
    assert live.flows.losses(flows[1]) == []


def test_what_was_read_before_it_was_thrown_away_leaves_none(live: Live, store: redis.Redis) -> None:
    record(store, *plain_flow())
    live.tail.read()
    store.xtrim(STREAM, maxlen=1, approximate=False)
    record(store, *calls(100, 1))
    live.tail.read()
    live.tail.read()
    flow = live.flows.get(shown(live))
    assert flow is not None
    assert (len(flow.events), live.flows.losses(flow)) == (8, [])


def test_what_is_emptied_while_nothing_comes_is_said_once(live: Live, store: redis.Redis) -> None:
    record(store, *plain_flow())
    live.tail.read()
    store.delete(STREAM)
    for _ in range(3):
        live.tail.read()
    record(store, *calls(100, 1))
    live.tail.read()
    flow = live.flows.get(shown(live))
    assert flow is not None
    assert [loss.until for loss in live.flows.losses(flow)] == [calls(100, 1)[0]["id"]]


def test_a_loss_is_counted_once_though_a_long_exchange_is_written_late() -> None:
    """The ID of an event is the time when its exchange began; it is written when the exchange ends."""
    flows = Flows()
    short = event(50, "browser", "client", "GET /a", handles=["a-value-0123"])
    late = event(60, "browser", "client", "GET /b", handles=["a-value-0123"])
    last = event(70, "browser", "client", "GET /c", handles=["a-value-0123"])
    flows.add([short | {"dropped": 3}, late | {"dropped": 0}, last | {"dropped": 3}])
    flow = flows.get(flows.newest()[0].id)
    assert flow is not None
    assert [loss.number for loss in flows.losses(flow)] == [3]


def test_a_file_tells_its_own_gaps_and_none_of_this_observers(app: Flask, live: Live, store: redis.Redis) -> None:
    events = plain_flow()
    for each in events[4:]:
        each["dropped"] = 3
    for each in events:
        each["role"] = "client"
    record(store, *events)
    live.tail.read()
    browser = app.test_client()
    file = browser.get(f"/flows/{shown(live)}/export/json").data
    lost = "3 messages of the client could not be recorded"
    assert [loss["number"] for loss in json.loads(file)["losses"]] == [3]
    elsewhere = observer.create_app(live.lab)
    again = load(elsewhere.test_client(), file).headers["Location"]
    assert lost in elsewhere.test_client().get(again).text
    whole = json.loads(file) | {"losses": []}
    for each in whole["events"]:
        each["dropped"] = 0
    here = load(browser, json.dumps(whole).encode()).headers["Location"]
    assert lost not in browser.get(here).text, "a loss of this observer at the same time does not affect the file"


def test_the_terminal_tells_what_is_missing_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Losses before the beginning of the flow are not part of it."""
    events = plain_flow()
    for number, each in enumerate(events):
        each |= {"role": "client", "process": 7, "dropped": 8 if number > 3 else 5}
    demo.print_picture(demo.picture_of(events))
    said = capsys.readouterr().out
    assert re.findall("··· (.*)", said) == ["3 messages of the client could not be recorded"]
    assert said.index("···") < said.index("GET /invoices")


def test_a_page_that_another_process_drew_is_drawn_anew(app: Flask, live: Live, store: redis.Redis) -> None:
    """HTML section 9.2.4: after a restart of the observer, the same number may stand for a different picture."""
    record(store, *plain_flow()[:4])
    live.tail.read()
    name = shown(live)
    page = app.test_client().get(f"/flows/{name}").text
    [version] = re.findall(r'data-version="([^"]+)"', page)
    assert version == f"{live._process}-4"
    again = observer.create_app(live.lab)
    other: Live = again.extensions["observer"]
    record(store, *plain_flow("b"))
    other.tail.read()
    assert other.version_from(version) == -1
    assert live.version_from(version) == 4
    for odd in ("4", "", "-4", f"{live._process}-", f"{live._process}-x", f"{live._process}-{'1' * 400}"):
        assert live.version_from(odd) == -1
    stream = again.test_client().get(f"/flows/{name}/live", headers={"Last-Event-ID": version}).response
    assert parts(stream)["version"] == 4


def test_memory_is_bounded_by_the_size_of_what_was_recorded() -> None:
    flows = Flows(max_size=10_000)
    for number in range(100):
        made = event(number, "browser", "client", "GET /callback", handles=[f"code-{number}-0123"])
        flows.add([made], {made["id"]: 1000})
    assert flows.count() == (10, 10)
    assert flows.newest()[0].first == event(99, "browser", "client", "GET /")["at"], "the newest flows are kept"
    flows.add(calls(200, 1), {calls(200, 1)[0]["id"]: 9_999})
    assert flows.count() == (1, 1)


def id_token(**claims: Any) -> dict[str, Any]:
    return mark("an-id-token-0123", **claims)


def test_a_nonce_a_hash_and_a_proof_key_are_followed() -> None:
    """OpenID Connect Core sections 3.1.2.1 and 3.1.3.6, RFC 9449 sections 4.2 and 6.1."""
    events = plain_flow()
    key, half = plain("thumbprint-of-a-key"), {"value": "half-a-hash", "hash": hash_of("access-a-0123")}
    events[1]["query"] |= {"nonce": plain("nonce-a-0123")}
    events[3]["body"]["id_token"] = id_token(nonce=plain("nonce-a-0123"), at_hash=half)
    events[3]["body"]["access_token"]["unverified_claims"]["cnf"] = {"jkt": key}
    for number, each in enumerate(events[5:6]):
        proof = mark(f"proof-{number}-0123", nonce=plain("nonce-of-the-server"))
        each["request_headers"]["dpop"] = proof | {"jkt": key}
    # this event has the hash, but not the token
    sent = {"id_token_hint": id_token(at_hash=plain("half-a-hash"))}
    out = event(90, "browser", "authorization_server", "GET /sign-out", query=sent, handles=["access-a-0123"])
    found = {value.kind: value for value in lay_out([*events, out]).values}
    assert found.keys() == {"state", "pkce", "code", "access_token", "refresh_token", "id_token", "nonce", "jkt"}
    assert found["nonce"].seen_by.keys() == {"browser", "authorization_server", "client"}
    assert found["access_token"].shown.keys() >= {"access_token", "at_hash"}
    assert out["id"] in found["access_token"].places
    assert found["access_token"].leaked_to() == set(), "a hash is not the token"
    assert (found["jkt"].label, found["jkt"].seen_by.keys()) == (
        "proof key", {"client", "authorization_server", "resource_server"},
    )  # fmt: skip
