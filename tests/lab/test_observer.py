"""The observer's pages, its live picture, and its behavior during an outage of Redis, all in this process."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from rolecall_lab.observer import app as observer
from rolecall_lab.observer import live as living
from rolecall_lab.observer.explanations import PLACES, change_name, explain
from rolecall_lab.observer.live import MAX_VIEWERS, Live
from rolecall_lab.observer.tail import Tail
from rolecall_lab.recording.flow_limits import MAX_IN_FLOW
from rolecall_lab.recording.flows import Flows, read_events
from rolecall_lab.recording.recorder import STREAM
from rolecall_lab.settings import LabSettings
from support.observer_app import load, parts, record, shown
from support.recorded_events import BEGAN, event, hash_of, mark, plain, plain_flow

SCRIPT = "<script>alert(1)</script>"


def test_what_was_recorded_is_listed_and_drawn(app: Flask, live: Live, store: redis.Redis) -> None:
    browser = app.test_client()
    assert "There are no flows yet" in browser.get("/").text
    record(store, *plain_flow(), event(99, "browser", "client", "GET /"))
    assert live.tail.read() == 8
    listed = browser.get("/").text
    assert listed.count('href="/flows/') == 1, "a visit to a page is not a flow"
    assert "Connect Tally" in listed
    page = browser.get(f"/flows/{shown(live)}").text
    for words in ("POST /token", "code_verifier", "The client calls the resource server"):
        assert words in page
    for address in (f"/flows/{shown(live)}?message=4", f"/flows/{shown(live)}/messages/4"):
        message = browser.get(address).text
        assert "PKCE, step by step" in message
        assert "The verifier matches the challenge, so the client" in message
        assert "https://www.rfc-editor.org/rfc/rfc7636#section-4.5" in message
        assert "verifier-a-0123" in message


def test_a_request_leads_to_its_picture(app: Flask, live: Live, store: redis.Redis) -> None:
    events = plain_flow()
    record(store, *events)
    live.tail.read()
    found = app.test_client().get(f"/of/{events[3]['trace']}")
    assert found.headers["Location"] == f"/flows/{shown(live)}"


def test_a_client_that_registers_itself_is_called_by_its_name(app: Flask, live: Live, store: redis.Redis) -> None:
    """RFC 7591 section 2; the client ID that the server assigned is meaningless to people."""
    body = {"client_id": "Zk3vC2", "client_name": "Tally & <sister>"}
    record(store, event(1, "client", "authorization_server", "POST /register", body=body))
    live.tail.read()
    for path in (f"/flows/{shown(live)}", "/"):
        assert "<bdi>Tally &amp; &lt;sister&gt;</bdi>" in app.test_client().get(path).text


def test_the_page_of_a_request_waits_for_what_is_being_written(app: Flask, live: Live, store: redis.Redis) -> None:
    events = plain_flow()
    waiting: list[str] = []
    asking = threading.Thread(
        target=lambda: waiting.append(app.test_client().get(f"/of/{events[3]['trace']}").headers["Location"])
    )
    asking.start()
    record(store, *events)
    live.tail.read()
    asking.join(60)
    assert waiting == [f"/flows/{shown(live)}"]


@pytest.mark.parametrize(
    "path",
    [
        "/flows/none",
        "/flows/none/live",
        "/flows/none/messages/1",
        "/flows/none/export/har",
        "/of/x",
        "/flows/" + "x" * 3000,
    ],
)
def test_what_is_not_there_is_explained(app: Flask, path: str) -> None:
    answer = app.test_client().get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 404


def test_nothing_that_was_sent_becomes_markup(app: Flask, live: Live, store: redis.Redis) -> None:
    """Markup in a state, a client's name, a header, a claim, or an error is shown as text."""
    events = plain_flow()
    for each in events:
        each["query"] = {"state": plain(SCRIPT), "client_id": SCRIPT, SCRIPT: SCRIPT}
        each["handles"] = [hash_of("the same")]
        each["request_headers"] = {
            "user-agent": SCRIPT,
            "authorization": {"scheme": SCRIPT, "token": mark(SCRIPT, sub=SCRIPT)},
        }
        each["body"] = {"error": SCRIPT, "access_token": mark(SCRIPT, exp=SCRIPT, iss=SCRIPT)}
        each["failure"] = SCRIPT
    record(store, *events)
    live.tail.read()
    browser = app.test_client()
    name = shown(live)
    pages = [browser.get(path) for path in ("/", f"/flows/{name}?message=2&checks=yes", f"/flows/{name}/messages/4")]
    pages.append(browser.get(f"/flows/{name}/export/svg"))
    for page in pages:
        assert page.status_code == 200
        assert SCRIPT not in page.text
        assert "&lt;script&gt;" in page.text or "script" not in page.text
    stream = browser.get(f"/flows/{name}/live").response
    assert SCRIPT not in "".join(str(value) for value in parts(stream).values())


