"""Refusals help developers: responses list the supported values, and the log distinguishes the causes."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from rolecall import events
from support.auth_server import CALLBACK, SECRET, Server, a_client, basic, query

pytestmark = pytest.mark.database


def test_an_unsupported_grant_or_response_type_is_answered_with_those_that_are(server: Server) -> None:
    """RFC 6749 sections 4.1.2.1 and 5.2."""
    for grant_type in ("password", "é"):
        refused = server.post("/token", grant_type=grant_type)
        assert (refused.status_code, refused.json["error"]) == (400, "unsupported_grant_type")
        assert refused.json["error_description"].endswith("authorization_code, refresh_token, client_credentials.")
    answer = query(server.browser().request(response_type="id_token").location)
    assert (answer["error"], answer["error_description"]) == (
        "unsupported_response_type",
        "The response type is not supported. Supported: code.",
    )


def attempts(server: Server) -> dict[str, Any]:
    """Present an unknown client, a wrong method, and a wrong secret."""
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    return {
        "unknown client": server.post("/token", basic("nobody", SECRET), **form),
        "client tally, registered: client_secret_basic, sent: client_secret_post": server.post(
            "/token", client_id="tally", client_secret=SECRET, **form
        ),
        "client tally, registered: client_secret_basic, sent: none": server.post("/token", client_id="tally", **form),
        "wrong secret": server.post("/token", basic("tally", "wrong"), **form),
    }


def test_a_wrong_method_is_told_apart_from_an_unknown_client_in_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 6749 section 5.2: all of them get the same response, which does not help an attacker."""
    caplog.set_level(logging.INFO)
    answers = attempts(server)
    assert len({(answer.status_code, answer.text) for answer in answers.values()}) == 1
    records = [vars(record) for record in caplog.records]
    assert [record["detail"] for record in records if record["message"] == "refused"] == [*answers]
    failed = [record for record in records if record.get("event") == "client_authentication_failed"]
    assert [record["reason"] for record in failed] == [*answers]
    assert [record["client_id"] for record in failed] == ["nobody", "tally", "tally", "tally"]
    assert SECRET not in json.dumps(records, default=str)


def test_a_wrong_method_is_told_apart_from_an_unknown_client_in_the_events(server: Server) -> None:
    with events.watching(events.Notebook()) as notebook:
        expected = [*attempts(server)]
    failed = [note["actual"] for note in notebook.notes if note.get("name") == "client.authenticated"]
    assert failed == expected


def test_another_redirect_uri_is_logged_with_the_registered_ones(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 9700 section 2.1; the page does not show them."""
    caplog.set_level(logging.INFO)
    server.add(a_client(client_id="many", redirect_uris=[f"https://app.example/{'x' * 500}/{n}" for n in range(9)]))
    page = server.browser().request(redirect_uri=CALLBACK + "2")
    assert server.browser().request(client_id="many").status_code == page.status_code == 400
    assert CALLBACK not in page.text
    first, second = [vars(record)["detail"] for record in caplog.records if record.message == "refused"]
    assert first == f"client tally, requested: {CALLBACK}2, registered: {CALLBACK}"
    assert len(second) == 1000
