"""Events become flows, and flows become pictures."""

from __future__ import annotations

import itertools
import random
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from rolecall_lab.observer import svg
from rolecall_lab.observer.drawing import LABEL_CHARACTER
from rolecall_lab.observer.picture import Picture, lay_out, step_title
from rolecall_lab.observer.story import story
from rolecall_lab.recording.flow_limits import MAX_IN_FLOW
from rolecall_lab.recording.flows import Flows
from rolecall_lab.recording.recorded_flow import KEEP_FIRST
from support.recorded_events import check, constant_flow, event, hash_of, mark, plain_flow

HOSTILE = "<script>alert(1)</script>\"'&\r\n\x00\ud800]]>"


def one(flows: Flows) -> str:
    [summary] = flows.newest()
    return summary.id


def drawn_file(picture: Picture) -> str:
    """The exported SVG file without its namespace."""
    return str(svg.file(picture, "A flow")).replace(' xmlns="http://www.w3.org/2000/svg"', "")


def told(picture: Picture) -> list[tuple[str, str, str, str]]:
    return [(row.kind, row.start, row.end, row.text) for row in picture.rows if row.kind in {"request", "response"}]


def test_a_flow_is_one_whatever_the_order_in_which_its_events_come() -> None:
    """An early ID of the flow stays valid too, for example in a bookmark or on the page of a growing flow."""
    orders = [plain_flow() for _ in range(20)]
    known, read = set(), []
    for number, events in enumerate(orders):
        flows = Flows()
        random.Random(number).shuffle(events)
        for each in events:
            flows.add([each])
            known.add(flows.newest()[0].id if flows.newest() else "")
        one(flows)
        read.append(flows)
    assert len(known - {""}) > 1, "different orders lead to different IDs"
    for flows, name in itertools.product(read, known - {""}):
        flow = flows.get(name)
        assert flow is not None
        assert [each["id"] for each in flow.events] == sorted(each["id"] for each in plain_flow())


def test_an_id_leads_to_the_flow_that_its_flow_became_part_of() -> None:
    """Two flows have nothing in common until a third message contains a value of each."""
    first, second = (
        event(0, "browser", "client", "GET /a", handles=["one-value"]),
        event(5, "browser", "client", "GET /b", handles=["another-value"]),
    )
    flows = Flows()
    flows.add([second])
    late = one(flows)
    flows.add([first])
    assert len(flows.newest()) == 2
    flows.add([event(9, "browser", "client", "GET /c", handles=["one-value", "another-value"])])
    whole = flows.get(late)
    assert whole is not None
    assert len(whole.events) == 3
    assert whole.id == one(flows) != late


def test_a_hundred_flows_at_once_do_not_mix() -> None:
    flows = Flows()
    everything = [each for number in range(100) for each in plain_flow(f"flow{number}")]
    random.Random(1).shuffle(everything)
    flows.add(everything)
    found = [flow for summary in flows.newest(200) if (flow := flows.get(summary.id))]
    assert len(found) == 100
    for flow in found:
        picture = lay_out(flow.events)
        assert len(picture.messages) == 7
        names = {value.shown["code"] for value in picture.values if value.kind == "code"}
        assert len(names) == 1
        assert {value.kind for value in picture.values} == {"state", "pkce", "code", "access_token", "refresh_token"}


def test_a_state_that_is_used_again_begins_another_flow() -> None:
    """Examples with curl, and clients with fixed values, reuse it in one flow after the other."""
    flows = Flows()
    for number in range(3):
        flows.add(constant_flow(number * 1000))
    assert [summary.messages for summary in flows.newest()] == [5, 5, 5]


