"""What is taken away of a flow is whole, true, harmless, and without secrets unless they are asked for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.observing import check, hash_of, mark, plain_flow
from rolecall_lab.observer.exports import EXPORTS, curl, json_events
from rolecall_lab.observer.picture import lay_out

SECRETS = ("code-a-01234", "verifier-a-0123", "access-a-0123", "refresh-a-012")
HOSTILE = [
    "<script>alert(1)</script>", "a'b\"c`d$(touch /tmp/never)${HOME}", "x; touch never\n\r\ntouch never", "\x00\x1b[2J",
    "\ud800", "end", "#59;->>B: x", "%0d%0a", "-o/tmp/never", "@/etc/passwd", "É ﷽ " * 50, "x" * 100_000,
]  # fmt: skip


def hostile_flow(text: str) -> list[dict[str, Any]]:
    events = plain_flow()
    for event in events:
        event |= {"path": f"/{text}", "host": text[:200], "method": text[:20]}
        event["query"] = {text[:100]: text, "again": [text, text]}
        event["form"] = {"code": mark(text), "hidden": {"hidden": True}} if event["form"] else {}
        event["request_headers"] |= {"user-agent": text}
        event["response_headers"] = {"location": {"url": text, "parameters": {text[:100]: text}}}
        event["body"] = {text[:100]: text, "error": text}
        event["checks"] = [check(text, False, text)]
        event["changes"] = [{"store": "redis", "key": text, "change": text}]
        event["failure"] = text
    return events


def with_fakes(tmp_path: Path, script: str) -> list[list[str]]:
    """Run a script where `curl` only says what it was called with."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    said, fake = tmp_path / "said", tmp_path / "bin" / "curl"
    fake.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen({str(said)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
    )
    fake.chmod(0o755)
    file = tmp_path / "flow.sh"
    file.write_text(script, errors="replace")
    assert subprocess.run(["sh", "-n", str(file)], check=False).returncode == 0
    environ = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}/nowhere", "CLIENT_SECRET": "s3cret", "HIDDEN": "h"}
    done = subprocess.run(
        ["/bin/sh", str(file)], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in said.read_text().splitlines()]


@pytest.mark.parametrize("kind", EXPORTS)
def test_no_secret_is_in_it_unless_it_is_asked_for(kind: str) -> None:
    """RFC 9700 section 4.2: what is passed on must not be of use to whoever gets it."""
    masked = EXPORTS[kind].make(plain_flow(), secrets=False)
    assert not [secret for secret in SECRETS if secret in masked]
    whole = EXPORTS[kind].make(plain_flow(), secrets=True)
    if kind != "mermaid":
        sent = SECRETS[:3] if kind == "curl" else SECRETS
        assert all(secret in whole for secret in sent)


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_whatever_was_sent_can_be_taken_away(kind: str, text: str) -> None:
    made = EXPORTS[kind].make(hostile_flow(text), secrets=True)
    assert made.encode(errors="replace")
    if kind in {"har", "json"}:
        json.loads(made)


def test_the_commands_ask_what_was_asked(tmp_path: Path) -> None:
    calls = with_fakes(tmp_path, EXPORTS["curl"].make(plain_flow(), secrets=True))
    assert len(calls) == 7
    assert calls[1][-1].startswith("http://localhost/authorize?state=state-a-0123&code_challenge=challenge-a-012&")
    assert calls[3] == [
        "-i", "-u", "tally:s3cret", "--data-urlencode", "grant_type=authorization_code",
        "--data-urlencode", "code=code-a-01234", "--data-urlencode", "code_verifier=verifier-a-0123",
        "http://localhost/token",
    ]  # fmt: skip
    assert calls[5] == ["-i", "-H", "authorization: Bearer access-a-0123", "http://localhost/invoices"]


@pytest.mark.parametrize("text", [each for each in HOSTILE if len(each) < 1000], ids=lambda text: ascii(text[:20]))
def test_the_commands_run_nothing_else(tmp_path: Path, text: str) -> None:
    calls = with_fakes(tmp_path, EXPORTS["curl"].make(hostile_flow(text), secrets=True))
    assert len(calls) == 7
    assert all(call[0] == "-i" for call in calls)
    assert {each.name for each in tmp_path.iterdir()} == {"bin", "said", "flow.sh"}
    assert not Path("/tmp/never").exists()


