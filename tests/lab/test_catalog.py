"""The catalog: every flow is listed, and each one ends as its entry says."""

from __future__ import annotations

import inspect
import re
from html import unescape

import pytest

from rolecall_client.flows import FLOWS
from rolecall_client.flows.sign_in import AGAIN
from rolecall_lab.catalog.entries import ENTRIES, GROUPS
from rolecall_lab.catalog.entry import CODE, NO_RESPONSE, Entry, file_name
from rolecall_lab.catalog.flows import REFUSED, REGISTRATION, SIGN_IN
from rolecall_lab.recording.rules import RANDOM
from rolecall_lab.walker import Page, Walker, connect
from support.stack import Stack, wait_until
from support.tally import Tally
from support.tally_pages import statuses

OF_LAB = [*REFUSED, *SIGN_IN, *REGISTRATION]
WORKS = [entry for entry in ENTRIES.values() if entry.start is not None]
ENDS = {
    "authorization_code": "/invoices",
    "ask_introspection": "/invoices?check=introspection&run=ask_introspection",
    "ask_jwt": "/invoices?check=jwt&run=ask_jwt",
    "refresh_token": "/invoices",
    "revoke": "/invoices?check=both",
    "disconnect": "/",
    "sign_in": "/me",
    "connect_and_sign_in": "/invoices",
    "sign_in_silent": "/me",
    "sign_in_recent": "/me",
    "sign_in_login": "/me",
    "sign_in_choose": "/me",
}
"""The path on which each of the client's flows ends."""
ASKED_WHO = {"sign_in_login", "sign_in_choose"}
"""Flows that show the sign-in page even to a user who is signed in."""
TERMS = {
    "acr", "aud", "authorization", "claims", "client", "code", "exp", "grant", "iss", "jwt", "key", "kid", "nonce",
    "openid", "scope", "signatures", "sub", "token",
}  # fmt: skip
"""Terms of the specifications; every title starts with one of them, or with a parameter."""
NEW_EACH_TIME = {entry.name for entry in OF_LAB if entry.expected[:2] == ("201", CODE)}
"""Flows that register a new client, for which no consent exists yet."""


@pytest.fixture(scope="module")
def alice(quiet_stack: Stack) -> Walker:
    """Alice's browser: she is signed in at the server, and has allowed Tally to sign her in and to get her invoices."""
    walker = Walker()
    connect(walker, quiet_stack.client, "alice", "wonderland-lab")
    page = start(walker, quiet_stack, "sign_in")
    assert walker.follow(walker.submit(page, decision="allow")).url == f"{quiet_stack.client}/me"
    elsewhere = Walker()
    elsewhere.submit(elsewhere.open(f"{quiet_stack.auth}/sign-in"), username="alice", password="wonderland-lab")
    page = start(elsewhere, quiet_stack, "connect_and_sign_in")
    assert elsewhere.follow(elsewhere.submit(page, decision="allow")).url == f"{quiet_stack.client}/invoices"
    return walker


def start(walker: Walker, quiet_stack: Stack, name: str) -> Page:
    """Press a flow's button, and return the page that it leads to."""
    page = walker.open(f"{quiet_stack.client}/flows/{name}")
    return walker.follow(walker.submit(page, f"{quiet_stack.client}/flows/{name}/start"))


def signed_in(walker: Walker, page: Page) -> Page:
    """Sign in as Alice if this is the sign-in page; return the next page."""
    if 'id="login-submit"' not in page.text:
        return page
    return walker.follow(walker.submit(page, username="alice", password="wonderland-lab"))


def came(page: Page) -> list[tuple[str, str]]:
    """Return the tag (whether the outcome is as expected) and the text of each actual outcome on the page."""
    cells = re.findall(r'Actual: </span><span class="tag (\w+)">(.*?)</span>', page.text)
    return [(colour, unescape(re.sub("<.*?>", "", text))) for colour, text in cells]


