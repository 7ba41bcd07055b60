"""The fuzz tests: short and the same each time in `make test`, long and different with FUZZ_REQUESTS set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest
import requests
import werkzeug.test

from rolecall_auth.models import user
from support import witness
from support.auth_server import CALLBACK, WIDE, Server, a_client, make_server, make_settings
from support.fuzz.effort import tried
from support.fuzz.forms import NATIVE
from support.invoices_api import Api, an_api
from support.openid import relying_party
from support.signing import signer

pytest.register_assert_rewrite("support.fuzz.oauth_model", "support.fuzz.openid_model")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """The Invoices API with nothing in it but its schema."""
    with an_api(tmp_path) as made:
        yield made


@pytest.fixture
def open_server(tmp_path: Path, redis_url: str) -> Server:
    """One that throttles nobody; besides the confidential client a native one, a relying party and one that signs."""
    server = make_server(make_settings(tmp_path, redis_url, **WIDE))
    native = {"token_endpoint_auth_method": "none", "secret_hash": None, "redirect_uris": [NATIVE]}
    server.add(
        a_client(client_id="native", application_type="native", **native),
        relying_party(),
        signer(redirect_uris=[CALLBACK]),
    )
    server.remember_since(0)
    return server


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever signs in a thousand times would wait for nothing else."""
    hasher = argon2.PasswordHasher(1, 64, 1)
    monkeypatch.setattr(user, "_hasher", hasher)
    monkeypatch.setattr(user, "_DUMMY_HASH", hasher.hash("nobody's"))


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request of a test counts, be it to an application in this process or to a running service."""
    test = request.node.name

    def count(kind: type, name: str) -> None:
        send = getattr(kind, name)

        def counted(self: Any, *arguments: Any, **options: Any) -> Any:
            tried[test] += 1
            return send(self, *arguments, **options)

        monkeypatch.setattr(kind, name, counted)

    count(werkzeug.test.Client, "open")
    count(requests.Session, "send")


@pytest.fixture(autouse=True)
def _values_of_no_meaning() -> Iterator[None]:
    """What is made up here as a secret may be any word of a log; what the services make is recognised by its form."""
    before = {*witness.seen}
    yield
    witness.seen.clear()
    witness.seen.update(before)
