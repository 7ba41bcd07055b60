"""The diagram on a flow's page: the content and the order of its essential view and of its complete view."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Flask

from rolecall_lab.observer.captions import caption
from rolecall_lab.observer.diagram import Diagram, Fold, View, diagram
from rolecall_lab.observer.live import Live
from rolecall_lab.observer.outcome import outcome
from rolecall_lab.observer.picture import lay_out
from support.observer_app import record, shown
from support.recorded_events import check, event, mark, plain, plain_flow


def essential(events: list[dict[str, Any]]) -> Diagram:
    return diagram(lay_out(events), View())


def everything(events: list[dict[str, Any]]) -> Diagram:
    return diagram(lay_out(events), View(everything=True))


def entries(shown: Diagram) -> Iterator[str]:
    """The text of each row, and the title of each fold with its number of requests."""
    for section in shown.sections:
        for entry in section.entries:
            yield f"[{entry.title}: {entry.count}]" if isinstance(entry, Fold) else entry.row.text


def signed_in_flow() -> list[dict[str, Any]]:
    """An authorization in which the owner signs in, mistypes the password once, and decides."""
    pages: list[tuple[str, int, str | None, dict[str, Any]]] = [
        ("GET /authorize", 303, "/sign-in", {}),
        ("GET /sign-in", 200, None, {}),
        ("POST /sign-in", 303, "/authorize", {"username": "alice"}),
        ("GET /authorize", 303, "/consent", {}),
        ("GET /consent", 200, None, {}),
        ("POST /consent", 303, "http://tally.test/callback", {"decision": "allow"}),
    ]
    events = [event(1, "browser", "client", "POST /connect", 303)]
    for number, (line, status, location, form) in enumerate(pages, 2):
        made = event(number, "browser", "authorization_server", line, status)
        made["form"] = {**form, "interaction": mark("interaction-0123")}
        made["response_headers"] = {"location": {"url": location, "parameters": {}}} if location else {}
        events.append(made)
    return [*events, event(9, "browser", "client", "GET /callback", 303)]


def test_the_owners_pages_are_one_block() -> None:
    """The authorization request and response of RFC 6749 section 4.1 stay; between them is what the owner does."""
    told = [*entries(essential(signed_in_flow()))]
    assert told == [
        "POST /connect",
        "303",
        "GET /authorize",
        "[The owner signs in and allows: 5]",
        "303 → /callback",
        "GET /callback",
        "303",
    ]
    kinds = {value.kind for section in essential(signed_in_flow()).sections for entry in section.entries
             if not isinstance(entry, Fold) for value, _ in entry.values}  # fmt: skip
    assert "interaction" not in kinds, "no specification defines `interaction`"


def test_a_failed_attempt_of_the_owner_is_announced_by_the_fold() -> None:
    events = signed_in_flow()
    events[3] |= {"status": 403, "response_headers": {}}
    [fold] = [entry for section in essential(events).sections for entry in section.entries if isinstance(entry, Fold)]
    assert fold.is_refused
    assert fold.title.endswith("after 1 failed attempt")
    assert not fold.is_open


def test_essential_hides_passed_checks_and_stores_and_everything_shows_them() -> None:
    events = plain_flow()
    events[3]["checks"] = [check("token.code"), check("token.code_once", False)]
    rows = {view: [entry.row for section in shown.sections for entry in section.entries if not isinstance(entry, Fold)]
            for view, shown in (("essential", essential(events)), ("everything", everything(events)))}  # fmt: skip
    assert {row.kind for row in rows["essential"]} == {"request", "response", "checks"}
    assert all(row.refused for row in rows["essential"] if row.kind == "checks")
    assert {row.kind for row in rows["everything"]} == {"request", "response", "checks", "change"}
    assert {"redis", "sql"} & {lane.key for lane in everything(events).lanes}
    assert not {"redis", "sql"} & {lane.key for lane in essential(events).lanes}


def test_setup_and_cleanup_are_folded_and_leave_the_steps_alone() -> None:
    """A client that registers for one flow: the redirect to /authorize still belongs to step 1."""
    started = event(1, "browser", "client", "POST /flows/signed_client/start", 303, trace="a", milliseconds=10)
    registered = event(2, "client", "authorization_server", "POST /register", 201, trace="a")
    authorized = event(20, "browser", "authorization_server", "GET /authorize", 303, query={"response_type": "code"})
    returned = event(30, "browser", "client", "GET /callback", 303, trace="b", milliseconds=10)
    redeemed = event(31, "client", "authorization_server", "POST /token", trace="b", form={"grant_type": "x"})
    deleted = event(34, "client", "authorization_server", "DELETE /register/abc", 204, trace="b")
    shown = essential([started, registered, authorized, returned, redeemed, deleted])
    assert [section.step for section in shown.sections] == [1, 2, 3]
    told = [*entries(shown)]
    assert told[:3] == ["POST /flows/signed_client/start", "[Setup: registration: 1]", "303"]
    assert told[-2:] == ["[Cleanup: deletion of the client: 1]", "303"]
    alone = essential([event(1, "client", "authorization_server", "POST /register", 201)])
    assert [*entries(alone)] == ["POST /register", "201"], "here the registration is the purpose"


def test_a_revocation_that_the_owner_asked_for_is_no_cleanup() -> None:
    """RFC 7009: the owner disconnects."""
    events = [*plain_flow(), event(900, "browser", "client", "POST /disconnect", 303, trace="d", milliseconds=20)]
    events.append(event(901, "client", "authorization_server", "POST /revoke", trace="d"))
    assert "POST /revoke" in [*entries(essential(events))]


def test_measurements_are_one_fold() -> None:
    """The page that compares the validators sends the token every 0.2 seconds."""
    events = plain_flow()
    for number in range(3):
        trace = {"trace": f"m{number}", "milliseconds": 8}
        events.append(event(900 + 10 * number, "browser", "client", "POST /compare/measure", **trace))
        events.append(event(901 + 10 * number, "client", "resource_server", "GET /invoices", 401, trace=f"m{number}"))
    assert [*entries(essential(events))][-1] == "[Measurement: 6]"


def test_an_outcome_that_the_client_caused_is_expected_and_a_failed_page_is_not_completed() -> None:
    refused = event(900, "client", "resource_server", "GET /invoices", 401)
    refused["checks"] = [check("token.active", False)]
    revoked = event(890, "client", "authorization_server", "POST /revoke")
    assert outcome([*plain_flow(), refused]).is_good is False
    assert outcome([*plain_flow(), revoked, refused]).is_good is True
    inactive = event(895, "resource_server", "authorization_server", "POST /introspect", body={"active": False})
    inactive["checks"] = [check("introspect.exp", False)]
    assert outcome([*plain_flow(), inactive]).kind == "completed", "the API decides what this means"
    assert outcome([event(1, "browser", "client", "GET /me", 403)]).kind == "refused"


def test_a_value_has_the_same_mark_in_every_flow() -> None:
    """Whatever the order in which the values appear."""
    found: dict[str, set[tuple[str, int]]] = {}
    extra = event(0, "browser", "client", "POST /connect", 303, query={"nonce": plain("a-nonce-0123")})
    for events in (plain_flow(), [extra, *plain_flow()], plain_flow()[3:]):
        for value in lay_out(events).values:
            found.setdefault(value.kind, set()).add((value.shape, value.color))
    assert all(len(marks) == 1 for marks in found.values())
    assert len({mark for marks in found.values() for mark in marks}) == len(found)


def captions(events: list[dict[str, Any]]) -> list[str]:
    picture = lay_out(events)
    return [text for row in picture.rows if (text := caption(row, picture))]


def test_a_refusal_by_the_client_has_a_caption() -> None:
    """Nobody is told of it: its response only redirects the browser."""
    events = plain_flow()
    back = next(each for each in events if each["path"] == "/callback")
    back["checks"] = [check("client.nonce", False) | {"description": "The nonce is that of another request."}]
    assert "The client refuses: the nonce is that of another request." in captions(events)


def test_every_message_has_a_caption_and_a_refusal_says_who_and_why() -> None:
    events = plain_flow()
    again = {**event(200, "client", "authorization_server", "POST /token", 400), "form": events[3]["form"]}
    again["checks"] = [check("token.code_once", False) | {"description": "The code was already used."}]
    told = captions([*events, again])
    assert len(told) == 2 * (len(events) + 1)
    assert told[-2] == "The client sends the same code a second time, as happens when a code is stolen."
    assert told[-1] == "The authorization server refuses: the code was already used."
    assert "The client exchanges the code for tokens, directly and not through the browser." in told
    assert all(text.endswith(".") for text in told)


@pytest.mark.parametrize(
    ("line", "status", "more", "told"),
    [
        ("POST /token", 200, {"form": {"grant_type": "refresh_token"}, "body": {"access_token": mark("a" * 20)}},
         "The authorization server issues an access token."),
        ("POST /token", 400, {"form": {"grant_type": "x"}, "body": {"error": "invalid_scope"}},
         "The authorization server refuses the request (`invalid_scope`)."),
        ("GET /authorize", 303,
         {"response_headers": {"location": {"url": "http://c/", "parameters": {"error": "access_denied"}}}},
         "The authorization server sends the browser back to the client: the owner denied access."),
        ("POST /introspect", 200, {"body": {"active": False}},
         "The token is not active, so the API must not accept it."),
        ("POST /strange", 500, {}, "The authorization server responds with 500."),
    ],
)  # fmt: skip
def test_a_response_has_a_caption_of_its_own(line: str, status: int, more: dict[str, Any], told: str) -> None:
    assert captions([{**event(1, "client", "authorization_server", line, status), **more}])[-1] == told


def test_the_page_has_all_that_the_picture_has(app: Flask, live: Live, store: redis.Redis) -> None:
    """Steps, gaps, values, stored data, and checks that passed and failed; the same elements are a list on a phone."""
    events = plain_flow()
    events[6]["checks"] = [check("introspect.token", False) | {"description": "The token is unknown."}]
    for each in events:
        each |= {"role": "client", "process": 7, "dropped": 3 if each in events[4:] else 0}
    record(store, *events)
    live.tail.read()
    page = app.test_client().get(f"/flows/{shown(live)}?view=everything").text
    region = page.partition('id="part-diagram"')[2].partition("<aside")[0]
    told = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", region))
    words = (
        "2 The owner signs in at the authorization server", "code:4bb4… set, 60 s", "code_challenge",
        "Client → Authorization server , request 4, direct", "✓ token.code", "200 4 ms",
        "3 messages of the client could not be recorded", "✕ The token is unknown.",
        "introspect.token · RFC 6749 section 4.1.3", "expected this · actual that",
        "5 The resource server validates the token",
    )  # fmt: skip
    assert [each for each in words if each not in told] == []
    assert re.findall(r'data-value="\d"', region)
    plain_page = app.test_client().get(f"/flows/{shown(live)}").text
    assert "code:4bb4" not in plain_page
    assert "✓ token.code" not in plain_page


def test_the_previous_and_the_next_message_are_links(app: Flask, store: redis.Redis) -> None:
    live: Live = app.extensions["observer"]
    record(store, *plain_flow())
    live.tail.read()
    page = app.test_client().get(f"/flows/{shown(live)}?message=4&present").text
    links = dict(re.findall(r'data-go="(previous|next|close)" href="([^"]*)"', page))
    assert links["previous"].endswith("message=3#inspector")
    assert links["next"].endswith("message=5#inspector")
    assert "message" not in links["close"]
    assert "present" in links["next"]