def test_flows_at_once_with_the_same_state_and_verifier_do_not_mix() -> None:
    """The flows begin a few milliseconds apart, and each service writes its events with a different delay."""
    events = [each for number in range(4) for each in constant_flow(number)]
    for seed in range(50):
        roles = ("client", "authorization_server", "resource_server")
        late = dict(zip(roles, random.Random(seed).sample(range(0, 90, 2), 3), strict=True))
        flows = Flows()
        flows.add(sorted(events, key=lambda each: each["at"] + late[each["role"]] / 1000))
        found = {tuple(each["id"] for each in flow.events) for flow in flows.snapshot()}
        assert found == {tuple(each["id"] for each in constant_flow(number)) for number in range(4)}


def through_the_browser(
    at: float, begun_at: str, code: str, *chosen: str, by: str = "response_type"
) -> list[dict[str, Any]]:
    """Return the client's redirect, and the authorization request of the browser, which results in a code."""
    asked = {by: "code", "client_id": "c"}
    location = {"location": {"url": "http://localhost:8001/authorize", "parameters": asked}}
    return [
        event(
            at, "browser", "client", begun_at, 303, chosen=chosen, response_headers=location, trace=f"{int(at):032x}"
        ),
        event(
            at + 9, "browser", "authorization_server", "GET /authorize", 303, query=asked, handles=[code], chosen=chosen
        ),
    ]


def test_a_flow_that_leads_through_the_browser_twice_is_one() -> None:
    """OpenID Connect Core section 3.1.2.1: the client checks with `prompt=none` that the user is the same."""
    form = {"grant_type": "authorization_code", "code": mark("code-1-0123")}
    events = through_the_browser(0, "POST /start", "code-1-0123", "state-1-0123")
    [sent, arrived] = through_the_browser(20, "GET /callback", "code-2-0123", "state-2-0123")
    sent["handles"] = sorted([*sent["handles"], hash_of("code-1-0123")])
    redeemed = event(21, "client", "authorization_server", "POST /token", form=form, handles=["code-1-0123"])
    flows = Flows()
    flows.add([*events, sent, redeemed, arrived])
    assert [summary.messages for summary in flows.newest()] == [5]


def test_a_request_uri_that_is_used_again_begins_another_flow() -> None:
    """RFC 9101 section 5.2.2: a registered address is the same in all of a client's requests."""
    flows = Flows()
    for number in range(3):
        code = f"code-{number}-0123"
        flows.add(through_the_browser(number * 100, "POST /start", code, "https://c.test/request", by="request_uri"))
        flows.add([event(number * 100 + 20, "browser", "client", "GET /callback", handles=[code])])
    assert [summary.messages for summary in flows.newest()] == [3, 3, 3]


def test_ten_thousand_flows_are_bounded_and_the_newest_stay() -> None:
    flows = Flows(max_events=500)
    for number in range(10_000):
        flows.add(
            [
                event(
                    number, "browser", "client", "GET /callback", handles=[f"state-{number:08}"], trace=f"{number:032x}"
                )
            ]
        )
    assert flows.count() == (500, 500)
    assert len(flows._index._id_by_key) == 2000, "the trace, request, handle, and ID of each flow"
    assert flows.wait_for_trace(f"{9_999:032x}", 0) is not None
    assert flows.wait_for_trace(f"{9_400:032x}", 0) is None


def test_a_long_flow_keeps_its_beginning_and_its_end_and_says_what_is_missing() -> None:
    flows = Flows()
    flows.add(
        event(number, "browser", "client", "GET /callback", handles=["the-same-code"], trace=f"{number:032x}")
        for number in range(1000)
    )
    flow = flows.get(one(flows))
    assert flow is not None
    assert (len(flow.events), flow.omitted) == (MAX_IN_FLOW, 1000 - MAX_IN_FLOW)
    assert len(flows._index._id_by_key) <= 3 * MAX_IN_FLOW + 1
    picture = lay_out(flow.events, (), (flow.omitted, flow.events[KEEP_FIRST]["id"]))
    [gap] = [row for row in picture.rows if row.kind == "gap"]
    assert gap.text.startswith(f"{1000 - MAX_IN_FLOW} messages")
    before = [row.number for row in picture.rows[: picture.rows.index(gap)]]
    assert max(before) == KEEP_FIRST


