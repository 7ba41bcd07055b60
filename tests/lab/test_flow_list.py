"""The list of flows: names, people, clients, outcomes, filters, pages, and its stream of changes."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Flask

from rolecall_lab.observer import flow_list
from rolecall_lab.observer.flow_list import MAX_CHANGES, PAGE, Filter
from rolecall_lab.observer.live import MAX_VIEWERS, Live
from rolecall_lab.observer.outcome import OPEN_SECONDS
from support.observer_app import parts, record
from support.recorded_events import BEGAN, check, event, mark, plain, plain_flow

AUTHORIZE = {"response_type": "code", "client_id": "ledger-1", "scope": "openid", "state": plain("state-ledger-1")}
CODE, TOKEN = "code-ledger-0123", "token-ledger-0123"


def listed(app: Flask, query: str = "") -> list[str]:
    """The text of each row of the list: flow, person, client, outcome, messages, and time."""
    page = app.test_client().get(f"/{query}").text
    rows = re.findall(r"<tr id=.*?</tr>", page, re.DOTALL)
    return [re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", row))).strip() for row in rows]


def ids(app: Flask, query: str = "") -> list[str]:
    return re.findall(r'<tr id="flow-([0-9a-f]+)"', app.test_client().get(f"/{query}").text)


def moved(events: list[dict[str, Any]], milliseconds: float) -> list[dict[str, Any]]:
    """Return the same events at a later time."""
    return [
        each
        | {"at": each["at"] + milliseconds / 1000}
        | {"id": f"{int(each['id'][:16], 16) + int(milliseconds * 1000):016x}{each['id'][16:]}"}
        for each in events
    ]


def replayed() -> list[dict[str, Any]]:
    """A flow of the catalog in which the code is redeemed a second time."""
    events = plain_flow("replayed")[:4]
    events[0] |= {"path": "/flows/replayed_code/start"}
    token = event(
        60, "client", "authorization_server", "POST /token", 400, trace=events[3]["trace"],
        form=events[3]["form"], body={"error": "invalid_grant"},
        checks=[check("token.code_once", False) | {"description": "The code was already used. It has ended."}],
    )  # fmt: skip
    return moved([*events, token], 1000)


def denied() -> list[dict[str, Any]]:
    """A flow in which alice signs in after a mistyped password, and denies access."""
    start, ask, back, *_ = plain_flow("denied")
    ask["response_headers"]["location"]["parameters"] = {"error": "access_denied"}
    ask |= {"checks": [check("engine.access_denied", False)], "form": {"username": "alice", "decision": "deny"}}
    wrong = event(
        5, "browser", "authorization_server", "POST /sign-in", 403, form={"username": "alise"}, handles=["i-0123"]
    )
    return moved(
        [
            start,
            wrong | {"chosen": start["chosen"], "handles": start["handles"]},
            ask,
            back | {"query": {"error": "access_denied"}, "status": 403},
        ],
        2000,
    )


def foreign() -> list[dict[str, Any]]:
    """The flow of a client outside the lab, whose own requests and pages are not recorded."""
    to = {"location": {"url": "http://ledger.test/cb", "parameters": {"code": mark(CODE)}}}
    form = {"grant_type": "authorization_code", "code": mark(CODE), "client_id": "ledger-1"}
    owner = check("authorize.owner") | {"actual": "bob"}
    return moved(
        [
            event(0, "browser", "authorization_server", "GET /authorize", 303, query=AUTHORIZE, response_headers=to,
                  handles=[CODE], checks=[owner]),
            event(9, "client", "authorization_server", "POST /token", form=form, handles=[CODE, TOKEN],
                  body={"access_token": mark(TOKEN, sub="pws_1", client_id="ledger-1")}),
            event(20, "client", "resource_server", "GET /invoices", handles=[TOKEN]),
        ],
        3000,
    )  # fmt: skip


def registration() -> list[dict[str, Any]]:
    body = {"client_id": "ledger-1", "client_name": "Ledger"}
    return moved([event(1, "client", "authorization_server", "POST /register", 201, body=body)], 4000)


def show(live: Live, store: redis.Redis, *flows: list[dict[str, Any]]) -> None:
    record(store, *(each for flow in flows for each in flow))
    live.tail.read()


def test_each_flow_has_its_name_person_client_outcome_and_time(app: Flask, live: Live, store: redis.Redis) -> None:
    show(live, store, plain_flow(), replayed(), denied(), foreign(), registration())
    setup, other, no, again, connect = listed(app)
    assert connect.startswith("Connect Tally Authorization code with PKCE")
    assert re.search(r"Tally ✓ Completed 7 messages \d\d:\d\d:\d\d$", connect)
    assert re.match(r"Replayed code .* Tally ✕ Refused: the code was already used as expected token\.code_once", again)
    assert re.match(r"Connect Tally .* alice Tally ✕ Denied: the owner denied access engine\.access_denied", no)
    assert re.match(r"OpenID Connect code flow bob Ledger ✓ Completed 3 messages", other), "known by its registration"
    assert re.match(r"Client registration setup – unknown user Ledger ✓ Completed 1 message ", setup)
    page = app.test_client().get("/").text
    assert page.count('class="setup"') == 1


def test_a_person_is_known_by_the_subject_of_an_earlier_flow(app: Flask, live: Live, store: redis.Redis) -> None:
    refresh = event(
        90_000, "client", "authorization_server", "POST /token", handles=["other-token-0123"],
        form={"grant_type": "refresh_token", "client_id": "ledger-1"},
        body={"access_token": mark("other-token-0123", sub="pws_1", client_id="ledger-1")},
    )  # fmt: skip
    show(live, store, [refresh])
    [row] = listed(app)
    assert row.startswith("Token refresh – unknown user ledger-1")
    show(live, store, foreign(), registration())
    assert listed(app)[0].startswith("Token refresh bob Ledger"), "names that are learned later appear as well"
    machine = event(
        91_000, "client", "authorization_server", "POST /token", handles=["third-token-0123"],
        form={"grant_type": "client_credentials", "client_id": "r-1"},
        body={"access_token": mark("third-token-0123", sub="r-1", client_id="r-1")},
    )  # fmt: skip
    show(live, store, [machine])
    assert listed(app)[0].startswith("Client credentials grant – unknown user r-1")


def test_a_flow_is_in_progress_until_it_is_abandoned(
    app: Flask, live: Live, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_list.clock, "now", lambda: BEGAN + 60)
    connect = plain_flow()
    connect[0]["response_headers"]["location"]["parameters"] |= {"response_type": "code"}
    show(live, store, connect[:1])
    assert "… In progress" in listed(app)[0]
    version = live.flow_list.version
    monkeypatch.setattr(flow_list.clock, "now", lambda: BEGAN + OPEN_SECONDS + 1)
    assert live.flow_list.wait(version, 0), "viewers get the row although no message came"
    assert "… Not finished" in listed(app)[0]
    show(live, store, connect[1:])
    assert "✓ Completed" in listed(app)[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": None, "failure": "timeout"}, "✕ Failed: no response from the API"),
        ({"status": 502}, "✕ Failed: status 502 from the API"),
        ({"status": 403}, "✕ Refused: status 403"),
        ({"status": 400, "body": {"error": "invalid_scope"}}, "✕ Refused: invalid_scope"),
        ({"checks": [check("token.active", False) | {"description": "PKCE is required."}]}, "✕ Refused: PKCE is"),
    ],
)
def test_a_flow_that_did_not_complete_says_why(
    app: Flask, live: Live, store: redis.Redis, change: dict[str, Any], expected: str
) -> None:
    events = plain_flow()
    events[5] |= change
    show(live, store, events)
    assert expected in listed(app)[0]
    flow = ids(app)[0]
    assert expected.partition(" ")[2].partition(":")[0] in app.test_client().get(f"/flows/{flow}").text


def test_the_list_is_filtered_by_client_outcome_and_endpoint(app: Flask, live: Live, store: redis.Redis) -> None:
    show(live, store, plain_flow(), replayed(), denied(), foreign(), registration())
    assert len(listed(app, "?client=Tally")) == 3
    assert len(listed(app, "?client=Tally&outcome=completed")) == 1
    assert [row.partition(" –")[0] for row in listed(app, "?endpoint=/register")] == ["Client registration setup"]
    assert len(listed(app, "?outcome=refused&endpoint=/token")) == 1
    page = app.test_client().get("/?client=Tally&outcome=failed").text
    assert "No flow matches these filters." in page
    assert '<a class="button quiet" href="/">Clear filters</a>' in page
    for words in (
        '<option value="Tally" selected>',
        '<option value="failed" selected>',
        'data-live="/live?client=Tally',
    ):
        assert words in page
    assert "<script>" not in app.test_client().get("/?client=<script>&endpoint=<script>&page=x&outcome=<script>").text


def many(number: int) -> Iterator[dict[str, Any]]:
    for each in range(number):
        _, ask, _, redeem, _, _, _ = plain_flow(f"flow-{each:04}")
        yield from moved([ask, redeem], each * 100)


def test_five_hundred_flows_have_pages(app: Flask, live: Live, store: redis.Redis) -> None:
    live.flows.add(many(500))
    first, last = ids(app), ids(app, "?page=5")
    assert len(first) == len(last) == PAGE
    assert first[0] == live.flow_list.rows()[0].id
    assert len({name for page in range(1, 7) for name in ids(app, f"?page={page}")}) == 500
    page = app.test_client().get("/").text
    assert f"the newest {PAGE} of 500 flows" in page
    assert 'href="/?page=2"' in page
    assert "There are no older flows." in app.test_client().get("/?page=6").text


def test_a_change_is_computed_once_for_all_viewers(app: Flask, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    live.flows.add(many(500))
    live.flow_list.refresh()
    computed: list[str] = []
    row = flow_list._row
    monkeypatch.setattr(flow_list, "_row", lambda flow, *more: computed.append(flow.id) or row(flow, *more))
    version = live.flow_list.version
    live.flows.add(plain_flow())
    for _ in range(200):
        assert live.flow_list.wait(version, 0)
        _, changes = live.flow_list.changes(Filter(), version)
        assert len(changes["rows"]) == 1
    assert len(computed) == 1
    live.flows.add([event(9, "browser", "client", "GET /")])
    assert not live.flow_list.wait(live.flow_list.version, 0), "an unlisted page view does not wake viewers"


def test_the_changes_kept_for_viewers_are_bounded(monkeypatch: pytest.MonkeyPatch, app: Flask) -> None:
    monkeypatch.setattr(flow_list, "MAX_CHANGES", 10)
    made: Live = app.extensions["observer"]
    made.flows.add(many(50))
    made.flow_list.refresh()
    assert len(made.flow_list._changes) == 10
    assert made.flow_list.changes(Filter(), 0)[1]["all"]
    assert MAX_CHANGES >= PAGE


def test_rows_appear_and_change_without_a_reload(app: Flask, live: Live, store: redis.Redis) -> None:
    browser = app.test_client()
    show(live, store, plain_flow()[:1])
    version = re.search(r'data-version="([^"]+)"', browser.get("/").text)
    assert version is not None
    everything = browser.get(f"/live?version={version[1]}").response
    refused = browser.get(f"/live?version={version[1]}&outcome=refused").response
    show(live, store, replayed())
    for stream in (everything, refused):
        change = parts(stream)
        assert [row["id"] for row in change["rows"]] == ids(app, "?outcome=refused")
        assert "Refused:" in change["rows"][0]["html"]
    show(live, store, plain_flow()[1:])
    change = parts(everything)
    assert "Completed" in change["rows"][0]["html"]
    assert change["rows"][0]["id"] in ids(app, "?outcome=completed")
    change = parts(refused)
    assert (change["rows"], change["gone"]) == ([], ids(app, "?outcome=completed"))
    live.flows.forget_before("f" * 16)
    assert len(parts(everything)["gone"]) == 2
    assert not ids(app)


def test_a_viewer_that_missed_too_much_gets_one_page(app: Flask, live: Live) -> None:
    live.flows.add(many(500))
    change = parts(app.test_client().get("/live?version=other-7&client=Tally").response)
    assert change["all"]
    assert len(change["rows"]) == PAGE
    assert sum(len(row["html"]) for row in change["rows"]) < PAGE * 2_000


def test_long_names_are_shortened(app: Flask, live: Live, store: redis.Redis) -> None:
    events = foreign()
    events[1]["checks"] = [check("x" * 300, False) | {"description": "y" * 5_000}]
    events[0]["checks"] = [check("authorize.owner") | {"actual": "z" * 5_000}]
    long = registration()
    long[0]["body"]["client_name"] = "w" * 5_000
    show(live, store, events, long)
    for row in live.flow_list.rows():
        assert len(row.html) < 2_500


def test_there_are_not_more_viewers_than_threads(app: Flask, live: Live) -> None:
    live._viewers = MAX_VIEWERS
    for path in ("/live", "/starts"):
        assert app.test_client().get(path).status_code == 503
    assert app.test_client().get("/").status_code == 200


def test_a_viewer_learns_that_redis_is_unavailable(app: Flask, live: Live, store: redis.Redis) -> None:
    show(live, store, plain_flow())
    live.flow_list.refresh()
    version = live.flow_list.version
    live.flows.set_store_unavailable(True)
    stream = app.test_client().get(f"/live?version={live.event_id(version)}").response
    change = parts(stream)
    assert (change["away"], change["rows"]) == (True, [])


def started(live: Live) -> str:
    live.flow_list.refresh()
    return live.flow_list.newest.started if live.flow_list.newest else ""


def test_following_opens_what_was_started_and_nothing_else(app: Flask, live: Live, store: redis.Redis) -> None:
    show(live, store, plain_flow())
    [connect] = ids(app)
    stream = app.test_client().get("/starts").response
    assert next_start(stream)["flow"] == connect
    noise = [
        *registration(),
        *moved([event(1, "client", "authorization_server", "GET /.well-known/openid-configuration")], 5000),
        *moved([event(2, "client", "authorization_server", "GET /jwks")], 5000),
        *moved([event(3, "browser", "client", "GET /healthz")], 5000),
        *moved([event(4, "client", "resource_server", "GET /invoices", handles=["access-a-0123"])], 5000),
    ]
    before = started(live)
    show(live, store, noise)
    assert started(live) == before
    show(live, store, replayed())
    assert next_start(stream)["title"] == "Replayed code"
    again = event(9000, "browser", "client", "POST /refresh", 303, trace="e" * 32, handles=["access-a-0123"])
    show(live, store, [again])
    assert next_start(stream) == {"flow": connect, "title": "Connect Tally"}
    assert "then: Refresh Tally" in listed(app)[-1]


def next_start(stream: Any) -> dict[str, Any]:
    for chunk in stream:
        text = chunk.decode()
        if match := re.search(r"^id: [0-9a-f]+\ndata: (.*)\n\n$", text, re.DOTALL):
            data: dict[str, Any] = json.loads(match[1])
            return data
    raise AssertionError("the stream ended")


def test_a_flow_page_follows_what_started_after_it_was_loaded(app: Flask, live: Live, store: redis.Redis) -> None:
    show(live, store, plain_flow())
    [flow] = ids(app)
    page = app.test_client().get(f"/flows/{flow}?present&follow").text
    assert f'data-flow="{flow}" data-started="{started(live)}"' in page
    assert page.count('role="switch" aria-checked="true" data-follow') == 2
    assert 'aria-checked="false" data-follow' in app.test_client().get(f"/flows/{flow}").text
    projected = app.test_client().get("/?present").text
    assert "Waiting for the next flow" in projected
    assert 'data-started=""' in projected
