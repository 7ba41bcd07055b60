"""Why a message was refused, why that matters, and what to change."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest

import rolecall_auth.openapi.description  # noqa: F401  registers the checks
import rolecall_client.openapi  # noqa: F401
import rolecall_resource.openapi  # noqa: F401
from rolecall import checks
from rolecall_lab.compare import validator  # noqa: F401
from rolecall_lab.observer import explanations
from rolecall_lab.observer.refusals import ENTRIES, FILE, heading, read_entries, refusals
from support.recorded_events import check, event

DECLARED = {name: each for name, each in checks.registry.items() if not name.startswith("test.")}


def test_every_check_has_advice_and_all_advice_is_about_a_check() -> None:
    assert [name for name in DECLARED if ENTRIES.for_check(name) is None] == []
    assert [name for name in ENTRIES.checks if not fnmatch.filter(DECLARED, name)] == []


def test_every_error_code_has_advice() -> None:
    """It is shown for servers that do not report their checks."""
    explained = {name for place, name in explanations.entries()[0] if place == "error"}
    assert explained | {each.error for each in DECLARED.values()} <= ENTRIES.errors.keys()


def test_advice_names_only_checks_by_an_exact_name_or_one_pattern() -> None:
    """Two patterns for one check would make the order of the file matter."""
    patterns = [name for name in ENTRIES.checks if "*" in name]
    for name in DECLARED.keys() - ENTRIES.checks.keys():
        assert len([pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)]) == 1, name


VALID = "{why: A., change: B.}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"checks: {{a: {VALID}}}", "sections"),
        ("[checks, errors]", "sections"),
        (f"{{checks: {{a: {VALID}}}, errors: {{}}, more: {{}}}}", "sections"),
        ("{checks: {a: {why: A.}}, errors: {}}", "a must have the texts"),
        ("{checks: {}, errors: {b: {why: A., change: B., more: C.}}}", "b must have the texts"),
        ("{checks: {a: text}, errors: {}}", "a must have the texts"),
        ("{checks: {a: {why: A, change: B.}}, errors: {}}", "the texts of a"),
        ("{checks: {a: {why: 1, change: B.}}, errors: {}}", "the texts of a"),
        (f"{{checks: {{a: {{why: {'x' * 300}., change: B.}}}}, errors: {{}}}}", "the texts of a"),
        (f"{{checks: {{a: {VALID}, a: {VALID}}}, errors: {{}}}}", "duplicate key"),
    ],
)
def test_an_invalid_entry_is_named(text: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        read_entries(text)
    assert read_entries(FILE.read_text(encoding="utf-8")) == ENTRIES


def test_an_entry_with_the_exact_name_goes_before_a_pattern() -> None:
    entries = read_entries(f"{{checks: {{'a.*': {VALID}, a.b: {{why: C., change: D.}}}}, errors: {{}}}}")
    assert getattr(entries.for_check("a.b"), "why", "") == "C."
    assert getattr(entries.for_check("a.c"), "why", "") == "A."
    assert entries.for_check("b.c") is None


def test_a_failed_check_comes_with_its_values_its_clause_and_advice() -> None:
    failed = check("token.code_once", passed=False) | {"description": "Used already."}
    asked = event(1, "client", "authorization_server", "POST /token", 400, body={"error": "invalid_grant"})
    asked["checks"] = [check("token.code"), failed]
    [refusal] = refusals(asked)
    assert (refusal.reason, refusal.change_heading) == ("Used already.", "What to change in your client")
    assert [(label, text) for label, text, _ in refusal.facts] == [
        ("Check", "token.code_once"), ("Expected", "this"), ("Actual", "that"), ("Clause", "RFC 6749 section 4.1.3"),
    ]  # fmt: skip
    assert refusal.facts[-1][2].endswith("rfc6749#section-4.1.3")
    assert refusal.advice == ENTRIES.checks["token.code_once"]
    assert heading(asked) == "Why it was refused"


@pytest.mark.parametrize(
    ("receiver", "name", "expected"),
    [("client", "id_token.nonce", "What to change"),
     ("resource_server", "token.aud", "What to change in your client or API")],
)  # fmt: skip
def test_the_heading_of_the_advice_names_whose_program_has_to_change(receiver: str, name: str, expected: str) -> None:
    asked = event(1, "browser", receiver, "GET /", 400)
    asked["checks"] = [check(name, passed=False)]
    [refusal] = refusals(asked)
    assert refusal.change_heading == expected


FOREIGN: dict[str, dict[str, Any]] = {
    "body": {"body": {"error": "invalid_grant", "error_description": "No."}},
    "redirect": {
        "response_headers": {"location": {"url": "http://a", "parameters": {"error": "access_denied"}}}, "status": 303,
    },
    "challenge": {"response_headers": {"www-authenticate": 'Bearer error="invalid_token", error_description="No."'}},
}  # fmt: skip


@pytest.mark.parametrize(("name", "code"), [("body", "invalid_grant"), ("redirect", "access_denied"),
                                            ("challenge", "invalid_token")])  # fmt: skip
def test_without_checks_the_error_code_says_what_to_change(name: str, code: str) -> None:
    status = FOREIGN[name].get("status", 400)
    asked = event(1, "client", "authorization_server", "POST /token", **{"status": status, **FOREIGN[name]})
    [refusal] = refusals(asked)
    assert (refusal.reason, refusal.advice) == (code, ENTRIES.errors[code])
    labels = [label for label, _, _ in refusal.facts]
    assert labels == (["Clause"] if name == "redirect" else ["Description", "Clause"])


def test_an_authorization_response_with_an_error_is_not_called_a_refusal() -> None:
    """RFC 6749 section 4.1.2.1: the client received the error, and did not refuse anything."""
    back = event(1, "browser", "client", "GET /callback", 403, query={"error": "access_denied"})
    assert heading(back) == "The error in this response"
    assert [each.reason for each in refusals(back)] == ["access_denied"]
    back["checks"] = [check("client.state", passed=False)]
    assert heading(back) == "Why it was refused"


def test_introspection_says_why_a_token_is_not_active() -> None:
    """RFC 7662 section 2.2: the response does not give the reason, but the recorded check does."""
    asked = event(1, "resource_server", "authorization_server", "POST /introspect", body={"active": False})
    asked["checks"] = [check("introspect.revoked", passed=False)]
    assert heading(asked) == "Why the token is not active"


@pytest.mark.parametrize("body", [None, {}, {"error": {"hidden": True}}, {"error": "of_nobody"}, ["error"]])
def test_other_messages_have_no_advice(body: Any) -> None:
    assert [each.advice for each in refusals(event(1, "client", "resource_server", "GET /", 404, body=body))] in (
        [],
        [None],
    )
