"""The fixtures of the contract tests, which use the services as the services' tests create them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import request

from rolecall.limits import Limit, Limits
from rolecall_resource.models import Profile
from support.invoices_api import Api, an_api, an_invoice


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """The Invoices API with one invoice, which belongs to Alice."""
    with an_api(tmp_path, Profile(owner_sub="alice", name="Alice Liddell", email=None), an_invoice("i1")) as made:
        yield made


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """The set of operations that counted a request towards a limit, each with the limit's setting."""
    found: set[tuple[str, str]] = set()
    genuine = Limits.count

    def count(limits: Limits, limit: Limit, *key: str, cost: int = 1) -> None:
        found.add((f"{request.method.lower()}-{request.endpoint}", limit.setting.upper()))
        genuine(limits, limit, *key, cost=cost)

    monkeypatch.setattr(Limits, "count", count)
    return found