def test_the_plain_flow_in_order_with_who_carries_the_code() -> None:
    """RFC 6749 section 4.1: a redirect is two messages, and a service's requests come before its response."""
    picture = lay_out(plain_flow())
    assert told(picture) == [
        ("request", "browser", "client", "POST /connect"),
        ("response", "client", "browser", "303 → /authorize"),
        ("request", "browser", "authorization_server", "GET /authorize"),
        ("response", "authorization_server", "browser", "303 → /callback"),
        ("request", "browser", "client", "GET /callback"),
        ("request", "client", "authorization_server", "POST /token"),
        ("response", "authorization_server", "client", "200"),
        ("response", "client", "browser", "303"),
        ("request", "browser", "client", "GET /invoices"),
        ("request", "client", "resource_server", "GET /invoices"),
        ("request", "resource_server", "authorization_server", "POST /introspect"),
        ("response", "authorization_server", "resource_server", "200"),
        ("response", "resource_server", "client", "200"),
        ("response", "client", "browser", "200"),
    ]
    steps = [row.step for row in picture.rows if row.kind == "request"]
    assert steps == [1, 2, 2, 3, 4, 4, 5]
    carry = [row.end for row in picture.rows if any(value.kind == "code" for value, _ in row.carried)]
    assert carry == ["browser", "client", "authorization_server"]


def test_a_value_is_one_wherever_it_is_and_the_verifier_is_one_with_its_challenge() -> None:
    """RFC 7636 section 4.6."""
    by_kind = {value.kind: value for value in lay_out(plain_flow()).values}
    assert by_kind["pkce"].shown.keys() == {"code_challenge", "code_verifier"}
    assert by_kind["pkce"].seen_by["browser"] == {"code_challenge"}
    assert by_kind["access_token"].seen_by.keys() == {"client", "authorization_server", "resource_server"}
    assert by_kind["refresh_token"].seen_by.keys() == {"client", "authorization_server"}
    assert not any(value.leaked_to() for value in by_kind.values())
    assert len({(value.shape, value.color) for value in by_kind.values()}) == 5


def test_a_lane_that_should_never_have_had_a_value_is_marked() -> None:
    """RFC 9700 section 2.1.2: an access token that the authorization server sends through the browser."""
    events = plain_flow()
    location = events[1]["response_headers"]["location"]
    location["parameters"] |= {"access_token": mark("access-a-0123")}
    events[1]["handles"].append(hash_of("access-a-0123"))
    by_kind = {value.kind: value for value in lay_out(events).values}
    assert by_kind["access_token"].leaked_to() == {"browser"}
    assert drawn_file(lay_out(events)).count("access_token") > drawn_file(lay_out(plain_flow())).count("access_token")


def test_a_refusal_ends_at_the_lane_that_refused_with_its_clause() -> None:
    events = plain_flow()[:4]
    events[3] |= {"status": 400, "body": {"error": "invalid_grant"}, "checks": [check("token.code", False)]}
    rows = [row for row in lay_out(events).rows if row.refused]
    assert [(row.kind, row.start) for row in rows] == [
        ("checks", "authorization_server"),
        ("response", "authorization_server"),
    ]
    assert "invalid_grant" in rows[1].text
    assert "RFC 6749 section 4.1.3" in rows[1].detail
    drawn = drawn_file(lay_out(events))
    assert 'class="refusal"' in drawn
    assert "token.code" in drawn
    texts = {each.text for each in ET.fromstring(drawn).iter("text")}
    assert {"400 invalid_grant", "RFC 6749 section 4.1.3 · 4 ms"} <= texts, "there is enough room for both texts"