def words(entry: Entry) -> list[str]:
    """Return the expected outcomes in the words of the page."""
    return [{CODE: "a code", NO_RESPONSE: "no response"}.get(each, each) for each in entry.expected]


def test_the_recorder_takes_no_name_of_a_flow_for_a_secret() -> None:
    """Otherwise it would shorten the path of the flow, and the observer could not name the flow."""
    assert not [name for name in ENTRIES if RANDOM.search(name)]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_run_for_real_it_ends_as_it_has_to(quiet_stack: Stack, alice: Walker, entry: Entry) -> None:
    """The clause is shown next to each entry (`RFC ...`). Alice has given her consent before."""
    walker = Walker()
    if entry.needs == "connection":
        connect(walker, quiet_stack.client, "alice", "wonderland-lab")
    elif entry.needs == "sign-in":
        assert signed_in(walker, start(walker, quiet_stack, "sign_in")).url == f"{quiet_stack.client}/me"
    else:
        walker.submit(walker.open(f"{quiet_stack.auth}/sign-in"), username="alice", password="wonderland-lab")
    ended = start(walker, quiet_stack, entry.name)
    assert ('id="login-submit"' in ended.text) == (entry.name in ASKED_WHO)
    if entry.name == "sign_in_choose":
        assert "Continue as <bdi>alice</bdi>" in ended.text
    ended = signed_in(walker, ended)
    assert ('id="consent-allow"' in ended.text) == (entry.name in NEW_EACH_TIME)
    if entry.name in NEW_EACH_TIME:
        ended = walker.follow(walker.submit(ended, decision="allow"))
    if entry.start is not None:
        assert ended.url == quiet_stack.client + ENDS[entry.name]
        assert ended.status == 200
    elif NO_RESPONSE in entry.expected:
        assert ended.url.startswith(f"{quiet_stack.auth}/authorize?")
        assert ended.status == 400
        assert "not registered" in ended.text
    else:
        assert ended.url.startswith(f"{quiet_stack.client}/flows/{entry.name}")
        assert ended.status == 200
    page = walker.open(f"{quiet_stack.client}/flows/{entry.name}")
    assert came(page) == [("yes", each) for each in words(entry)]
    assert '<span class="tag yes">as expected</span>' in page.text
    listed = _row(walker.open(f"{quiet_stack.client}/flows").text, entry.title)
    assert 'class="result expected" title="Last run: as expected"' in listed
    assert f'href="{quiet_stack.observer}/of/' in listed


def test_the_flows_of_the_lab_leave_the_connection_as_it_is(quiet_stack: Stack, alice: Walker) -> None:
    def held() -> list[str]:
        page = alice.open(f"{quiet_stack.client}/invoices?check=both")
        assert statuses(page) == ["200", "200"]
        return re.findall(r"<dt>(?:Access|Refresh) token</dt><dd><code>(.*?)</code>", page.text)

    before = held()
    for entry in OF_LAB:
        start(alice, quiet_stack, entry.name)
    assert held() == before


def test_what_a_flow_was_given_for_itself_it_gives_back(quiet_stack: Stack, alice: Walker) -> None:
    """RFC 7009 section 2.1: the client does not keep the token, so it revokes it."""
    page = start(alice, quiet_stack, "token_in_query")
    assert "/revoke" not in page.text, "the revocation is not part of the flow"

    def given_back() -> bool:
        received = [event for event in quiet_stack.events() if event["direction"] == "received"]
        asked = [event for event in received if event["path"] == "/invoices" and "access_token" in event["query"]]
        revoked = {event["flow"]: event["status"] for event in received if event["path"] == "/revoke"}
        return bool(asked) and revoked.get(asked[-1]["flow"]) == 200

    wait_until(given_back)
    assert "Last run" not in _row(alice.open(f"{quiet_stack.client}/flows").text, ENTRIES["disconnect"].title), (
        "the flow only cleaned up; no user ran it"
    )


