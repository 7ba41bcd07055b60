"""Exports of JSON requests, and of flows with missing messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rolecall_lab.observer.exports import EXPORTS, curl, json_events
from rolecall_lab.observer.picture import lay_out
from rolecall_lab.recording.recorded_flow import Loss
from support.curl_script import with_fakes
from support.recorded_events import event, mark, plain_flow

METADATA = {
    "client_name": "It's \"Tally\" $(touch never)",
    "redirect_uris": ["http://localhost/cb", {"url": "http://c/", "parameters": {"a": "b"}}],
    "client_secret": {"hidden": True}, "software_statement": mark('a"quoted\\one'), "default_max_age": 5,
}  # fmt: skip
SENT = {
    "client_name": "It's \"Tally\" $(touch never)", "redirect_uris": ["http://localhost/cb", "http://c/?a=b"],
    "client_secret": "h", "software_statement": 'a"quoted\\one', "default_max_age": 5,
}  # fmt: skip


def registration(method: str) -> dict[str, Any]:
    headers = {"content-type": "application/json", "x-unknown": {"hidden": True}}
    return event(
        1, "client", "authorization_server", f"{method} /register", 201, json=METADATA, request_headers=headers
    )


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_registration_is_sent_again_as_it_was(tmp_path: Path, method: str) -> None:
    """RFC 7591 section 3.1, RFC 7592 section 2.2: the body is JSON, with variables for unrecorded values."""
    [call] = with_fakes(tmp_path, EXPORTS["curl"].make([registration(method)], secrets=True))
    assert json.loads(call.pop(-2)) == SENT
    asked = [] if method == "POST" else ["-X", method]
    assert call == ["-i", *asked, "-H", "content-type: application/json", "--data-binary", "http://localhost/register"]
    assert {each.name for each in tmp_path.iterdir()} == {"bin", "said", "flow.sh"}
    masked = EXPORTS["curl"].make([registration(method)], secrets=False)
    assert "quoted" not in masked.replace('a"qu', "").replace('a"qu', "")
    assert "set it first" in masked
    assert "--data-binary" in curl.command(registration(method)), "the inspector's command has the body too"


def test_a_registration_is_in_the_archive() -> None:
    [entry] = json.loads(EXPORTS["har"].make([registration("POST")], secrets=True))["log"]["entries"]
    assert entry["request"]["postData"]["mimeType"] == "application/json"
    assert json.loads(entry["request"]["postData"]["text"]) == SENT | {"client_secret": "(hidden)"}
    assert {"name": "x-unknown", "value": "(hidden)"} in entry["request"]["headers"]


def missing() -> tuple[list[dict[str, Any]], list[Loss], tuple[int, str]]:
    """Return a flow with messages that were lost before the fifth, and messages that were dropped before the last."""
    events = plain_flow()
    events[5]["cut"] = ["body", "query"]
    return events, [Loss(events[3]["id"], events[4]["id"], 3, "client")], (11, events[6]["id"])


@pytest.mark.parametrize("kind", EXPORTS)
def test_each_file_tells_what_is_missing(kind: str) -> None:
    events, losses, omitted = missing()
    made = EXPORTS[kind].make(events, losses, omitted, secrets=False)
    whole = EXPORTS[kind].make(plain_flow(), secrets=False)
    if kind == "json":
        flow = json_events.load(made)
        assert (flow.losses, flow.omitted) == (losses, 11)
        assert (json_events.load(whole).losses, json_events.load(whole).omitted) == ([], 0)
        return
    for said in ("3 messages of the client could not be recorded", "11 messages of this long flow were dropped"):
        assert said in made
        assert said not in whole
    if kind != "mermaid":
        assert "partly omitted: body, query" in made
    if kind == "curl":
        lines = made.splitlines()
        told = [line.partition(":")[0] for line in lines if line.startswith("# ")]
        assert (
            told.index("# 3 messages of the client could not be recorded")
            == told.index("# 5  Owner's browser to Client") - 1
        )
        assert (
            told.index("# 11 messages of this long flow were dropped")
            == told.index("# 7  Resource server to Authorization server") - 1
        )


@pytest.mark.parametrize("losses", [7, [7], [{}], [{"since": 1, "until": "", "number": 1, "role": ""}], [{}] * 201])
def test_losses_that_are_none_are_refused(losses: Any) -> None:
    text = json.dumps({"kind": "rolecall-flow", "schema": 3, "losses": losses, "events": plain_flow()})
    with pytest.raises(ValueError, match="a list of at most 200 losses"):
        json_events.load(text)


@pytest.mark.parametrize("omitted", [-1, "x", None, True, 1.5])
def test_a_number_of_omitted_events_that_is_none_is_refused(omitted: Any) -> None:
    text = json.dumps({"kind": "rolecall-flow", "schema": 3, "omitted": omitted, "events": plain_flow()})
    with pytest.raises(ValueError, match="member omitted must be"):
        json_events.load(text)


def test_a_file_of_the_version_before_is_read() -> None:
    events = plain_flow()
    for each in events:
        each["schema"] = 2
        for name in ("json", "cut", "presented", "serving"):
            del each[name]
    again = json_events.load(json.dumps({"kind": "rolecall-flow", "schema": 2, "events": events})).events
    assert [row.text for row in lay_out(again).rows] == [row.text for row in lay_out(plain_flow()).rows]
    for export in EXPORTS.values():
        assert export.make(again, secrets=True)
