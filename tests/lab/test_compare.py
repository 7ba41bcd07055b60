"""The comparison of the two checks: every act is made for real, and what each way does about it is measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from cryptography.fernet import Fernet, MultiFernet
from werkzeug.test import Client

import rolecall_client
from rolecall import clock
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_client.settings import Settings
from rolecall_lab.control import outage
from rolecall_lab.walker import Page, Walker, connect
from support.stack import Stack, running_stack, wait_until
from support.tally_pages import tokens_of_a_native_client

ALICE = ("alice", "wonderland-lab")

_CELL = re.compile(
    r'id="row-(\d+)-(introspection|jwt)"><span class="tag (\w*)">(.*?)</span> <code>(.*?)</code> '
    r'<span class="soft">(.*?)</span>'
)


class Cell(NamedTuple):
    """A cell of the score board: one event and one validation method."""

    tone: str
    result: str
    answer: str
    details: str


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A separate stack, because the events of these tests would disturb other tests."""
    with running_stack(tmp_path_factory.mktemp("compared")) as running:
        yield running


@pytest.fixture
def own(lab: Stack) -> Iterator[Stack]:
    """The stack, restored after the test; both processes of the API have fetched the keys."""
    hold_keys(lab)
    yield lab
    assert act(lab, {"act": "go-on"})[0] == 200
    assert act(lab, {"act": "enable", "client_id": "tally"})[0] == 200
    assert lab.call("DELETE", f"{lab.client}/_lab/clock", None)[0] == 200


def hold_keys(stack: Stack) -> None:
    """Ask the API with new connections until each of its processes has verified a signature."""
    stack.call("DELETE", f"{stack.client}/_lab/events", None)
    token = tokens_of_a_native_client(stack)["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Rolecall_Validator": "jwt"}

    def processes() -> set[int]:
        stack.get(f"{stack.api}/invoices", **headers)
        verified = [
            event["process"]
            for event in stack.events()
            if event["role"] == "resource_server"
            and event["direction"] == "received"
            and any(check["name"] in {"token.signature", "token.cache"} for check in event["checks"])
        ]
        return {*verified}

    wait_until(lambda: len(processes()) == 2)


