"""A few requests of the hostile corpus against the running services; `make fuzz` sends many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.hostile import WIDE, Attack
from stack import Stack, running_stack

pytestmark = [pytest.mark.integration, pytest.mark.embedded]


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path, **WIDE) as running:
        yield running


def test_hostile_requests_find_nothing(own_stack: Stack) -> None:
    """No 5xx, nothing late, nothing reflected, no host believed (RFC 9110, RFC 9112, RFC 6749 section 10)."""
    report = Attack(own_stack, 200, "the same each time", lambda _: None).run()
    assert not report.findings, "\n".join(map(str, report.findings))
    assert sum(report.tried.values()) == 200
