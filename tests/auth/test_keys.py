"""Signing keys: published, signing, verifying, gone; on the clock (rule 8 of the design; RFC 7517, RFC 8414)."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from auth_service.keys import Keys, KeysError
from auth_service.models.key import SigningKey
from auth_support import ISSUER, Server, make_server, make_settings
from rolecall import clock


def kids(server: Server) -> set[str]:
    document = server.app.test_client().get("/jwks").json
    assert document is not None
    return {key["kid"] for key in document["keys"]}


def header(token: str) -> dict[str, str]:
    from joserfc.jws import extract_compact

    return dict(extract_compact(token.encode()).headers())


def test_both_algorithms_from_the_first_start_and_no_private_parts(server: Server) -> None:
    """RFC 9068 section 2.1: RS256 must be there; ES256 signs."""
    keys = server.app.test_client().get("/jwks").json["keys"]
    assert {key["alg"] for key in keys} == {"ES256", "RS256"}
    for key in keys:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys()
        assert key["use"] == "sig"
    assert header(server.tokens()["access_token"])["alg"] == "ES256"


def test_rotation_publishes_then_signs_then_verifies_then_ends(server: Server) -> None:
    old_token = server.tokens()["access_token"]
    old = header(old_token)["kid"]
    before = kids(server)
    result = server.app.test_cli_runner().invoke(args=["rotate-keys"])
    assert result.exit_code == 0, result.output
    assert result.output.count("Published") == 2
    assert len(kids(server)) == 4
    assert header(server.tokens()["access_token"])["kid"] == old, "a new key signs before all could fetch it"
    assert "nothing was changed" in server.app.test_cli_runner().invoke(args=["rotate-keys"]).output
    clock.set_offset(299)
    last_token = server.tokens()["access_token"]
    assert header(last_token)["kid"] == old
    clock.set_offset(301)
    new_token = server.tokens()["access_token"]
    assert header(new_token)["kid"] not in before
    assert server.is_active(last_token), "a token of the old key died with its key"
    clock.set_offset(299 + 295)
    assert len(kids(server)) == 4
    assert server.is_active(last_token) is True
    clock.set_offset(300 + 300 + 61)
    assert len(kids(server)) == 2
    assert old not in kids(server)


def test_the_key_set_is_cacheable(server: Server) -> None:
    client = server.app.test_client()
    response = client.get("/jwks")
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert client.get("/jwks", headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_private_keys_are_sealed_and_a_lost_data_key_is_one_clear_line(server: Server, tmp_path: Path) -> None:
    with server.state.database.read() as session:
        for row in session.scalars(sa.select(SigningKey)):
            assert b'"d"' not in row.private_sealed
            assert "d" not in row.public_jwk
    other = MultiFernet([Fernet(Fernet.generate_key())])
    keys = Keys(server.state.database, other, jwks_max_age=300, token_lifetime=300)
    with pytest.raises(KeysError, match="DATA_KEY does not open"):
        keys.signing("ES256")
    (tmp_path / "broken").mkdir()
    broken = make_server(make_settings(tmp_path / "broken", "redis://unused", data_key=other))
    response = broken.app.test_client().get("/jwks")
    assert response.status_code == 503
    assert response.json["error"] == "temporarily_unavailable"


def test_metadata_claim_what_is_there(tmp_path: Path, redis_url: str) -> None:
    """RFC 8414 section 2; through a back-channel address, the back-channel endpoints stand under it."""
    server = make_server(make_settings(tmp_path, redis_url, backchannel_urls=("http://auth-service:8001",)))
    client = server.app.test_client()
    public = client.get("/.well-known/oauth-authorization-server", headers={"Host": "whoever.test"})
    assert public.headers["Vary"].count("Host") == 1
    assert public.json["issuer"] == ISSUER
    assert public.json["token_endpoint"] == f"{ISSUER}/token"
    assert public.json["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert public.json["code_challenge_methods_supported"] == ["S256"]
    inner = client.get("/.well-known/oauth-authorization-server", headers={"Host": "auth-service:8001"}).json
    assert inner["issuer"] == ISSUER
    assert inner["token_endpoint"] == "http://auth-service:8001/token"
    assert inner["jwks_uri"] == "http://auth-service:8001/jwks"
    assert inner["authorization_endpoint"] == f"{ISSUER}/authorize"


def test_migrations_run_up_down_and_up(server: Server, tmp_path: Path) -> None:
    database = server.state.database
    database.downgrade("base")
    assert database.revision() is None
    database.upgrade()
    assert database.revision() == database.head()