@pytest.mark.parametrize(
    "strange",
    [
        {"body": {"x": "y" * 1_000_000}},
        {"path": "/" + "z" * 500_000},
        {"query": {f"p{number}": "v" for number in range(5000)}},
        {"body": [[[[[[1]]]]]]},
        {"body": "\x00\ud800"},
        {"body": {"access_token": mark("eyJ.x.y") | {"unverified_claims": {}, "unverified_header": {}}}},
        {"body": {"access_token": mark("eyJ.x.y") | {"unverified_claims": [], "unverified_header": "x"}}},
        {"request_headers": {"authorization": {"hidden": True}}},
        {"response_headers": {"location": {"hidden": True}}},
        {"status": 999},
        {"trace": None, "handles": []},
    ],
    ids=lambda each: str(each)[:40],
)  # fmt: skip
def test_a_strange_event_is_drawn_like_any_other(
    app: Flask, live: Live, store: redis.Redis, strange: dict[str, Any]
) -> None:
    events = plain_flow()
    events[3] |= strange
    record(store, *events)
    live.tail.read()
    browser = app.test_client()
    for number in range(1, 8):
        assert browser.get(f"/flows/{shown(live)}/messages/{number}").status_code in {200, 404}
    assert browser.get(f"/flows/{shown(live)}").status_code == 200


def test_a_flow_that_goes_on_and_on_pushes_nobody_out(live: Live, store: redis.Redis) -> None:
    """The events of each flow in the stream are limited too: the observer deletes those that it does not keep."""
    record(store, *plain_flow("first"))
    record(
        store,
        *(event(number, "browser", "client", "GET /callback", handles=["one-state-012"]) for number in range(600)),
    )
    while live.tail.read():
        pass
    assert int(store.xlen(STREAM)) == 7 + MAX_IN_FLOW
    again = Flows()
    Tail(live.lab.lab_redis_url, again).read()
    assert [summary.messages for summary in again.newest()] == [MAX_IN_FLOW, 7]


def test_what_is_no_event_is_passed_over(app: Flask, live: Live, store: redis.Redis) -> None:
    store.xadd(STREAM, {"event": "{"})
    store.xadd(STREAM, {"other": "x"})
    record(store, {"schema": 1}, {"schema": 3, "x": 1}, [], *plain_flow())  # type: ignore[arg-type]
    live.tail.read()
    assert [summary.messages for summary in live.flows.newest()] == [7]


def test_the_picture_grows_and_resumes_after_a_break(app: Flask, live: Live, store: redis.Redis) -> None:
    """HTML section 9.2: after a break, the browser sends the last version that it has in Last-Event-ID."""
    events = plain_flow()
    record(store, *events[:4])
    live.tail.read()
    name, browser = shown(live), app.test_client()
    stream = browser.get(f"/flows/{name}/live").response
    first = parts(stream)
    assert first["version"] == 4
    assert "POST /token" in first["diagram"]
    assert "/introspect" not in first["diagram"]
    record(store, *events[4:])
    live.tail.read()
    second = parts(stream)
    assert "/introspect" in second["diagram"]
    assert second["id"] == name
    resumed = browser.get(f"/flows/{name}/live", headers={"Last-Event-ID": first["event_id"]}).response
    assert parts(resumed)["diagram"] == second["diagram"]