@pytest.mark.parametrize(
    ("status", "error", "challenge", "clause"),
    [
        (404, "invalid_request", "", ""),
        (403, "", "", ""),
        (413, "", "", ""),
        (401, "", 'Bearer realm="x"', "RFC 6750 section 3.1"),
        (400, "login_required", "", "OpenID Connect Core section 3.1.2.6"),
        (400, "an error without an explanation", "", ""),
    ],
)
def test_a_refusal_without_a_failed_check_has_a_clause_only_where_one_applies(
    status: int, error: str, challenge: str, clause: str
) -> None:
    """RFC 6750 does not apply to a mistyped password or a missing page."""
    asked = event(1, "client", "authorization_server", "POST /token", status, body={"error": error} if error else None)
    asked["response_headers"] |= {"www-authenticate": challenge} if challenge else {}
    [refused] = [row for row in lay_out([asked]).rows if row.refused]
    assert refused.detail == (f"{clause} · 2 ms" if clause else "2 ms")


def test_a_check_is_drawn_where_it_was_made() -> None:
    """The checks are among the messages that the service sent: here before, between, and after its two calls."""
    names = ("client.state", "id_token.nonce", "client.userinfo_sub")
    callback = event(1, "browser", "client", "GET /callback", 303, trace="t", milliseconds=90)
    callback["checks"] = [check(name) | {"after": position} for position, name in enumerate(names)]
    calls = [
        event(number, "client", "authorization_server", f"POST /{path}", 200, trace="t")
        for number, path in ((2, "token"), (3, "userinfo"))
    ]
    rows = lay_out([callback, *calls]).rows
    told = [row.checks[0]["name"] if row.kind == "checks" else row.text for row in rows if row.kind != "response"]
    assert told == ["GET /callback", "client.state", "POST /token", "id_token.nonce", "POST /userinfo", names[2]]
    for each in callback["checks"]:
        del each["after"]
    assert [row.kind for row in lay_out([callback, *calls]).rows][-2:] == ["checks", "response"], "of earlier versions"


def test_the_front_channel_is_drawn_otherwise_than_the_back_channel() -> None:
    drawn = drawn_file(lay_out(plain_flow()))
    lines = re.findall(r'class="row request.*?class="line (front|back) ', drawn, re.DOTALL)
    assert lines == ["front", "front", "front", "back", "front", "back", "back"]
    assert "stroke-dasharray" in re.findall(r"\.line\.front \{(.*?)\}", drawn)[0]


def test_each_check_tells_what_it_expected_and_what_there_was() -> None:
    events = plain_flow()
    failed = check("token.code_once", False) | {"expected": "e" * 200, "actual": None}
    events[3]["checks"] = [check("token.code"), failed]
    texts = re.findall(r'<text class="(\w+)"[^>]*>([^<]*)<', drawn_file(lay_out(events[3:4])))
    assert ("passed", "✓ token.code · RFC 6749 section 4.1.3") in texts
    assert ("clause", "expected this · actual this") in texts
    assert ("failed", "✕ token.code_once · RFC 6749 section 4.1.3") in texts
    assert ("clause", f"expected {'e' * 27}…") in texts


def test_each_further_party_has_a_lane_up_to_a_bound() -> None:
    """A second resource server or an attacker is shown with its host name and with the values that it received."""
    token = {"scheme": "Bearer", "token": mark("access-a-0123")}
    hosts = [f"host-{number}.test" for number in range(8)]
    sent = [
        event(
            100 + at, "client", "other", "GET /", host=host, direction="sent", request_headers={"authorization": token}
        )
        for at, host in enumerate([*hosts, hosts[0]])
    ]
    picture = lay_out([*plain_flow(), *sent])
    assert [lane.title for lane in picture.lanes[4:-1]] == [*hosts[:5], "Other parties"]
    ends = [picture.title(row.end) for row in picture.rows if row.kind == "request" and row.end.startswith("other")]
    assert ends == [*hosts[:5], *["Other parties"] * 3, hosts[0]]
    [value] = [value for value in picture.values if value.kind == "access_token"]
    assert value.leaked_to() == {lane.key for lane in picture.lanes[4:-1]}
    ET.fromstring(svg.file(picture, "many"))


