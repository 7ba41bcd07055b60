"""Exports of a flow are complete, correct, and harmless, and contain secrets only on request."""

from __future__ import annotations

import json
import re
import subprocess
from copy import deepcopy
from itertools import product
from math import gcd
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rolecall_lab.observer import svg
from rolecall_lab.observer.exports import EXPORTS, curl, json_events, masked
from rolecall_lab.observer.inspector import inspect
from rolecall_lab.observer.picture import lay_out
from rolecall_lab.observer.tokens import KeySet
from rolecall_lab.recording.flows import read_events
from support import small_services as recorded
from support.curl_script import with_fakes
from support.recorded_events import check, hash_of, mark, plain, plain_flow

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


@pytest.mark.parametrize("kind", EXPORTS)
def test_no_secret_is_in_it_unless_it_is_asked_for(kind: str) -> None:
    """RFC 9700 section 4.2: a shared file must not be of use to an attacker."""
    masked = EXPORTS[kind].make(plain_flow(), secrets=False)
    assert not [secret for secret in SECRETS if secret in masked]
    whole = EXPORTS[kind].make(plain_flow(), secrets=True)
    if kind != "mermaid":
        sent = SECRETS[:3] if kind == "curl" else SECRETS
        assert all(secret in whole for secret in sent)


def test_a_secret_that_a_later_message_repeats_is_wiped_there_too() -> None:
    """RFC 9700 section 4.2: the recorder knows a secret only in the exchange that marked it."""
    code, _, access, refresh = SECRETS
    signed = f"eyJhbGciOiJFUzI1NiJ9.eyJqdGkiOiJ4In0.{'s1gnature' * 5}"
    events = plain_flow()
    events[1]["path"] = f"/authorize/{access}"
    events[2]["body"] = {"error_description": f"the code {code} is not known", refresh: 1}
    events[3]["body"]["id_token"] = mark(signed, sub="x")
    events[4]["checks"] = [check("callback.code") | {"expected": code, "actual": [code]}]
    events[4]["changes"] = [{"store": "redis", "key": f"client:{refresh}", "change": "set"}]
    events[5]["request_headers"]["user-agent"] = f"x {refresh} {'s1gnature' * 5}"
    events[6] |= {"status": None, "failure": access}
    whole = deepcopy(events)
    for export in EXPORTS.values():
        made = export.make(events, secrets=False)
        assert not [secret for secret in (*SECRETS, signed, "s1gnature") if secret in made]
    assert events == whole, "the export does not change the events"
    assert masked(events)[5]["request_headers"]["user-agent"] == "x refr… eyJh…"


@pytest.mark.parametrize("word", ["authorization_server", "received", "location", "token.code", "parameters"])
def test_a_code_that_is_one_of_our_own_words_breaks_nothing(word: str) -> None:
    events = plain_flow()
    events[3]["form"]["code"] = mark(word)
    assert [each["to"] for each in masked(events)] == [each["to"] for each in events]
    for export in EXPORTS.values():
        assert export.make(events, secrets=False)
    assert "token.code" in EXPORTS["har"].make(events, secrets=False)


def test_a_recorded_flow_can_be_taken_away(
    small_services: recorded.SmallServices, store: redis.Redis, tmp_path: Path
) -> None:
    """Real events of the recorder, with all their members; each message is exported once."""
    small_services.flow()
    small_services.written()
    events = read_events(store)
    messages = [event for event in events if not event.get("shadowed")]
    assert len(messages) < len(events), "both ends of the back channel were recorded"
    secrets = [*recorded.SECRETS.values(), recorded.ACCESS_TOKEN]
    for export in EXPORTS.values():
        made = export.make(events, secrets=False)
        assert not [secret for secret in secrets if secret in made]
    assert recorded.ACCESS_TOKEN in EXPORTS["har"].make(events, secrets=True)
    for never in ("password", "client_secret", "resource_secret", "browser_cookie", "csrf_token"):
        assert not [kind for kind in EXPORTS if recorded.SECRETS[never] in EXPORTS[kind].make(events, secrets=True)]
    assert len(json.loads(EXPORTS["har"].make(events, secrets=True))["log"]["entries"]) == len(messages)
    calls = with_fakes(tmp_path, EXPORTS["curl"].make(events, secrets=True))
    assert len(calls) == len(messages)
    assert [call[-1].partition("?")[0] for call in calls] == [
        f"http://{each['host']}{each['path']}" for each in messages
    ]
    again = json_events.load(EXPORTS["json"].make(events, secrets=True)).events
    assert again == events
    assert [row.text for row in lay_out(again).rows] == [row.text for row in lay_out(events).rows]


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