def test_every_flow_is_listed_with_its_clause(quiet_stack: Stack) -> None:
    page = Walker().open(f"{quiet_stack.client}/flows")
    assert page.status == 200
    for entry in ENTRIES.values():
        row = _row(page.text, entry.title)
        assert entry.flow.specification in row
        group = next(entries for entries in GROUPS.values() if entry in entries)
        assert entry.summary in (row if len({each.summary for each in group}) > 1 else unescape(page.text))
        expected = "works" if not entry.is_refused else entry.expected[entry.first_refusal]
        label = expected.replace(NO_RESPONSE, "error page, no redirect")
        assert f'<span class="tag {"no" if entry.is_refused else "yes"}">{label}</span>' in row
        assert f'href="/flows/{entry.name}#source"' in row
        assert f'href="/flows/{entry.name}"' in row
        assert f'action="/flows/{entry.name}/start"' in row or f"requires a {entry.needs}" in re.sub("<.*?>", "", row)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_a_page_shows_the_source_and_how_it_differs(quiet_stack: Stack, entry: Entry) -> None:
    page = Walker().open(f"{quiet_stack.client}/flows/{entry.name}")
    source = _block(page.text, f"Source of {entry.file}")
    assert [line[5:] for line in source.splitlines()] == entry.source()
    assert [int(line[:3]) for line in source.splitlines()] == [*range(1, len(entry.source()) + 1)]
    if entry.name == "authorization_code" or entry.own_flow is not None:
        assert "Differences from" not in page.text
        return
    plain = file_name(entry.base)
    further = f"/flows/{plain.removesuffix('.py')}#differences"
    assert (further in page.text) == (plain != "authorization_code.py")
    assert (
        further == "/flows/authorization_code#differences"
        or Walker().open(f"{quiet_stack.client}{further}").status == 200
    )
    differences = _block(page.text, f"Differences from {plain}").splitlines()
    if entry.module is entry.base:
        again = AGAIN[entry.name.removeprefix("sign_in_")]
        assert again
        assert differences[:2] == [f"--- {plain}", f"+++ {plain}, started as {entry.name}"]
        assert differences[3:] == [f'+            "{name}": "{text}",' for name, text in again.items()]
        return
    assert differences[:2] == [f"--- {plain}", f"+++ {entry.file}"]
    assert any(line.startswith("+    name=") for line in differences)


def test_each_of_the_clients_flows_is_in_the_catalog() -> None:
    """The reverse holds too. A flow that is added later needs an entry."""
    assert {entry.flow.name for entry in WORKS} == FLOWS.keys()
    assert all(entry.flow is FLOWS[entry.flow.name] for entry in WORKS)
    ways = {entry.name.removeprefix("sign_in").lstrip("_") for entry in WORKS if entry.flow.name == "sign_in"}
    assert ways == AGAIN.keys()


def test_a_difference_is_the_difference_alone() -> None:
    """Neither the position of a step that both flows have nor the functions that a step calls are a difference."""
    changes = ENTRIES["no_pkce"].differences()
    added = [line.strip("+ ") for change, line in changes if change == "added"]
    assert "authorization_code.authorization_request(context), code_challenge=None, code_challenge_method=None" in added
    assert "return with_parameters(authorization_code.token_request(context), code_verifier=None)" in added
    removed = [line for change, line in changes if change == "removed"]
    assert all(
        line.startswith("-    ") and line.partition("=")[0].strip("- ") in {"name", "title", "specification"}
        for line in removed
    ), removed
    assert not [line for _, line in changes if "hmac" in line], "both flows validate state and iss"


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_a_difference_has_no_line_that_another_file_defines(entry: Entry) -> None:
    """A function that a flow imports unchanged is only named in its `FLOW`."""
    if entry.parameters:
        return
    changes = [(change, line[1:]) for change, line in entry.differences()]
    assert {line for change, line in changes if change == "added"} <= {*entry.source()}
    assert {line for change, line in changes if change == "removed"} <= {*inspect.getsource(entry.base).splitlines()}