def test_an_error_in_a_redirect_is_a_refusal_as_well() -> None:
    events = plain_flow()[:3]
    events[1]["response_headers"]["location"]["parameters"] = {"error": "access_denied"}
    [refused] = [row for row in lay_out(events).rows if row.refused]
    assert refused.text == "303 → /callback access_denied"


def test_a_request_that_nobody_answered_is_drawn_from_its_sender() -> None:
    sent = event(
        42, "client", "resource_server", "GET /invoices", None, direction="sent", role="client", failure="timed out",
        handles=["access-a-0123"],
    )  # fmt: skip
    picture = lay_out([*plain_flow()[:4], sent])
    last = picture.rows[-1]
    assert (last.kind, last.start, last.end, last.refused) == ("request", "client", "resource_server", True)
    assert last.detail == "no response: timed out"
    token = next(value for value in picture.values if value.kind == "access_token")
    assert "resource_server" not in token.seen_by, "a request without a response may not have reached its receiver"


def test_what_both_recorded_is_drawn_once() -> None:
    trace, span = "1" * 32, "2" * 16
    received = event(1, "client", "authorization_server", "POST /token", trace=trace, span=span, handles=["a-code-012"])
    sent = received | {"id": received["id"][:-1] + "0", "role": "client", "direction": "sent", "milliseconds": 5.0}
    assert len(lay_out([sent, received]).messages) == 1
    assert len(lay_out([sent]).messages) == 1, "the sender's event alone is enough"


def test_lost_messages_leave_a_gap_where_they_were() -> None:
    events = plain_flow()
    for each in events[4:]:
        each["dropped"] = 3
    for each in events:
        each["role"], each["process"] = "client", 7
    flows = Flows()
    flows.add(events)
    flow = flows.get(one(flows))
    assert flow is not None
    rows = lay_out(flow.events, flows.losses(flow)).rows
    [gap] = [row for row in rows if row.kind == "gap"]
    assert gap.text == "3 messages of the client could not be recorded"
    assert rows[rows.index(gap) + 1].text == "GET /invoices"


def test_what_redis_forgot_is_said_in_flows_that_go_on_and_in_no_other() -> None:
    flows = Flows()
    events = plain_flow()
    flows.add(plain_flow("other"))
    flows.add([*events[:4], event(60, "browser", "client", "GET /", handles=["unrelated-value"])])
    flows.note_data_loss()
    flows.add(
        event(1000 + number, "client", "resource_server", "GET /invoices", handles=["access-a-0123"])
        for number in range(2)
    )
    gaps = {}
    for summary in flows.newest():
        flow = flows.get(summary.id)
        assert flow is not None
        gaps[len(flow.events)] = [loss.role for loss in flows.losses(flow)]
    assert gaps == {1: ["observer"], 6: ["observer"], 7: []}


def test_nothing_that_was_sent_is_more_than_text() -> None:
    """Paths, parameters, headers, errors, checks, and keys are only text, and the drawing stays well-formed."""
    events: list[dict[str, Any]] = plain_flow()
    for each in events:
        each |= {"method": HOSTILE[:20], "path": f"/{HOSTILE}", "host": HOSTILE}
        each["query"] = {HOSTILE: HOSTILE, "state": {"value": HOSTILE, "hash": hash_of(HOSTILE)}}
        each["request_headers"]["user-agent"] = HOSTILE
        each["checks"] = [check(HOSTILE, False, HOSTILE)]
        each["changes"] = [{"store": "redis", "key": HOSTILE, "change": HOSTILE}]
        each["body"] = {"error": HOSTILE, HOSTILE: HOSTILE, "code": mark(HOSTILE)}
        each["status"] = 400
    drawn = svg.file(lay_out(events), HOSTILE)
    assert "<script" not in drawn
    ET.fromstring(drawn.replace("\ud800", "").replace("\x00", ""))


