"""The catalog's flows in the picture, in the inspector, and in the terminal."""

from __future__ import annotations

import dataclasses
import re
from contextlib import closing

import pytest

from rolecall.http import HttpClient
from rolecall.storage import connect
from rolecall_lab.catalog.entry import Entry
from rolecall_lab.catalog.flows import REFUSED
from rolecall_lab.observer import svg
from rolecall_lab.observer.inspector import inspect
from rolecall_lab.observer.picture import Picture, lay_out
from rolecall_lab.observer.tokens import KeySet
from rolecall_lab.recording.flows import read_events
from rolecall_lab.walker import Walker
from support.stack import Stack, lab_command, wait_until
from support.tally_pages import connected

CLAUSE = re.compile(r"(RFC \d{4}|OpenID Connect \w+) sections? [\d.]+")


@pytest.fixture(scope="module")
def alice(quiet_stack: Stack) -> Walker:
    return connected(quiet_stack)[0]


def run(walker: Walker, quiet_stack: Stack, name: str) -> None:
    """Press the flow's button, and give consent if the page asks for it."""
    page = walker.open(f"{quiet_stack.client}/flows/{name}")
    page = walker.follow(walker.submit(page, f"{quiet_stack.client}/flows/{name}/start"))
    if 'id="consent-allow"' in page.text:
        walker.follow(walker.submit(page, decision="allow"))


def picture(quiet_stack: Stack, name: str) -> Picture:
    """Return the picture of the newest run, as far as it has been recorded."""
    with closing(connect(quiet_stack.redis_url)) as client:
        events = read_events(client)
    begun = [event["flow"] for event in events if event["path"] == f"/flows/{name}/start"]
    return lay_out([event for event in events if begun and event["flow"] == begun[-1]])


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry.name)
def test_whoever_refuses_names_the_clause(quiet_stack: Stack, alice: Walker, entry: Entry) -> None:
    """Each red mark has a clause, and is on the lane of the party that refused the message."""
    quiet_stack.call("DELETE", f"{quiet_stack.client}/_lab/events", None)
    run(alice, quiet_stack, entry.name)
    wait_until(lambda: any(row.refused for row in picture(quiet_stack, entry.name).rows))
    refused = [row for row in picture(quiet_stack, entry.name).rows if row.refused]
    for row in refused:
        if row.kind == "checks":
            assert all(CLAUSE.match(check["clause"]) for check in row.checks if not check["passed"])
        else:
            assert CLAUSE.match(row.detail), row
    lanes = {"client"} if "bad_id_token" in entry.expected else {"authorization_server", "resource_server"}
    assert refused[0].start in lanes


def test_a_consent_that_is_denied_is_refused_by_a_check(quiet_stack: Stack) -> None:
    """RFC 6749 section 4.1.2.1."""
    bob = Walker()
    page = bob.follow(bob.submit(bob.open(quiet_stack.client), f"{quiet_stack.client}/connect"))
    page = bob.follow(bob.submit(page, username="bob", password="builder-lab"))
    bob.follow(bob.submit(page, decision="deny"))

    def failed() -> list[str]:
        checks = (check for event in quiet_stack.events() for check in event["checks"])
        return [check["name"] for check in checks if not check["passed"] and check["actual"] == "denied"]

    wait_until(failed)
    assert {*failed()} == {"engine.access_denied"}


def test_what_a_client_signed_is_right(quiet_stack: Stack, alice: Walker) -> None:
    """RFC 7523 section 3, RFC 9101 section 6.2: with the key that the client registered in the same flow."""
    run(alice, quiet_stack, "signed_client")
    keys = KeySet(quiet_stack.auth, HttpClient())

    wait_until(
        lambda: any(event["path"] == "/userinfo" for event in picture(quiet_stack, "signed_client").messages), 30
    )
    whole = picture(quiet_stack, "signed_client")
    inspected = (inspect(whole, number, keys) for number in range(1, len(whole.messages) + 1))
    judged = {(token.name, token.signed) for each in inspected if each for token in each.tokens}
    assert judged >= {(name, True) for name in ("request", "client_assertion", "id_token", "access_token")}
    assert {signed for _, signed in judged} == {True}


def test_a_change_is_told_to_its_end(quiet_stack: Stack, alice: Walker) -> None:
    """The note and the arrow to the store end with the kind of change and the lifetime."""
    for name in ("replayed_code", "refresh_token", "published_keys", "form_post"):
        run(alice, quiet_stack, name)
    expected = {
        ("code", "set"), ("interaction", "set"),
        ("refresh_token", "rotated"), ("authorization", "tokens given"), ("published", "set"),
    }  # fmt: skip

    def changes() -> set[tuple[str, str]]:
        all_changes = [each for event in quiet_stack.events() for each in event["changes"]]
        return {(str(each["key"]).split(":")[-2], each["change"]) for each in all_changes}

    wait_until(lambda: changes() >= expected)
    wait_until(lambda: "code replayed" in str(picture(quiet_stack, "replayed_code").messages))
    for event in quiet_stack.events():
        ends = [
            f"{each['change']}, {each['seconds']:g} s" if each.get("seconds") else each["change"]
            for each in event["changes"]
        ]
        drawn = re.findall(r'<text class="stored"[^>]*>([^<]*)<', svg.file(lay_out([event]), "a file"))
        assert len(drawn) == len(ends)
        for text, end in zip(drawn, ends, strict=True):
            assert text.endswith(f"… {end}"), text
            assert not text.startswith("…"), "the start of the key is not cut off"


def test_the_terminal_shows_a_refused_flow_as_well(quiet_stack: Stack) -> None:
    """`make demo FLOW=wrong_verifier`."""
    other = dataclasses.replace(quiet_stack, environ={**quiet_stack.environ, "FLOW": "wrong_verifier"})
    said = lab_command(other, "demo")
    assert said.returncode == 0, said.stderr
    assert re.search(r"^ +✕ token\.code_verifier +RFC 7636 section 4\.6$", said.stdout, re.MULTILINE)
    assert re.search(r"400 invalid_grant .*RFC 7636 section 4\.6", said.stdout)
    assert said.stdout.endswith("Refused as expected: token.code_verifier (RFC 7636 section 4.6)\n")
    unknown = lab_command(dataclasses.replace(quiet_stack, environ={**quiet_stack.environ, "FLOW": "nothing"}), "demo")
    assert unknown.returncode == 1
    assert "unknown flow nothing" in unknown.stderr