def act(stack: Stack, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return stack.call("POST", f"{stack.auth}/_lab/acts", data, **{"Content_Type": "application/json", **headers})


def connected(stack: Stack) -> Walker:
    walker = Walker()
    connect(walker, stack.client, *ALICE)
    return walker


def press(walker: Walker, stack: Stack, path: str, **fields: str) -> Page:
    page = walker.open(f"{stack.client}/compare")
    return walker.follow(walker.submit(page, f"{stack.client}/compare{path}", **fields))


def do(walker: Walker, stack: Stack, event: str) -> dict[str, Cell]:
    page = press(walker, stack, "/event", event=event)
    assert page.status == 200
    return newest(page)


def rows(page: Page) -> dict[int, dict[str, Cell]]:
    found: dict[int, dict[str, Cell]] = {}
    for number, way, *texts in _CELL.findall(page.text):
        found.setdefault(int(number), {})[way] = Cell(*map(unescape, texts))
    return found


def newest(page: Page) -> dict[str, Cell]:
    found = rows(page)
    return found[max(found)]


def measured(walker: Walker, stack: Stack) -> dict[str, Any]:
    """Send the token again as the page's script does, and return the response."""
    token = walker.open(f"{stack.client}/compare").hidden()["csrf_token"]
    page = walker.open(f"{stack.client}/compare/measure", {"csrf_token": token})
    assert page.status == 200, page.text
    answer: dict[str, Any] = json.loads(page.text)
    return answer


@pytest.mark.integration
@pytest.mark.embedded
def test_one_press_shows_both_ways_side_by_side(own: Stack) -> None:
    walker = connected(own)
    page = press(walker, own, "/send")
    introspection, jwt = re.findall(r'<h2 id="way-\w+">(.*?)<h3>', page.text, re.DOTALL)
    assert introspection.count("200 accepted") == jwt.count("200 accepted") == 1
    assert "/introspect</code>" in introspection
    sent, received = (int(number) for number in re.findall(r"(\d+) (?:sent|received)", introspection))
    assert sent > 300, "the token is sent in the body"
    assert received > 100
    assert "<dd>none</dd>" in jwt
    assert "0 sent, 0 received" in jwt
    assert "token.active</code> · expected <code>active: true</code>, actual <code>active: true" in introspection
    assert "token.exp" in jwt
    for column in (introspection, jwt):
        assert re.search(r"[\d.]+ ms<span class=\"soft\">, [\d.]+ ms of it in the API", column)


@pytest.mark.integration
@pytest.mark.embedded
def test_without_a_connection_the_page_says_so_and_the_button_leads_back_to_it(own: Stack) -> None:
    walker = Walker()
    page = walker.open(f"{own.client}/compare")
    assert page.status == 200
    assert "Connect first" in page.text
    assert 'name="event"' not in page.text
    page = walker.follow(walker.submit(page, f"{own.client}/compare/connect"))
    page = walker.follow(walker.submit(page, username=ALICE[0], password=ALICE[1]))
    if 'id="consent-allow"' in page.text:
        page = walker.follow(walker.submit(page, decision="allow"))
    assert page.url == f"{own.client}/compare"
    assert 'name="event"' in page.text


@pytest.mark.integration
@pytest.mark.embedded
@pytest.mark.parametrize("event", ["revoke", "disconnect", "disable"])
def test_what_ends_early_is_noticed_by_asking_at_once_and_by_the_signature_when_it_expires(
    own: Stack, event: str
) -> None:
    """RFC 7662 section 2.2; revocation is not part of RFC 9068 section 4."""
    walker = connected(own)
    noticed = do(walker, own, event)
    assert noticed["introspection"].result.startswith("rejected after ")
    assert noticed["introspection"].answer == "401 invalid_token"
    assert "1 request." in noticed["introspection"].details
    assert noticed["jwt"].result.startswith("still accepted after ")
    assert noticed["jwt"].answer == "200"
    assert {way: cell.tone for way, cell in noticed.items()} == {"introspection": "yes", "jwt": "no"}
    assert measured(walker, own)["going_on"] is True
    page = press(walker, own, "/event", event="expire")
    second, first = rows(page).values()
    assert second["introspection"].result == "rejected before this event"
    assert second["introspection"].answer == "401 invalid_token"
    assert second["jwt"].answer == first["jwt"].answer == "401 invalid_token"
    for row in (first, second):
        assert "expired" in row["jwt"].details
        figure = re.fullmatch(r"rejected after (\d+) s", row["jwt"].result)
        assert figure is not None, "by the lab's clock"
        assert 240 < int(figure[1]) < 320
        assert "in real time" in row["jwt"].details
    assert first["introspection"] == noticed["introspection"], "a measurement does not change after a refusal"
    assert measured(walker, own)["going_on"] is False


@pytest.mark.integration
@pytest.mark.embedded
def test_taking_the_consent_back_is_what_the_owner_would_do(own: Stack) -> None:
    walker = connected(own)
    do(walker, own, "disconnect")
    page = walker.follow(press(walker, own, "/connect"))
    assert 'id="consent-allow"' in page.text, "the consent is not remembered"
    page = walker.follow(walker.submit(page, decision="allow"))
    assert page.url == f"{own.client}/compare"
    assert len(rows(page)) == 1, "the rows are kept"
    do(walker, own, "disconnect")
    assert sorted(rows(walker.open(f"{own.client}/compare"))) == [1, 2]


@pytest.mark.integration
@pytest.mark.embedded
def test_a_disabled_client_gets_nothing_until_it_is_enabled(own: Stack) -> None:
    walker = connected(own)
    do(walker, own, "disable")
    assert "Tally is disabled there" in walker.open(f"{own.client}/compare").text
    assert own.get(f"{own.auth}/_lab/acts")[1]["disabled"] == ["tally"]
    other = Walker()
    with pytest.raises(RuntimeError, match="responded with 400"):
        wait_until(lambda: connect(other, own.client, *ALICE) is None)
    page = press(walker, own, "/back", what="")
    assert "enabled again" in page.text
    assert "is disabled there" not in page.text
    connect(Walker(), own.client, *ALICE)


@pytest.mark.integration
@pytest.mark.embedded
def test_when_the_authorization_server_is_away_the_one_refuses_and_the_other_goes_on(own: Stack) -> None:
    walker = connected(own)
    row = do(walker, own, "stop")
    for _ in range(3):
        measured(walker, own)
    row = newest(walker.open(f"{own.client}/compare"))
    assert row["introspection"].answer == "503 temporarily_unavailable"
    assert row["introspection"].result.startswith("rejected after ")
    assert row["jwt"].result.startswith("still accepted after ")
    assert {way: cell.tone for way, cell in row.items()} == {"introspection": "open", "jwt": "yes"}
    for path in ("/healthz", "/jwks", "/", "/static/rolecall/rolecall.css"):
        for _ in range(4):
            assert own.get(f"{own.auth}{path}")[0] == 503
    status, condition = own.get(f"{own.auth}/_lab/acts")
    assert status == 200
    assert 0 < condition["away"] <= outage.LONGEST
    page = press(walker, own, "/event", event="revoke")
    assert "The event did not happen" in page.text
    assert len(rows(page)) == 1
    page = press(walker, own, "/back", what="go-on")
    assert "responds again" in page.text
    wait_until(lambda: own.get(f"{own.auth}/readyz")[0] == 200)
    page = press(walker, own, "/send")
    assert page.text.count("200 accepted") == 2


@pytest.mark.integration
@pytest.mark.embedded
def test_a_turned_clock_is_noticed_both_ways_when_it_passes_the_tokens_end(own: Stack) -> None:
    """RFC 9068 section 4: `exp` decides."""
    walker = connected(own)
    row = do(walker, own, "clock-61")
    assert {cell.answer for cell in row.values()} == {"200"}
    assert all(cell.result.startswith("still accepted after 6") for cell in row.values())
    assert own.get(f"{own.api}/_lab/clock")[1]["offset"] == 61
    row = do(walker, own, "clock-300")
    assert {cell.answer for cell in row.values()} == {"401 invalid_token"}
    assert {cell.tone for cell in row.values()} == {"yes"}
    page = press(walker, own, "/back", what="")
    assert own.get(f"{own.api}/_lab/clock")[1]["offset"] == 0
    assert "clock shows the real time again" in page.text
    before = rows(page)
    assert rows(press(walker, own, "/send")) == before, "a restored clock is no longer measured"


@pytest.mark.integration
@pytest.mark.embedded
def test_a_rotated_key_is_noticed_by_nobody(own: Stack) -> None:
    walker = connected(own)
    row = do(walker, own, "rotate")
    for _ in range(3):
        measured(walker, own)
    row = newest(walker.open(f"{own.client}/compare"))
    assert {cell.answer for cell in row.values()} == {"200"}
    assert all("4 requests" in cell.details for cell in row.values())
    wait_until(lambda: len(own.get(f"{own.auth}/jwks")[1]["keys"]) == 2 * len(ID_TOKEN_ALGORITHMS))
    page = press(walker, own, "/event", event="rotate")
    assert "Nothing changed" in page.text


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.embedded
def test_a_retired_key_is_noticed_by_the_signature_when_the_keys_are_fetched_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The key set is older than the token, so this happens long before the token expires."""
    with running_stack(tmp_path_factory.mktemp("retired")) as stack:
        hold_keys(stack)
        stack.call("PUT", f"{stack.auth}/_lab/clock", b'{"advance": 200}')
        walker = connected(stack)
        do(walker, stack, "retire")

        def asked() -> dict[str, Cell]:
            measured(walker, stack)
            return newest(walker.open(f"{stack.client}/compare"))

        wait_until(lambda: asked()["introspection"].answer == "401 invalid_token")
        row = asked()
        assert row["jwt"].result.startswith("still accepted after ")
        do(walker, stack, "clock-61")
        do(walker, stack, "clock-61")
        wait_until(lambda: "unknown key" in asked()["jwt"].details)
        first = rows(walker.open(f"{stack.client}/compare"))[1]
        figure = re.fullmatch(r"rejected after (\d+) s", first["jwt"].result)
        assert figure is not None
        assert 60 < int(figure[1]) < 200
        assert "unknown key" in first["jwt"].details


@pytest.mark.integration
@pytest.mark.embedded
def test_what_the_page_changes_needs_its_token_and_a_connection(own: Stack) -> None:
    walker = connected(own)
    for path in ("send", "event", "again", "back", "connect", "measure"):
        assert walker.open(f"{own.client}/compare/{path}", {"event": "disable"}).status == 400
    assert own.get(f"{own.auth}/_lab/acts")[1]["disabled"] == []
    page = press(walker, own, "/event", event="unheard-of")
    assert not rows(page)
    stranger = Walker()
    token = stranger.open(f"{own.client}/compare").hidden()["csrf_token"]
    page = stranger.open(f"{own.client}/compare/measure", {"csrf_token": token})
    assert page.status == 403
    assert json.loads(page.text) == {"error": "Tally is not connected"}
    for path in ("send", "event", "again"):
        page = stranger.follow(stranger.open(f"{own.client}/compare/{path}", {"csrf_token": token, "event": "stop"}))
        assert "Connect first" in page.text
    assert own.get(f"{own.auth}/_lab/acts")[1]["away"] == 0


@pytest.mark.integration
@pytest.mark.embedded
@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"[" * 1000, 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[]", 400, '"act"'),
        (b"{}", 400, '"act"'),
        (b'{"act": "stop' + b" " * 10240 + b'"}', 400, "at most 10240 bytes"),
        ({"act": "explode"}, 400, "available actions: disconnect, rotate, retire, disable, enable, stop, go-on"),
        ({"act": ["stop"]}, 400, "unknown action"),
        ({"act": None}, 400, "unknown action"),
        ({"act": "stop", "for": 3600}, 400, "stop takes no other members"),
        ({"act": "disable"}, 400, 'disable requires "client_id"'),
        ({"act": "disable", "client_id": "tally", "token": "x"}, 400, 'disable requires "client_id"'),
        ({"act": "disable", "client_id": 1}, 400, "printable"),
        ({"act": "disable", "client_id": "ta\0lly"}, 400, "printable"),
        ({"act": "disable", "client_id": "nobody"}, 409, "unknown client nobody"),
        ({"act": "enable", "client_id": "nobody"}, 409, "unknown client nobody"),
        ({"act": "disconnect", "token": "a.b.c"}, 409, "not issued by this server"),
        ({"act": "retire", "token": ""}, 409, "not issued by this server"),
    ],
)
def test_an_act_that_cannot_be_done_is_refused_with_the_reason(lab: Stack, body: Any, status: int, says: str) -> None:
    before = lab.get(f"{lab.auth}/_lab/acts")
    answer = act(lab, body)
    assert (answer[0], says in answer[1]["error"]) == (status, True), answer
    assert lab.get(f"{lab.auth}/_lab/acts") == before


@pytest.mark.integration
@pytest.mark.embedded
def test_no_other_site_and_no_other_service_acts(own: Stack) -> None:
    stop = {"act": "stop"}
    assert act(own, stop, Origin="http://evil.example")[0] == 403
    assert act(own, stop, Sec_Fetch_Site="cross-site")[0] == 403
    assert act(own, stop, Host="evil.example")[0] == 403
    assert act(own, stop, Content_Type="text/plain")[0] == 415
    assert act(own, stop, Content_Type="application/x-www-form-urlencoded")[0] == 415
    assert own.call("PUT", f"{own.auth}/_lab/acts", b"{}")[0] == 405
    for service in (own.client, own.api):
        assert own.get(f"{service}/_lab/acts")[0] == 404
    assert own.get(f"{own.auth}/_lab/acts")[1]["away"] == 0
    listed = own.get(f"{own.auth}/_lab/acts")[1]
    assert listed.keys() == {"acts", "away", "disabled"}


@pytest.mark.integration
@pytest.mark.embedded
def test_the_page_shows_no_whole_token_and_its_files_are_found(own: Stack) -> None:
    walker = connected(own)
    page = press(walker, own, "/send")
    assert not re.search(r"eyJ[\w-]+\.eyJ[\w-]+", page.text)
    assert "script-src 'self'; connect-src 'self'" in _policy(own, "/compare")
    assert _policy(own, "/invoices").endswith("script-src 'self'"), "the script of the embedded diagram"
    for name in ("compare.js", "compare.css"):
        assert f"/static/compare/{name}" in page.text
        assert walker.open(f"{own.client}/static/compare/{name}").status == 200


def _policy(stack: Stack, path: str) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{stack.client}{path}", timeout=60) as answer:
            return str(answer.headers["Content-Security-Policy"])
    except urllib.request.HTTPError as error:
        with error:
            return str(error.headers["Content-Security-Policy"])


def test_the_product_has_neither_the_page_nor_the_acts(redis_url: str, tmp_path: Path) -> None:
    app = rolecall_client.create_app(
        Settings(
            public_url="http://tally.test", issuer="http://auth.test", resource_url="http://api.test",
            resource_identifier="http://api.test", client_id="tally", client_secret="client-secret-value",
            redis_url=redis_url, secret_key="a secret key of the tests, long enough",
            data_key=MultiFernet([Fernet(Fernet.generate_key())]), lab=True,
        )
    )  # fmt: skip
    assert not [rule.rule for rule in app.url_map.iter_rules() if "compare" in rule.rule or "_lab" in rule.rule]
    assert app.test_client().get("/compare").status_code == 404
    assert "Compare" not in app.test_client().get("/").text


def test_who_was_told_to_be_silent_is_so_for_a_minute_at_most(own_redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The minute is in real time, regardless of the services' clock."""
    client = redis.Redis.from_url(own_redis.url)
    layer = outage.Outage(_hello, own_redis.url)
    caller = Client(layer)
    try:
        assert caller.get("/").status_code == 200
        outage.begin(client)
        assert 0 < outage.seconds_left(client) <= 60
        wait_until(lambda: caller.get("/").status_code == 503)
        clock.set_offset(3600)
        answer = caller.get("/anything")
        assert answer.status_code == 503
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        monotonic = clock.monotonic
        with monkeypatch.context() as later:
            later.setattr(clock, "monotonic", lambda: monotonic() + 60)
            assert caller.get("/").status_code == 200
        assert caller.get("/").status_code == 503
        outage.end(client)
        wait_until(lambda: caller.get("/").status_code == 200)
        assert outage.seconds_left(client) == 0
        outage.begin(client)
        own_redis.stop()
        wait_until(lambda: caller.get("/").status_code == 503)
    finally:
        layer.stop()
        client.close()


def test_a_process_that_begins_while_it_should_be_silent_is_so_from_its_first_answer(own_redis: Any) -> None:
    client = redis.Redis.from_url(own_redis.url)
    outage.begin(client)
    layer = outage.Outage(_hello, own_redis.url)
    try:
        assert Client(layer).get("/").status_code == 503
    finally:
        layer.stop()
        client.close()


def _hello(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