def test_the_difference_of_a_replayed_code_is_the_second_request_and_its_use() -> None:
    added = [line for change, line in ENTRIES["replayed_code"].differences() if change == "added"]
    functions = [line.removeprefix("+def ").partition("(")[0] for line in added if line.startswith("+def ")]
    assert functions == ["replay_response", "resource_request"]


@pytest.mark.parametrize("title", [entry.title for entry in ENTRIES.values()])
def test_a_title_starts_with_the_technical_name(title: str) -> None:
    start, _, explanation = title.partition(" (")
    assert not set("_=") & set(explanation), f"{explanation} belongs to the start of the title"
    assert set("_=") & set(start) or TERMS & {*re.split(r"\W", start.lower())}


def test_the_flows_of_the_lab_have_the_clients_form() -> None:
    assert not {entry.flow.name for entry in OF_LAB} & {entry.flow.name for entry in WORKS}
    for entry in OF_LAB:
        assert entry.flow.name == entry.module.__name__.rpartition(".")[2]
        clause = r"(RFC \d{4}|OpenID Connect Core|OAuth 2.0 Form Post Response Mode) section [\d.]+"
        assert re.fullmatch(rf".+ \({clause}(, {clause})?\)\.", str(entry.module.__doc__))
        assert re.fullmatch(clause, entry.clause)
        assert entry.summary.endswith(".")
        assert entry.description.endswith(".")
        for step in entry.flow.steps:
            assert step.build.__doc__
            assert step.handle.__doc__
            assert 2 <= step.diagram <= 4


def test_a_flow_that_the_browser_left_is_not_over(quiet_stack: Stack) -> None:
    walker = Walker()
    page = walker.open(f"{quiet_stack.client}/flows/wrong_verifier")
    asked = walker.follow(walker.submit(page, f"{quiet_stack.client}/flows/wrong_verifier/start"))
    assert "login-submit" in asked.text
    page = walker.open(f"{quiet_stack.client}/flows/wrong_verifier")
    assert came(page) == [("open", "no response")]
    assert "in progress" in page.text
    page = walker.follow(walker.submit(asked, username="bob", password="builder-lab"))
    page = walker.follow(walker.submit(page, decision="deny"))
    assert page.url == f"{quiet_stack.client}/flows/wrong_verifier#came"
    assert came(page) == [("no", "access_denied")]
    assert "not as expected" in page.text


def test_only_runs_that_the_catalog_starts_are_shown(quiet_stack: Stack) -> None:
    """A token that the user has revoked on Tally's pages does not turn the API's 401 into a run that failed."""
    walker = Walker()
    page = connect(walker, quiet_stack.client, "alice", "wonderland-lab")
    walker.follow(walker.submit(page, f"{quiet_stack.client}/refresh"))
    revoked = walker.follow(walker.submit(page, f"{quiet_stack.client}/revoke"))
    assert "401" in revoked.text
    for name in ("authorization_code", "ask_introspection", "ask_jwt", "refresh_token", "revoke"):
        assert came(walker.open(f"{quiet_stack.client}/flows/{name}")) == []
    assert "not as expected" not in walker.open(f"{quiet_stack.client}/flows").text
    start(walker, quiet_stack, "ask_introspection")
    page = walker.open(f"{quiet_stack.client}/flows/ask_introspection")
    assert came(page) == [("no", "401 invalid_token")]