def test_a_secret_stands_once_in_the_commands_and_clauses_beside_them() -> None:
    script = EXPORTS["curl"].make(plain_flow(), secrets=True)
    for name, value in (
        ("CODE", "code-a-01234"),
        ("ACCESS_TOKEN", "access-a-0123"),
        ("CODE_VERIFIER", "verifier-a-0123"),
    ):
        assert f"\n{name}={value}\n" in script
        assert script.count(value) == 1
        assert f'"${name}"' in script
    comments = [line for line in script.splitlines() if line.startswith("# 4")]
    assert comments == [
        "# 4  Client to Authorization server: response 200 "
        "(step 3: The client requests a token from the authorization server); checks: RFC 6749 section 4.1.3"
    ]


def test_what_is_masked_has_to_be_set_and_what_was_never_recorded_may_be(tmp_path: Path) -> None:
    script = EXPORTS["curl"].make(plain_flow(), secrets=False)
    assert ': "${CODE:?set it first; it begins with code…}"' in script
    missing = subprocess.run(["/bin/sh", "-c", script], env={}, capture_output=True, text=True, check=False)
    assert (missing.returncode != 0, "CODE: set it first" in missing.stderr, missing.stdout) == (True, True, "")
    names = re.findall(r'^: "\$\{([A-Z_]+):\?', script, re.MULTILINE)
    calls = with_fakes(tmp_path, "\n".join([*(f"{name}='{name} it was'" for name in names), script]))
    assert "code=CODE it was" in calls[3]
    events = plain_flow()
    events[1]["query"]["interaction"] = {"shown": "inte…", "hash": hash_of("interaction")}
    assert len(with_fakes(tmp_path, EXPORTS["curl"].make(events, secrets=True))) == 7
    assert '\n: "${INTERACTION:=}"\n' in EXPORTS["curl"].make(events, secrets=True)


@pytest.mark.parametrize("name", ["PATH", "path", "IFS", "HOME", "client_secret", "HIDDEN", "http_proxy", "É", "", "2"])
def test_no_name_that_was_sent_is_a_variable_that_a_shell_or_curl_knows(tmp_path: Path, name: str) -> None:
    """A loaded file may be from anyone, and so may the names in it."""
    events = plain_flow()
    events[3]["form"] = {"grant_type": "x", "hidden": {"hidden": True}, name or "-": mark("/tmp/elsewhere")}
    calls = with_fakes(tmp_path, EXPORTS["curl"].make(events, secrets=True))
    assert len(calls) == 7
    assert calls[3][:3] == ["-i", "-u", "tally:s3cret"]
    assert "hidden=h" in calls[3]
    script = EXPORTS["curl"].make(events, secrets=True)
    assigned = re.findall(r"^([A-Z_0-9]+)=", script, re.MULTILINE)
    assert {each for each in assigned if not each.startswith(("VALUE_", "ENCODED_"))} <= {
        "CODE", "CODE_VERIFIER", "ACCESS_TOKEN", "REFRESH_TOKEN",
    }  # fmt: skip


def kept(text: str) -> str:
    """Return the text as a process can receive it: without NUL and lone surrogates."""
    return text.encode(errors="replace").decode().replace("\x00", "")


def secret_everywhere(text: str) -> list[dict[str, Any]]:
    """Return a request whose secrets, parameters, and headers are this text or texts that contain it."""
    sent = plain_flow()[3]
    sent["query"] = {"code": mark(text), "state": plain(text), "again": [mark(f"1{text}"), text]}
    sent["form"] = {"code": mark(text), "code_verifier": mark(f"{text}2"), "scope": text}
    sent["request_headers"] = {"user-agent": text, "authorization": {"scheme": "Bearer", "token": mark(f"3{text}")}}
    sent["checks"] = [check(text, False, text)]
    return [sent]