def test_the_file_needs_nothing_else() -> None:
    drawn = svg.file(lay_out(plain_flow()), "A flow")
    root = ET.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    assert "@import" not in drawn
    texts = {each.text for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {
        "POST /token",
        "Authorization server",
        "✓ token.code_verifier · RFC 6749 section 4.1.3",
        "expected this · actual this",
    } <= texts


@pytest.mark.parametrize(
    ("sender", "request_line", "form", "step"),
    [
        ("client", "POST /token", {"grant_type": "refresh_token"}, 3),
        ("client", "GET /jwks", {}, 3),
        ("resource_server", "POST /introspect", {}, 5),
        ("resource_server", "GET /jwks", {}, 5),
        ("client", "POST /revoke", {}, 0),
        ("client", "GET /userinfo", {}, 0),
        ("client", "POST /register", {}, 0),
        ("browser", "GET /authorize", {}, 2),
        ("browser", "POST /sign-in", {"interaction": "i"}, 2),
        ("browser", "POST /device", {"user_code": "c"}, 2),
        ("browser", "POST /sign-in", {}, 0),
        ("browser", "GET /apps", {}, 0),
        ("browser", "POST /apps/disconnect", {"client_id": "tally"}, 0),
        ("browser", "POST /sign-out", {}, 0),
    ],
)
def test_what_gives_no_token_stands_beside_the_five_steps(
    sender: str, request_line: str, form: dict[str, Any], step: int
) -> None:
    asked = event(1, sender, "authorization_server", request_line, form=form)
    picture = lay_out([asked])
    assert {row.step for row in picture.rows} == {step}
    assert f">{step_title(step)}<" in drawn_file(picture)


@pytest.mark.parametrize(("asked_for", "step"), [("POST /register", 0), ("GET /authorize", 2), ("POST /token", 3)])
def test_what_the_server_fetches_belongs_to_the_request_for_which_it_does(asked_for: str, step: int) -> None:
    """The server fetches a client's keys, its request, or its logo (RFC 7591 section 2, RFC 9101 section 5.2)."""
    form = {"grant_type": "authorization_code"} if "token" in asked_for else {}
    sender = "browser" if "authorize" in asked_for else "client"
    asked = {**event(1, sender, "authorization_server", asked_for, form=form), "milliseconds": 9000.0, "trace": "t"}
    fetched = {**event(2, "authorization_server", "client", "GET /keys"), "trace": "t"}
    picture = lay_out([asked, fetched])
    assert {row.step for row in picture.rows} == {step}


def test_a_label_ends_before_the_number_of_its_arrow() -> None:
    """The authorization server is to the right of the client, so the arrow of its request starts on the right."""
    long = "GET /flows/published/" + "k" * 40
    drawn = drawn_file(lay_out([event(1, "authorization_server", "client", long)]))
    [start] = re.findall(r'<circle class="number" cx="(\d+)"', drawn)
    [(begin, label)] = re.findall(r'<text class="label" x="(\d+)"[^>]*>(GET [^<]*)<', drawn)
    assert int(begin) + len(label) * LABEL_CHARACTER <= int(start) - 12
    assert label.endswith("…")


def test_a_flow_tells_its_story() -> None:
    """The story has the catalog's title and summary, and the first check that refused a message."""
    started = event(0, "browser", "client", "POST /flows/replayed_code/start", 303)
    redeemed = event(1, "client", "authorization_server", "POST /token", 400)
    redeemed["checks"] = [check("token.code_once", False) | {"description": "The code was already used."}]
    checked = event(2, "resource_server", "authorization_server", "POST /introspect", 200)
    checked["checks"] = [check("introspect.revoked", False)]
    told = story([started, redeemed, checked])
    assert (told.title, told.outcome.check, told.outcome.is_expected) == ("Replayed code", "token.code_once", True)
    assert told.outcome.sentence == (
        "Refused by the authorization server, as it should be: the code was already used. RFC 6749 section 4.1.3"
    )
    connected = story(plain_flow())
    assert (connected.title, connected.details) == ("Connect Tally", "Authorization code with PKCE")
    assert (connected.outcome.sentence, connected.outcome.is_good) == ("Completed", True)
