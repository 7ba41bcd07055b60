"""APIs in Python that validate access tokens with the published keys: PyJWT and joserfc."""

from __future__ import annotations

import runpy
from pathlib import Path

import jwt
import pytest
from flask.testing import FlaskClient

from support.foreign import INTEROP, configuration
from support.gateways import ApiUser, echo, tampered
from support.python_programs import ENVIRON
from support.stack import Stack

pytestmark = pytest.mark.integration


def api(stack: Stack, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """Return a client of an app of tests/interop/python-apis."""
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, ENVIRON[variable])
    file = folder / name
    file.write_text(configuration((INTEROP / "python-apis" / name).read_text(), stack))
    client: FlaskClient = runpy.run_path(str(file))["app"].test_client()
    return client


@pytest.mark.parametrize(
    ("name", "what", "algorithm"), [("pyjwt", "expenses", "RS256"), ("joserfc", "reports", "ES256")]
)
def test_access_tokens(
    lab: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str, algorithm: str
) -> None:
    """RFC 9068 section 4 and RFC 6750 section 3.1: only tokens for this API, with the scope, are accepted."""
    client = api(lab, tmp_path, f"{name}_api.py", monkeypatch)

    def status(token: str) -> int:
        return client.get(f"/{what}", headers={"Authorization": f"Bearer {token}"}).status_code

    with echo() as app:
        reader, signed_in, writer, elsewhere = (
            ApiUser(lab, app, scope).tokens
            for scope in (f"{what}:read", f"openid {what}:read", f"{what}:write", "invoices:read")
        )
    head = jwt.get_unverified_header(reader["access_token"])
    assert (head["alg"], head["typ"]) == (algorithm, "at+jwt")
    assert status(reader["access_token"]) == 200
    assert status(signed_in["access_token"]) == 200
    assert status(writer["access_token"]) == 403
    assert status(elsewhere["access_token"]) == 401
    assert status(tampered(reader["access_token"])) == 401
    assert status(signed_in["id_token"]) == 401
    assert status("") == 401
    assert client.get(f"/{what}").status_code == 401