def test_a_browser_that_has_everything_is_told_nothing_anew(
    app: Flask, live: Live, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(living, "KEEPALIVE", 0.01)
    record(store, *plain_flow())
    live.tail.read()
    seen = f"{live._process}-7"
    stream = iter(app.test_client().get(f"/flows/{shown(live)}/live", headers={"Last-Event-ID": seen}).response)
    assert [next(stream) for _ in range(3)] == [b"retry: 1000\n\n", b": still here\n\n", b": still here\n\n"]


def test_many_viewers_are_one_drawing_and_no_question_to_redis(
    app: Flask, live: Live, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(store, *plain_flow()[:4])
    live.tail.read()
    monkeypatch.setattr(living, "REDRAW_PAUSE", 0)  # viewers wait in parallel; this test reads one after the other
    drawn = []
    draw = Live._draw
    monkeypatch.setattr(Live, "_draw", lambda self, *args: drawn.append(1) or draw(self, *args))
    browser = app.test_client()
    streams = [browser.get(f"/flows/{shown(live)}/live").response for _ in range(200)]
    before = store.info("stats")["total_commands_processed"]
    assert {parts(stream)["version"] for stream in streams} == {4}
    record(store, *plain_flow()[4:])
    live.tail.read()
    assert {parts(stream)["version"] for stream in streams} == {7}
    assert len(drawn) == 2
    asked = int(store.info("stats")["total_commands_processed"]) - int(before)
    assert asked < 12
    assert live.viewers() == 200
    for stream in streams:
        stream.close()
    assert live.viewers() == 0


def test_who_comes_when_too_many_watch_is_told(app: Flask, live: Live, store: redis.Redis) -> None:
    record(store, *plain_flow())
    live.tail.read()
    live._viewers = MAX_VIEWERS
    assert app.test_client().get(f"/flows/{shown(live)}/live").status_code == 503
    assert app.test_client().get(f"/flows/{shown(live)}").status_code == 200


def test_redis_restarts_in_the_middle(app: Flask, live: Live, own_redis: Any) -> None:
    """The page reports the outage and keeps its messages; afterwards, a gap shows where messages may be missing."""
    store = redis.Redis.from_url(own_redis.url)
    events = plain_flow()
    record(store, *events[:4])
    live.tail.start()

    def until(true: Callable[[], bool]) -> None:
        for _ in range(1000):
            if true():
                return
            threading.Event().wait(0.01)
        raise AssertionError("it did not come true")

    until(lambda: bool(live.flows.newest()))
    name, browser = shown(live), app.test_client()
    own_redis.stop()
    until(lambda: live.flows.store_unavailable)
    assert "Redis is unavailable" in browser.get(f"/flows/{name}").text
    assert browser.get("/readyz").status_code == 503
    own_redis.start()
    record(store, *events[4:])
    until(lambda: live.flows.newest()[0].messages == 7 and not live.flows.store_unavailable)
    page = browser.get(f"/flows/{name}").text
    assert "Redis was emptied or full at this point; messages may be missing" in page
    assert "POST /introspect" in page
    store.close()


def test_a_flow_is_taken_away_and_shown_again_elsewhere(app: Flask, live: Live, store: redis.Redis) -> None:
    record(store, *plain_flow())
    live.tail.read()
    browser, name = app.test_client(), shown(live)
    for kind in ("svg", "mermaid", "har", "json", "curl"):
        answer = browser.get(f"/flows/{name}/export/{kind}")
        assert answer.status_code == 200
        assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="rolecall-{name}.')
        assert "refresh-a-012" not in answer.text
        assert ("access-a-0123" in browser.get(f"/flows/{name}/export/{kind}?secrets=yes").text) is (
            kind in {"har", "json", "curl"}
        )
    assert browser.get(f"/flows/{name}/export/exe").status_code == 404
    file = browser.get(f"/flows/{name}/export/json").data
    elsewhere = observer.create_app(live.lab).test_client()
    answer = load(elsewhere, file)
    again = elsewhere.get(answer.headers["Location"]).text
    assert "From a file" in again
    assert "POST /token" in again
    assert "/observer.js" in again, "values can be followed, and the remaining lifetime of a token counts down"
    assert 'data-live=""' in again, "a loaded flow has no live updates"
    elsewhere.application.config["MAX_CONTENT_LENGTH"] = 10_000
    for bad in (b"", b"{}", b"\xff\xfe", b"x" * 10_001):
        refused = load(elsewhere, bad)
        assert refused.status_code in {400, 413}, bad[:10]
    assert elsewhere.post("/load", data={"events": "x"}).status_code == 400, "the CSRF token is missing"


def test_what_another_site_may_do(app: Flask) -> None:
    answer = app.test_client().get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'self' http://localhost:8000" in policy
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/flows/x/export/json?secrets=yes", "/readyz", "/static/observer/observer.js"])
def test_a_name_that_somebody_else_made_for_this_machine_is_refused(app: Flask, path: str) -> None:
    """DNS rebinding: otherwise the page of another site could read complete tokens."""
    for host in ("evil.example", "evil.example:8003", "localhost.evil.example"):
        assert app.test_client().get(path, headers={"Host": host}).status_code == 403
    assert app.test_client().get("/", headers={"Host": "observer.localhost:8003"}).status_code == 200


def test_only_the_newest_drawing_of_a_flow_is_kept(app: Flask, live: Live, store: redis.Redis) -> None:
    browser = app.test_client()
    for each in plain_flow():
        record(store, each)
        live.tail.read()
        browser.get(f"/flows/{shown(live)}")
    assert len(live._drawn) == 1


def test_a_flow_with_very_many_values_is_drawn_all_the_same(app: Flask, live: Live, store: redis.Redis) -> None:
    for number in range(300):
        codes = {"code": [mark(f"code-{number}-{each}-0123") for each in range(20)], f"{'n' * 900}\x01_{number}": "x"}
        record(store, event(number, "browser", "client", "GET /callback", query=codes, handles=["one-state-012"]))
    live.tail.read()
    page = app.test_client().get(f"/flows/{shown(live)}?checks=yes")
    assert page.status_code == 200
    assert "and 8 more" in page.text
    assert len(page.data) < 1_500_000


def test_a_loss_is_shown_to_who_looks_on_already(app: Flask, live: Live, store: redis.Redis) -> None:
    record(store, *plain_flow())
    live.tail.read()
    name = shown(live)
    before = live.flows.get(name)
    assert before is not None
    late = event(3, "browser", "client", "GET /", handles=["another-flow-01"])
    record(
        store,
        event(1, "browser", "client", "GET /", handles=["a-third-flow-01"], process=9),
        late | {"process": 9, "dropped": 2},
    )
    live.tail.read()
    after = live.flows.get(name)
    assert after is not None
    assert after.version > before.version
    assert "2 messages of the client could not be recorded" in app.test_client().get(f"/flows/{name}").text


def test_a_token_of_a_thousand_lists_is_shown_as_it_is(app: Flask, live: Live, store: redis.Redis) -> None:
    nested = base64.urlsafe_b64encode(b"[" * 980 + b"]" * 980).decode().rstrip("=")
    events = plain_flow()
    events[3]["body"] = {"access_token": mark(f"{nested}.{nested}.x", sub="x")}
    record(store, *events)
    live.tail.read()
    assert app.test_client().get(f"/flows/{shown(live)}/messages/4").status_code == 200


def test_what_is_a_day_old_is_forgotten(live: Live, store: redis.Redis) -> None:
    live.flows.add([*plain_flow("old"), *plain_flow("new")])
    old = plain_flow("older")
    for each in old:
        each["id"] = f"{int((BEGAN - 90_000) * 1e6):016x}{each['id'][16:]}"
    live.flows.add(old)
    assert len(live.flows.newest()) == 3
    live.tail._delete_expired()
    assert len(live.flows.newest()) == 2
    assert live.flows.count() == (2, 14)


def test_it_holds_no_key(settings: Callable[..., LabSettings]) -> None:
    environ = {"LAB_KEY": "the key of the marks", "LAB_REDIS_URL": "redis://localhost"}
    assert LabSettings.from_environ(environ, role="observer").lab_key != "the key of the marks"
    assert LabSettings.from_environ(environ, role="client").lab_key == "the key of the marks"
    assert settings("observer").role == "observer"


def test_it_reads_what_the_services_really_record(
    small_services: Any, store: redis.Redis, live: Live, app: Flask
) -> None:
    small_services.flow()
    for _ in range(500):
        small_services.written()
        if int(store.xlen(STREAM)) >= 11:
            break
        threading.Event().wait(0.01)
    live.tail.read()
    assert [summary.messages for summary in live.flows.newest()] == [8]
    assert len(read_events(store)) == 11
    page = app.test_client().get(f"/flows/{shown(live)}").text
    assert page.count('class="message"') >= 16


def test_the_inspector_tells_what_stands_within_an_answer_and_what_changed(
    app: Flask, live: Live, store: redis.Redis
) -> None:
    events = plain_flow()
    events[3]["body"] |= {"keys": [{"kid": "k1", "kty": "EC"}, {"kid": "k2"}], "cnf": {"jkt": "thumbprint"}}
    events[3]["body"] |= {"deep": {str(number): {"x": [number]} for number in range(500)}}
    record(store, *events)
    live.tail.read()
    page = app.test_client().get(f"/flows/{shown(live)}/messages/4").text
    for name in ("keys[0].kid", "keys[1].kid", "cnf.jkt", "deep.1"):
        assert f"<code>{name}</code>" in page
    assert page.count("<code>deep.") <= 120
    page = app.test_client().get(f"/flows/{shown(live)}/messages/2").text
    assert "Stored and deleted data (1)" in page
    known = explain("change", change_name(events[1]["changes"][0]))
    assert known is not None
    assert known.means.partition("`")[0][:30] in page


@pytest.mark.parametrize("name", [5, None, [], {"a": 1}, "", "*", "[", "\ud800", "x" * 10000])
@pytest.mark.parametrize("place", sorted(PLACES))
def test_nothing_that_is_named_breaks_an_explanation(place: str, name: Any) -> None:
    explain(place, str(name), "/")
    change_name({"key": name, "change": name})
    change_name({})
