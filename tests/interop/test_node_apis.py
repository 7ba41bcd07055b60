"""APIs in Node that validate access tokens with the published keys: express-oauth2-jwt-bearer and jose."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.gateways import ApiUser, echo, tampered
from support.node_programs import api
from support.stack import Stack

pytestmark = [pytest.mark.npm, pytest.mark.integration]


SCOPES = ("books:read", "openid books:read", "books:write", "invoices:read")


@pytest.fixture(scope="module")
def users(lab: Stack) -> dict[str, ApiUser]:
    """A client with tokens of each scope; that of `invoices:read` is for another API."""
    with echo() as app:
        return {scope: ApiUser(lab, app, scope) for scope in SCOPES}


@pytest.mark.parametrize(
    ("name", "replacements"),
    [
        ("express_oauth2_jwt_bearer", {}),
        ("express_oauth2_jwt_bearer", {"strict: true": "strict: false"}),
        ("jose_api", {}),
    ],
    ids=["strict", "default", "jose"],
)
def test_access_tokens(
    lab: Stack, node: Path, tmp_path: Path, users: dict[str, ApiUser], name: str, replacements: dict[str, str]
) -> None:
    """RFC 9068 section 4 and RFC 6750 section 3.1: only tokens for this API, with the scope, are accepted."""
    reader, signed_in, writer, elsewhere = (users[scope] for scope in SCOPES)
    with api(node, lab, tmp_path, name, replacements) as url:
        assert reader.call(url) == 200
        assert signed_in.call(url) == 200
        assert writer.call(url) == 403
        assert elsewhere.call(url) == 401
        assert reader.call(url, tampered(reader.tokens["access_token"])) == 401
        assert signed_in.call(url, signed_in.tokens["id_token"]) == 401
        status, _ = lab.get(url)
        assert status == 401
