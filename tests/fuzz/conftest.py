"""The fuzz tests: short and reproducible in `make test`, long and random if FUZZ_REQUESTS is set."""

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
    """Return the Invoices API with an empty database."""
    with an_api(tmp_path) as made:
        yield made


@pytest.fixture
def open_server(tmp_path: Path, redis_url: str) -> Server:
    """Return a server without throttles, with a confidential, a native, and a signing client, and a relying party."""
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
    """Make password hashes cheap; otherwise, a thousand sign-ins would mostly wait for them."""
    hasher = argon2.PasswordHasher(1, 64, 1)
    monkeypatch.setattr(user, "_hasher", hasher)
    monkeypatch.setattr(user, "_DUMMY_HASH", hasher.hash("nobody's"))


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count each request of a test, to an application in this process or to a running service."""
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
    """Forget made-up secrets, which may match any word of a log; those of the services are recognized by their form."""
    before = {*witness.seen}
    yield
    witness.seen.clear()
    witness.seen.update(before)
