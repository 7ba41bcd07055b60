"""The example tests of docs/testing, run with pytest as the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from jwt import ExpiredSignatureError, PyJWKClient, decode

from rolecall_lab.walker import Walker
from support.foreign import INTEROP, configuration
from support.python_programs import ENVIRON
from support.stack import Stack

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)


@pytest.mark.parametrize(("name", "passed"), [("client_tests.py", 4), ("api_tests.py", 6)])
def test_the_examples(lab: Stack, tmp_path: Path, name: str, passed: int) -> None:
    """RFC 6749 sections 4.1, 4.4, and 6, RFC 7009 section 2, and RFC 9068 section 4."""
    for file in (INTEROP / "testing").glob("*.py"):
        (tmp_path / file.name).write_text(configuration(file.read_text(), lab))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", name],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"{passed} passed" in done.stdout, done.stdout[-3000:]


def test_a_mistaken_provider(lab: Stack) -> None:
    """OpenID Connect Core section 3.1.3.7: any client gets an ID token with the mistake that the issuer's URL names."""
    issuer = f"{lab.observer}/mistakes/id_token_expired"
    query = {"client_id": "mine", "scope": "openid", "nonce": "n", "redirect_uri": f"{lab.client}/callback"}
    redirect = Walker().open(f"{issuer}/authorize?{urlencode(query)}").location
    assert redirect is not None
    [code] = parse_qs(urlsplit(redirect).query)["code"]
    _, metadata = lab.get(f"{issuer}/.well-known/openid-configuration")
    form = urlencode({"grant_type": "authorization_code", "code": code}).encode()
    _, tokens = lab.call("POST", metadata["token_endpoint"], form, Content_Type="application/x-www-form-urlencoded")
    keys = PyJWKClient(metadata["jwks_uri"])
    key = keys.get_signing_key_from_jwt(tokens["id_token"])
    with pytest.raises(ExpiredSignatureError):
        decode(tokens["id_token"], key, algorithms=["RS256"], audience="mine", issuer=issuer)