def test_an_answer_for_another_browser_is_refused(quiet_stack: Stack, alice: Walker) -> None:
    """RFC 6749 section 10.12."""
    page = alice.open(f"{quiet_stack.client}/flows/replayed_code")
    page = alice.submit(page, f"{quiet_stack.client}/flows/replayed_code/start")
    while page.location is not None and not page.location.startswith(f"{quiet_stack.client}/callback"):
        page = alice.open(page.location)
    assert page.location is not None
    page_of_another = Walker().open(page.location)
    assert page_of_another.status == 400
    assert "does not match a request from this browser" in page_of_another.text
    repeated = alice.open(f"{page.location}&code=another")
    assert repeated.status == 400, "RFC 6749 section 3.1: no parameter may be repeated"
    assert alice.open(page.location).status == 303, "neither response has consumed the code"


def test_a_flow_that_needs_a_connection_says_so(quiet_stack: Stack) -> None:
    walker = Walker()
    for entry in WORKS:
        page = walker.open(f"{quiet_stack.client}/flows/{entry.name}")
        assert ("Tally has none" in page.text) == (entry.needs == "connection")
        assert ("requires a user who is signed in" in page.text) == (entry.needs == "sign-in")
        assert ('id="start"' in page.text) != bool(entry.needs)
    page = walker.open(f"{quiet_stack.client}/flows/implicit")
    for entry in WORKS:
        ended = walker.follow(walker.submit(page, f"{quiet_stack.client}/flows/{entry.name}/start"))
        assert ended.status in {200, 403}
        assert ended.text.count("<h1") == 1


@pytest.mark.parametrize("name", ["implicit", "refresh_token", "disconnect"])
def test_a_start_from_elsewhere_does_nothing(quiet_stack: Stack, alice: Walker, name: str) -> None:
    refused = alice.open(f"{quiet_stack.client}/flows/{name}/start", {"csrf_token": "of another quiet_stack"})
    assert refused.status == 400
    assert "has expired" in refused.text
    assert alice.open(f"{quiet_stack.client}/invoices").status == 200


def test_there_is_no_other_flow(quiet_stack: Stack, alice: Walker) -> None:
    for name in ("nothing", "ask", "__init__", "..%2Fentry", "x" * 3000):
        page = alice.open(f"{quiet_stack.client}/flows/{name}")
        assert page.status == 404
        assert "Page not found" in page.text
    page = alice.open(f"{quiet_stack.client}/flows")
    assert alice.submit(page, f"{quiet_stack.client}/flows/nothing/start").status == 404
    assert alice.open(f"{quiet_stack.client}/flows/implicit/start").status == 405


def test_no_page_and_no_log_holds_a_token(quiet_stack: Stack, alice: Walker) -> None:
    for entry in OF_LAB:
        page = start(alice, quiet_stack, entry.name)
        assert not re.search(r"eyJ[\w-]+\.", page.text), entry.name
    for service in ("client-webapp", "auth-service", "resource-service"):
        assert not re.search(r"eyJ[\w-]+\.|access_token=", quiet_stack.log(service))


def test_the_clients_pages_lead_there_in_the_lab_alone(quiet_stack: Stack, tally: Tally) -> None:
    """The client in production has neither the pages nor the flows."""
    assert f'<a href="{quiet_stack.client}/flows">Catalog</a>' in Walker().open(f"{quiet_stack.client}/").text
    own = tally.app.test_client()
    assert "/flows" not in own.get("/").text
    for path in ("/flows", "/flows/implicit"):
        assert own.get(path).status_code == 404
    assert own.post("/flows/implicit/start").status_code in {400, 404}
    assert not {entry.flow.name for entry in OF_LAB} & tally.services.runner.flows.keys()


def _row(text: str, title: str) -> str:
    rows = re.findall(r'(?s)<li class="entry".*?</li>', text)
    return next(unescape(row) for row in rows if f">{title}</a>" in unescape(row))


def _block(text: str, label: str) -> str:
    found = re.search(rf'(?s)<pre[^>]* aria-label="{label}"><code>(.*?)</code></pre>', text)
    assert found
    return unescape(re.sub("<.*?>", "", found[1]))
