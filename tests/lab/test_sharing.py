"""Equal parts of events in memory are stored once, and stay equal to the recorded parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rolecall_lab.recording import sharing
from rolecall_lab.recording.sharing import Sharing


def event(actual: Any) -> dict[str, Any]:
    check = {"name": "token.code", "passed": True, "clause": "RFC 6749", "after": 0, "expected": "x", "actual": actual}
    return {
        "checks": [check],
        "response_headers": {"date": {"hidden": True}, "vary": "Cookie"},
        "body": None,
        "at": 1.5,
    }


@pytest.mark.parametrize("actual", ["x", 1, True, 0, False, 1.0, None, ["a"], {"shown": "a…", "hash": "b"}])
def test_events_stay_equal_to_the_recorded_ones(actual: Any) -> None:
    shared = Sharing()
    for value in (1, True, "1", actual):
        found = shared.share(event(value))
        assert found == event(value)
        assert type(found["checks"][0]["actual"]) is type(value)


def test_equal_checks_are_one_object() -> None:
    shared = Sharing()
    first, second, third = (shared.share(event(actual))["checks"][0] for actual in ("x", "x", "y"))
    assert first is second
    assert first is not third


def test_the_names_of_members_are_shared() -> None:
    shared = Sharing()
    texts = [json.dumps(event("x") | {"form": {"a_name_of_a_member": 1}}) for _ in range(2)]
    first, second = (next(iter(shared.share(json.loads(text))["form"])) for text in texts)
    assert first is second


def test_checks_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MAX_CHECKS", 2)
    shared = Sharing()
    for number in range(9):
        shared.share(event(number))
    assert len(shared._checks) == 2