def test_mermaid_tells_the_flow() -> None:
    lines = EXPORTS["mermaid"].make(plain_flow(), secrets=False).splitlines()
    assert lines[:2] == ["sequenceDiagram", "  autonumber"]
    assert "  participant AS as Authorization server" in lines
    assert "  B-->>C: POST /connect" in lines
    assert "  C->>AS: POST /token [PKCE, code]" in lines
    assert "  AS->>C: 200 [access_token, refresh_token] 4 ms" in lines
    refused = plain_flow()[:4]
    refused[3] |= {"status": 400, "body": {"error": "invalid_grant"}, "checks": [check("token.code", False)]}
    assert any(
        re.match(r"  AS-xC: 400 invalid_grant", line)
        for line in EXPORTS["mermaid"].make(refused, secrets=False).splitlines()
    )


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_mermaid_keeps_to_its_grammar(text: str) -> None:
    allowed = re.compile(
        r"sequenceDiagram|  autonumber|  participant (B|C|AS|RS|O) as [^;\n]+|  rect rgba\([0-9., ]+\)|  end|"
        r"  Note over (B|C|AS|RS|O)(,(B|C|AS|RS|O))?: .+|  (B|C|AS|RS|O)--?(>>|x)(B|C|AS|RS|O): .+"
    )
    for line in EXPORTS["mermaid"].make(hostile_flow(text), secrets=True).splitlines():
        assert allowed.fullmatch(line), line
        told = line.partition(": ")[2]
        assert not re.search(r";(?<!#\d;)(?<!#\d\d;)(?<!#\d{3};)(?<!#\d{4};)(?<!#\d{5};)(?<!#\d{6};)", told), line
        assert "<" not in told
        assert not re.search(r"\bend\b", told), line


def test_har_has_what_readers_of_1_2_need() -> None:
    log = json.loads(EXPORTS["har"].make(plain_flow(), secrets=False))["log"]
    assert log["version"] == "1.2"
    assert log["creator"].keys() == {"name", "version"}
    assert len(log["entries"]) == 7
    for entry in log["entries"]:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["startedDateTime"])
        assert entry.keys() >= {"time", "request", "response", "cache", "timings"}
        assert entry["timings"].keys() == {"send", "wait", "receive"}
        request, response = entry["request"], entry["response"]
        assert request.keys() >= {
            "method",
            "url",
            "httpVersion",
            "cookies",
            "headers",
            "queryString",
            "headersSize",
            "bodySize",
        }
        assert response.keys() == {
            "status", "statusText", "httpVersion", "cookies", "headers", "content", "redirectURL", "headersSize",
            "bodySize",
        }  # fmt: skip
        for pair in (*request["headers"], *request["queryString"], *response["headers"]):
            assert pair.keys() == {"name", "value"}
            assert isinstance(pair["value"], str)
    token = log["entries"][3]
    assert token["request"]["postData"]["params"][0] == {"name": "grant_type", "value": "authorization_code"}
    assert [each["name"] for each in token["_checks"]] == ["token.code", "token.code_verifier"]


@pytest.mark.parametrize("secrets", [True, False])
def test_what_is_loaded_again_gives_the_same_picture(secrets: bool) -> None:
    events = plain_flow()
    again = json_events.load(EXPORTS["json"].make(events, secrets=secrets))
    if secrets:
        assert again == events
    before, after = lay_out(events), lay_out(again)
    assert [(row.kind, row.start, row.end, row.text) for row in before.rows] == [
        (row.kind, row.start, row.end, row.text) for row in after.rows
    ]
    assert [(value.label, value.seen_by) for value in before.values] == [
        (value.label, value.seen_by) for value in after.values
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[]", "no flow"),
        ("[" * 100_000, "not JSON"),
        ('{"kind": "rolecall-flow", "schema": 1, "events": []}', "version 2"),
        ('{"kind": "rolecall-flow", "schema": 2, "events": []}', "between 1 and 2000"),
        ('{"kind": "rolecall-flow", "schema": 2, "events": [NaN]}', "not JSON"),
        ('{"kind": "rolecall-flow", "schema": 2, "events": [7]}', "Event 1 is none"),
        ("x" * (2 * 1024 * 1024 + 1), "longer than 2 MB"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        json_events.load(text)


@pytest.mark.parametrize("name", [*plain_flow()[3]])
@pytest.mark.parametrize("value", [None, 7, -1, "x", "<b>", [], [7], {}, {"a": {"hash": 7}}, True, float("1e308")])
def test_an_event_with_something_else_in_it_is_refused_or_drawn(name: str, value: Any) -> None:
    event = plain_flow()[3] | {name: value}
    text = json.dumps({"kind": "rolecall-flow", "schema": 2, "events": [event]})
    refusal = None
    try:
        events = json_events.load(text)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal.startswith("Event 1 ")
        return
    lay_out(events)
    for export in EXPORTS.values():
        export.make(events, secrets=False)


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=8, max_size=60).filter(lambda text: hash_of(text) and text.strip()))
def test_whatever_a_secret_is_the_mask_takes_it_away(text: str) -> None:
    secret = f"§{text}§"
    events = plain_flow()
    events[3]["form"]["code"] = mark(secret)
    events[3]["body"]["access_token"] = mark(secret, exp=1)
    for export in EXPORTS.values():
        made = export.make(events, secrets=False)
        assert secret not in made
        assert json.dumps(secret)[1:-1] not in made


def test_one_command_for_one_message() -> None:
    event = plain_flow()[6]
    assert curl.command(event).splitlines()[0].startswith("curl -i")
    assert "RESOURCE_SECRET" not in curl.command(event), "it showed no credentials"
    event["request_headers"] = {"authorization": {"scheme": "Basic", "client_id": "invoices-api"}}
    assert '-u invoices-api:"$RESOURCE_SECRET"' in curl.command(event)
