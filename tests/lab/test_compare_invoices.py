"""The lab's additions to Tally's page with the invoices: the choice of the validator, and the API's report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rolecall import checks
from rolecall_client.times import distance, moment
from rolecall_lab.compare.sentences import SENTENCES, check_result
from support.tally import API, INVOICE, TOKENS, Tally

ROOT = Path(__file__).parents[2]


def test_both_ways_send_the_token_in_the_header_only(lab_tally: Tally) -> None:
    browser = lab_tally.browser()
    browser.connect()
    browser.client.get("/invoices?check=both")
    asked = lab_tally.http.to(f"{API}/invoices")
    assert [headers["Rolecall-Validator"] for _, _, headers, _ in asked] == ["introspection", "jwt"]
    for _, url, headers, form in asked:
        assert headers["Authorization"] == f"Bearer {TOKENS['access_token']}"
        assert not form
        assert "?" not in url


def test_what_the_resource_server_did_is_shown(lab_tally: Tally) -> None:
    report = (
        '{"validator":"jwt","milliseconds":0.7,"calls":[{"method":"POST","url":"/introspect","status":200,'
        '"milliseconds":0.5}],"checks":[{"name":"token.aud","passed":true,"expected":"a","actual":"<i>b</i>",'
        '"clause":"RFC 9068 section 4"}]}'
    )
    lab_tally.http.answers[f"{API}/invoices"] = (200, {"invoices": []}, {"rolecall-checks": report})
    browser = lab_tally.browser()
    browser.connect()
    page = browser.client.get("/invoices").text
    assert "token.aud" in page
    assert "&lt;i&gt;b" in page
    assert "You have no invoices yet" in page
    for broken in ("{broken", "[]", '{"checks": 5, "calls": [1]}'):
        lab_tally.http.answers[f"{API}/invoices"] = (200, {"invoices": []}, {"rolecall-checks": broken})
        assert browser.client.get("/invoices").status_code == 200


def test_the_way_of_checking_is_chosen_without_leaving_the_page(lab_tally: Tally) -> None:
    body = {"invoices": [{**INVOICE, "supplier": "On page 3"}], "pages": 8}
    lab_tally.http.answers[f"{API}/invoices?page=3"] = (200, body, {})
    browser = lab_tally.browser()
    browser.connect()
    page = browser.client.get("/invoices?page=3").text
    form = page[page.index('action="/invoices"') : page.index("</form>", page.index('action="/invoices"'))]
    assert '<input type="hidden" name="page" value="3">' in form
    assert 'href="/invoices?check=introspection&amp;page=4#list"' in page
    page = browser.client.get("/invoices?page=3&check=both").text
    assert page.count("On page 3") == 1
    assert 'href="/invoices?check=both&amp;page=2#list"' in page


def test_the_token_actions_keep_the_way_or_ask_both(lab_tally: Tally) -> None:
    browser = lab_tally.browser()
    browser.connect()
    assert browser.press("/refresh", "/invoices", check="jwt").location == "/invoices?check=jwt"
    assert browser.press("/revoke", "/invoices").location == "/invoices?check=both"
    assert "with both methods" in browser.client.get("/invoices?check=both").text


@pytest.mark.parametrize(
    ("statuses", "status"), [((200, 401), 200), ((401, 200), 200), ((401, 503), 503), ((401, 401), 502)]
)
def test_one_good_response_is_enough(
    lab_tally: Tally, monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, int], status: int
) -> None:
    browser = lab_tally.browser()
    browser.connect()
    send, left = lab_tally.http.send, list(statuses)

    def sending(method: str, url: str, **arguments: object) -> object:
        lab_tally.http.answers[url] = (left.pop(0), {"invoices": []}, {})
        return send(method, url, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lab_tally.http, "send", sending)
    page = browser.client.get("/invoices?check=both")
    assert page.status_code == status
    assert re.findall(r'<span class="tag (?:yes|no|open)">(\d+)', page.text) == [str(each) for each in statuses]
    assert ("The results differ" in page.text) is (statuses[0] != statuses[1])


def test_the_parameter_is_described(lab_tally: Tally) -> None:
    paths = lab_tally.app.test_client().get("/openapi.json").json["paths"]  # type: ignore[index]
    assert [each["name"] for each in paths["/invoices"]["get"]["parameters"]] == ["check", "page"]
    form = paths["/refresh"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    assert [*form["properties"]] == ["check", "csrf_token"]


def test_every_check_of_the_resource_server_is_told_in_a_sentence() -> None:
    import rolecall_resource  # noqa: F401

    here = [name for name in checks.registry if _is_of_resource_server(name)]
    assert len(here) > 12
    assert not set(here) - SENTENCES.keys()
    for name in here:
        for passed in (True, False):
            said = check_result(
                {"name": name, "passed": passed, "actual": "a", "expected": "e", "clause": "RFC 1"}, 0.0
            )
            assert said.sentence.endswith(".")
            assert "{" not in said.sentence


def test_times_are_told_as_times() -> None:
    now = 1_795_417_200.0  # 2026-11-23 07:00:00 UTC
    expiry = check_result({"name": "token.exp", "passed": True, "actual": now + 299, "clause": ""}, now).sentence
    assert expiry.replace("\u00a0", " ") == "The token is valid until 07:04:59 UTC, in 4 min 59 s."
    assert moment(now - 86400, now).replace("\u00a0", " ") == "22 Nov 2026, 07:00:00 UTC, 1 day ago"
    assert distance(0.2) == "now"
    assert distance(-7261).replace("\u00a0", " ") == "2 h 1 min ago"
    assert (
        check_result({"name": "token.exp", "passed": False, "actual": "x" * 9}, now).sentence
        == "The token expired at xxxxxxxxx."
    )
    assert check_result({"name": "new", "actual": None}, now).sentence == "new: not reported"


def _is_of_resource_server(name: str) -> bool:
    folder = ROOT / "resource-service" / "rolecall_resource"
    return any(f'"{name}"' in path.read_text() for path in folder.rglob("*.py"))