def test_whatever_a_secret_is_it_arrives_as_it_was_sent(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Quotes, line breaks, dollar signs, backticks: `curl` receives exactly the recorded values."""

    @settings(max_examples=25, deadline=None)
    @given(
        st.text(st.sampled_from("'\"\\$`(){}~.-=&@%#;!* \t\r\n\x00\x1bé\ud800aC0"), max_size=24) | st.text(max_size=24)
    )
    @example("'; touch never; '")
    @example('"$(touch never)`touch never`${HOME}\\')
    @example("\n\r\ntouch never\n#")
    @example("\x00")
    @example("~")
    @example("")
    def sent(text: str) -> None:
        place = tmp_path_factory.mktemp("sent")
        [call] = with_fakes(place, EXPORTS["curl"].make(secret_everywhere(text), secrets=True))
        address = urlsplit(call.pop())
        assert address.geturl().startswith("http://localhost/token?")
        assert parse_qsl(address.query, keep_blank_values=True, strict_parsing=True) == [
            (name, each.encode(errors="replace").decode())
            for name, each in (("code", text), ("state", text), ("again", f"1{text}"), ("again", text))
        ]
        text = kept(text)
        assert call == [
            "-i",
            "-H", f"user-agent: {text}", "-H", f"authorization: Bearer 3{text}",
            "--data-urlencode", f"code={text}", "--data-urlencode", f"code_verifier={text}2",
            "--data-urlencode", f"scope={text}",
        ]  # fmt: skip
        assert {each.name for each in place.iterdir()} == {"bin", "said", "flow.sh"}

    sent()


@pytest.mark.parametrize("text", [each for each in HOSTILE if len(each) < 1000], ids=lambda text: ascii(text[:20]))
def test_the_commands_run_nothing_else(tmp_path: Path, text: str) -> None:
    calls = with_fakes(tmp_path, EXPORTS["curl"].make(hostile_flow(text), secrets=True))
    assert len(calls) == 7
    assert all(call[0] == "-i" for call in calls)
    assert {each.name for each in tmp_path.iterdir()} == {"bin", "said", "flow.sh"}
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/[1-3]/{a,b}", "http://localhost/%5B1-3%5D/%7Ba,b%7D"),
        ("/a b#c?d", "http://localhost/a%20b%23c%3Fd"),
        ("/a%20b", "http://localhost/a%20b"),
        ("/é…", "http://localhost/%C3%A9%E2%80%A6"),
    ],
)
def test_a_path_is_one_address(path: str, url: str) -> None:
    """RFC 3986 section 2.1; curl expands brackets and braces to several URLs."""
    events = plain_flow()
    events[0]["path"] = path
    assert curl.command(events[0]).split()[-1].strip("'") == url
    assert json.loads(EXPORTS["har"].make(events, secrets=False))["log"]["entries"][0]["request"]["url"] == url


def test_a_host_in_brackets_is_one_address_as_well() -> None:
    event = plain_flow()[4] | {"host": "[::1]:8000"}
    assert curl.command(event).split() == ["curl", "-i", "\\", "-g", "\\", "'http://[::1]:8000/invoices'"]


def test_nobody_waits_for_the_body_of_a_head() -> None:
    """RFC 9110 section 9.3.2: responses to HEAD do not have a body."""
    assert curl.command(plain_flow()[4] | {"method": "HEAD"}).split()[:4] == ["curl", "-i", "\\", "--head"]


def test_a_client_id_with_a_colon_is_encoded(tmp_path: Path) -> None:
    """RFC 6749 section 2.3.1."""
    event = plain_flow()[3]
    event["request_headers"] = {"authorization": {"scheme": "Basic", "client_id": "https://a b"}}
    event["form"] = {"a&b=c": "1"}
    [call] = with_fakes(tmp_path, EXPORTS["curl"].make([event], secrets=True))
    assert call == ["-i", "-u", "https%3A%2F%2Fa+b:s3cret", "--data-urlencode", "a%26b%3Dc=1", "http://localhost/token"]


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
    again = json_events.load(EXPORTS["json"].make(events, secrets=secrets)).events
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
        ("[]", "not a flow"),
        ("[" * 100_000, "not JSON"),
        ('{"kind": "rolecall-flow", "schema": 1, "events": []}', "version 3"),
        ('{"kind": "rolecall-flow", "schema": 2, "events": []}', "between 1 and 2000"),
        ('{"kind": "rolecall-flow", "schema": 2, "events": [NaN]}', "not JSON"),
        ('{"kind": "rolecall-flow", "schema": 2, "events": [7]}', "Event 1 is not an object"),
        ("x" * (2 * 1024 * 1024 + 1), "longer than 2 MB"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        json_events.load(text)


@pytest.mark.parametrize("value", [None, 7, -1, "x", "<b>", [], [7], {}, {"a": {"hash": 7}}, True, float("1e308")])
def test_an_event_with_something_else_in_it_is_refused_or_drawn(value: Any) -> None:
    for name in plain_flow()[3]:
        event = plain_flow()[3] | {name: value}
        text = json.dumps({"kind": "rolecall-flow", "schema": 2, "events": [event]})
        refusal = None
        try:
            events = json_events.load(text).events
        except ValueError as error:
            refusal = str(error)
        if refusal is not None:
            assert refusal.startswith("Event 1 "), name
            continue
        lay_out(events)
        for export in EXPORTS.values():
            export.make(events, secrets=False)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all members and elements of a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, each in inside for way in [(*path, key), *places(each, (*path, key))]]


class NoKeys(KeySet):
    def __init__(self) -> None:
        pass

    def verdict(self, *_: Any) -> tuple[bool | None, str]:
        return None, "there are no keys"


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else []


STRANGE = [
    None, 7, -1, True, "", "x", [], [None], {}, 10**400, float("inf"), nested(60), nested(200), {"error": {}},
    {"hash": 7}, {"hash": "h", "shown": 7}, {"hash": "h", "shown": None}, {"hash": "h", "shown": ""},
    {"hash": "h", "value": 7}, {"hash": "h", "value": "longer than that"}, {"hash": "h", "shown": "s", "value": True},
    {"hash": "h", "shown": "", "value": "longer than that"}, {"hash": "h", "shown": "s", "unverified_claims": 7},
    {"hash": "h", "shown": "s", "unverified_claims": {"exp": 10**400}}, {"url": 7, "parameters": 7},
    {"scheme": "basic", "client_id": {}}, {"scheme": 7, "token": 7},
]  # fmt: skip
# with a hash like the recorder's, each of them counts as a value to follow
STRANGE += [each | {"hash": "0" * 16} for each in STRANGE if isinstance(each, dict) and each.get("hash") == "h"]


PLACES = [way for way in places(plain_flow()) if way[0] in {3, 5} and way[1:]]
SAMPLE = 7
"""`make test` tries every seventh combination. As 7 is coprime to the number of values, it tries each value."""


@pytest.mark.parametrize("first", [0, *(pytest.param(each, marks=pytest.mark.long) for each in range(1, SAMPLE))])
def test_whatever_a_file_holds_is_refused_or_shown(first: int) -> None:
    assert gcd(SAMPLE, len(STRANGE)) == 1
    for way, strange in [*product(PLACES, STRANGE)][first::SAMPLE]:
        events = plain_flow()
        place: Any = events
        for key in way[:-1]:
            place = place[key]
        place[way[-1]] = strange
        text = json.dumps({"kind": "rolecall-flow", "schema": 2, "events": events}).replace("Infinity", "1e999")
        loaded, refusal = None, ""
        try:
            loaded = json_events.load(text).events
        except ValueError as error:
            refusal = str(error)
        if loaded is None:
            assert re.match(r"Event [1-7] |The file ", refusal), (way, strange)
            continue
        picture = lay_out(loaded)
        assert svg.file(picture, "a file").encode()
        assert all(inspect(picture, number, NoKeys()) for number in range(1, 8))
        for kind, export in EXPORTS.items():
            for secrets in (True, False):
                made = export.make(loaded, secrets=secrets)
                assert made.encode()
                if kind in {"har", "json"}:
                    json.loads(made, parse_constant=pytest.fail)


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
    assert "RESOURCE_SECRET" not in curl.command(event), "the command does not contain the credentials"
    event["request_headers"] = {"authorization": {"scheme": "Basic", "client_id": "invoices-api"}}
    assert '-u invoices-api:"$RESOURCE_SECRET"' in curl.command(event)
