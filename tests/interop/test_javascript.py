"""Client libraries from npm with the running services: `make test-interop`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rolecall_lab import seeds
from rolecall_lab.launcher.environment import LAB_ENV, read_env
from support.browsing import conversation
from support.stack import Stack

pytestmark = [pytest.mark.npm, pytest.mark.integration]


def met(node: Path, script: str, **about: Any) -> dict[str, Any]:
    return conversation(["node", script, json.dumps(about)], node)


def _resource() -> dict[str, str]:
    """Return the credentials of an API that may use the introspection endpoint."""
    return {"id": "invoices-api", "secret": read_env(LAB_ENV)["RESOURCE_SERVICE_RESOURCE_SECRET"]}


@pytest.mark.parametrize(
    ("method", "mode"),
    [
        ("client_secret_basic", "query"),
        ("client_secret_basic", "form_post"),
        ("client_secret_post", "query"),
        ("client_secret_jwt", "query"),
        ("private_key_jwt", "query"),
        ("none", "query"),
    ],
)
def test_openid_client(stack: Stack, node: Path, method: str, mode: str) -> None:
    """OpenID Connect Core section 3.1, Registration, RFC 7009, RFC 7523, RFC 7662, RFC 9207: it checks everything."""
    said = met(node, "openid_client.mjs", issuer=stack.auth, method=method, mode=mode, resource=_resource())
    assert said == {
        "registered": True,
        "secret": method not in {"private_key_jwt", "none"},
        "sub_stays": True,
        "auth_time_stays": True,
        "name": "Alice Liddell",
        "email_verified": "boolean",
        "introspected": True,
        "userinfo_after": "invalid_token",
        "posted": mode == "form_post",
    }


def test_oauth4webapi(stack: Stack, node: Path) -> None:
    """Signed userinfo, another algorithm for ID tokens, and max_age; the library verifies every signature.

    OAuth 2.0 Form Post Response Mode section 2, RFC 7662 section 2.
    """
    [alice] = (person for person in seeds.read(environ=read_env(LAB_ENV)).people if person["username"] == "alice")
    said = met(node, "oauth4webapi.mjs", issuer=stack.auth, resource=_resource())
    assert said == {
        "issuers": True,
        "algorithm": "ES256",
        "posted": True,
        "signed_userinfo": "application/jwt",
        "country": alice["claims"]["address"]["country"],
        "has_auth_time": True,
        "active": [True, False],
        "dead": "invalid_grant",
    }


def test_what_must_not_work(stack: Stack, node: Path, turned: str) -> None:
    """The server refuses it (RFC 6749 section 5.2), or openid-client does, with all of its checks enabled."""
    said = met(node, "refusals.mjs", issuer=stack.auth, clock=turned)
    assert said == {
        "wrong_redirect_uri": 400,  # a page, because the server must not redirect the user
        "wrong_redirect_uri_of_code": "invalid_grant",
        "wrong_verifier": "invalid_grant",
        "wrong_state": "OAUTH_INVALID_RESPONSE",
        "wrong_issuer": "OAUTH_INVALID_RESPONSE",
        "no_issuer": "OAUTH_INVALID_RESPONSE",
        "wrong_nonce": "OAUTH_JWT_CLAIM_COMPARISON_FAILED nonce",
        "silent": "login_required",
        "replayed": "invalid_grant",
        "token_of_replayed": "invalid_token",
        "expired_code": "invalid_grant",
        "expired_token": "invalid_token",
        "expired_id_token": "OAUTH_JWT_TIMESTAMP_CHECK_FAILED exp",
    }
