"""APIs in Node that validate access tokens with the published keys: express-oauth2-jwt-bearer and jose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.gateways import ApiUser, echo, tampered
from support.node_programs import api
from support.stack import Stack

pytestmark = [pytest.mark.npm, pytest.mark.integration]


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """Where the browser of the API's user is sent back to."""
    with echo() as url:
        yield url


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
    lab: Stack, node: Path, tmp_path: Path, app: str, name: str, replacements: dict[str, str]
) -> None:
    """RFC 9068 section 4 and RFC 6750 section 3.1: only tokens for this API, with the scope, are accepted."""
    reader = ApiUser(lab, app, "books:read")
    signed_in = ApiUser(lab, app, "openid books:read")
    writer = ApiUser(lab, app, "books:write")
    elsewhere = ApiUser(lab, app, "invoices:read")
    with api(node, lab, tmp_path, name, replacements) as url:
        assert reader.call(url) == 200
        assert signed_in.call(url) == 200
        assert writer.call(url) == 403
        assert elsewhere.call(url) == 401
        assert reader.call(url, tampered(reader.tokens["access_token"])) == 401
        assert signed_in.call(url, signed_in.tokens["id_token"]) == 401
        status, _ = lab.get(url)
        assert status == 401
