"""Signing keys: published, signing, verifying, and removed, at the right times (RFC 7517, RFC 8414)."""

from __future__ import annotations

import dataclasses
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from rolecall import clock
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_auth.jose.signing_keys import Key, Keys, KeysError
from rolecall_auth.models.key import SigningKey
from support.auth_server import ISSUER, Server, another_process, make_server, make_settings

pytestmark = pytest.mark.database

EACH = len(ID_TOKEN_ALGORITHMS)


def kids(server: Server) -> set[str]:
    document = server.app.test_client().get("/jwks").json
    assert document is not None
    return {key["kid"] for key in document["keys"]}


def header(token: str) -> dict[str, str]:
    from joserfc.jws import extract_compact

    return dict(extract_compact(token.encode()).headers())


def test_a_key_an_algorithm_from_the_first_start_and_no_private_parts(server: Server) -> None:
    """RFC 9068 section 2.1: RS256 must be supported; ES256 signs. Each key has a unique `kid`."""
    keys = server.app.test_client().get("/jwks").json["keys"]
    assert sorted(key["alg"] for key in keys) == sorted(ID_TOKEN_ALGORITHMS)
    assert len({key["kid"] for key in keys}) == EACH
    for key in keys:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys()
        assert key["use"] == "sig"
    assert header(server.tokens()["access_token"])["alg"] == "ES256"


def test_rotation_publishes_then_signs_then_verifies_then_ends(server: Server) -> None:
    old_token = server.tokens()["access_token"]
    old = header(old_token)["kid"]
    before = kids(server)
    result = server.app.test_cli_runner().invoke(args=["keys", "rotate"])
    assert result.exit_code == 0, result.output
    assert result.output.count("Published") == EACH
    assert len(kids(server)) == 2 * EACH
    assert header(server.tokens()["access_token"])["kid"] == old, "a new key signs before all could fetch it"
    assert "No key was changed" in server.app.test_cli_runner().invoke(args=["keys", "rotate"]).output
    clock.set_offset(270)
    last_token = server.tokens()["access_token"]
    assert header(last_token)["kid"] == old
    clock.set_offset(302)
    new_token = server.tokens()["access_token"]
    assert header(new_token)["kid"] not in before
    assert server.is_active(last_token), "a token of the old key died with its key"
    clock.set_offset(270 + 270)
    assert len(kids(server)) == 2 * EACH
    assert server.is_active(last_token) is True
    clock.set_offset(301 + 300 + 61)
    assert len(kids(server)) == EACH
    assert old not in kids(server)


def test_tokens_outlive_a_lifetime_that_was_shortened(tmp_path: Path, redis_url: str) -> None:
    """Tokens issued for an hour stay valid after the lifetime was shortened to minutes and the keys were rotated."""
    settings = make_settings(tmp_path, redis_url, access_token_lifetime=3600)
    long = make_server(settings)
    token = long.tokens()["access_token"]
    short = another_process(long, access_token_lifetime=300)
    command(short, "rotate")
    clock.set_offset(301 + 300 + 61)
    assert short.is_active(token)
    assert header(token)["kid"] in kids(short)
    clock.set_offset(301 + 3600 + 61)
    assert header(token)["kid"] not in kids(short)


def test_a_lifetime_that_is_lengthened_after_a_rotation_counts_as_well(tmp_path: Path, redis_url: str) -> None:
    short = make_server(make_settings(tmp_path, redis_url))
    command(short, "rotate")
    long = another_process(short, access_token_lifetime=3600)
    token = long.tokens()["access_token"]
    for offset, known in ((301 + 300 + 61, True), (300 + 3600, True), (301 + 3600 + 61, False)):
        clock.set_offset(offset)
        assert (header(token)["kid"] in kids(long)) is known


def command(server: Server, *arguments: str) -> str:
    result = server.app.test_cli_runner().invoke(args=["keys", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def conditions(server: Server) -> dict[str, str]:
    return {line.split()[0]: line.split()[2] for line in command(server, "list").splitlines()}


def test_the_list_of_keys_tells_their_states(server: Server) -> None:
    assert sorted(conditions(server).values()) == ["signing"] * EACH
    command(server, "rotate")
    assert sorted(conditions(server).values()) == ["published"] * EACH + ["signing"] * EACH
    clock.set_offset(302)
    assert sorted(conditions(server).values()) == ["signing"] * EACH + ["verifying"] * EACH
    assert re.search(r"verifying  for 3\d\d more seconds", command(server, "list"))
    clock.set_offset(663)
    assert sorted(conditions(server).values()) == ["retired"] * EACH + ["signing"] * EACH


def test_a_key_that_somebody_else_may_hold_is_retired_at_once(server: Server) -> None:
    token = server.tokens()["access_token"]
    kid = header(token)["kid"]
    assert "Retired" in command(server, "retire", kid)
    assert kid not in kids(server)
    assert not server.is_active(token)
    later = server.tokens()["access_token"]
    assert header(later)["kid"] in kids(server)
    assert server.is_active(later)
    for unknown in (kid, "nothing", "-xOdRcqCekOOOo75c8w8jb_zo2APLoOKDrQMQl8IuXQ"):
        refused = server.app.test_cli_runner().invoke(args=["keys", "retire", unknown])
        assert refused.exit_code == 1
        assert "is published. Run `flask keys list`" in refused.output
        assert refused.output.count("\n") == 1


def test_retiring_while_another_key_waits_to_sign(server: Server) -> None:
    signing = header(server.tokens()["access_token"])["kid"]
    command(server, "rotate")
    assert "It signs from now on" not in command(server, "retire", signing), "the waiting key takes over"
    taken_over = header(server.tokens()["access_token"])["kid"]
    assert taken_over != signing
    assert taken_over in kids(server)
    assert list(conditions(server).values()).count("signing") == EACH


def test_retiring_the_key_that_waits_leaves_the_other_in_office(server: Server) -> None:
    signing = header(server.tokens()["access_token"])["kid"]
    new = [line.split()[1].rstrip(".") for line in command(server, "rotate").splitlines()]
    for kid in new:
        command(server, "retire", kid)
    clock.set_offset(1000)
    assert header(server.tokens()["access_token"])["kid"] == signing
    assert len(kids(server)) == EACH
    assert command(server, "rotate").count("Published") == EACH


def test_the_data_key_is_changed_without_losing_the_signing_keys(tmp_path: Path, redis_url: str) -> None:
    old, new = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    server = make_server(make_settings(tmp_path, redis_url))
    database = server.services.database
    with database.transaction() as session:
        session.execute(sa.delete(SigningKey))

    def keys(*data_key: Fernet) -> Keys:
        return Keys(database, MultiFernet(list(data_key)), jwks_max_age=300, token_lifetime=300)

    keys(old).ensure()
    kid = keys(old).signing("ES256").kid
    assert keys(new, old).reseal() == EACH
    assert keys(new).signing("ES256").kid == kid
    with pytest.raises(KeysError, match="DATA_KEY does not decrypt"):
        keys(old).reseal()


def test_the_key_set_is_cacheable(server: Server) -> None:
    client = server.app.test_client()
    response = client.get("/jwks")
    assert response.headers["Cache-Control"] == "public, max-age=300"
    assert client.get("/jwks", headers={"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_private_keys_are_sealed_and_a_lost_data_key_is_one_clear_line(server: Server, tmp_path: Path) -> None:
    with server.services.database.read() as session:
        for row in session.scalars(sa.select(SigningKey)):
            assert b'"d"' not in row.private_sealed
            assert "d" not in row.public_jwk
    other = MultiFernet([Fernet(Fernet.generate_key())])
    keys = Keys(server.services.database, other, jwks_max_age=300, token_lifetime=300)
    with pytest.raises(KeysError, match="DATA_KEY does not decrypt"):
        keys.signing("ES256")
    (tmp_path / "broken").mkdir()
    broken = make_server(make_settings(tmp_path / "broken", "redis://unused", data_key=other))
    response = broken.app.test_client().get("/jwks")
    assert response.status_code == 503
    assert response.json["error"] == "temporarily_unavailable"


def test_metadata_claim_what_is_there(tmp_path: Path, redis_url: str) -> None:
    """RFC 8414 section 2; metadata from a back-channel address have the back-channel endpoints at that address."""
    server = make_server(make_settings(tmp_path, redis_url, backchannel_urls=("http://auth-service:8001",)))
    client = server.app.test_client()
    public = client.get("/.well-known/oauth-authorization-server", headers={"Host": "whoever.test"})
    assert public.headers["Vary"].count("Host") == 1
    assert public.json["issuer"] == ISSUER
    assert public.json["token_endpoint"] == f"{ISSUER}/token"
    assert public.json["grant_types_supported"] == ["authorization_code", "refresh_token", "client_credentials"]
    assert public.json["code_challenge_methods_supported"] == ["S256"]
    inner = client.get("/.well-known/oauth-authorization-server", headers={"Host": "auth-service:8001"}).json
    assert inner["issuer"] == ISSUER
    assert inner["token_endpoint"] == "http://auth-service:8001/token"
    assert inner["jwks_uri"] == "http://auth-service:8001/jwks"
    assert inner["authorization_endpoint"] == f"{ISSUER}/authorize"


def test_migrations_run_up_down_and_up(server: Server, tmp_path: Path) -> None:
    database = server.services.database
    database.downgrade("base")
    assert database.revision() is None
    database.upgrade()
    assert database.revision() == database.head()


def test_keys_that_were_read_once_outlive_an_outage_of_the_database(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kids(server)

    def away() -> None:
        raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(server.services.keys._stored, "load", away)
    clock.set_offset(5)  # the cached keys become stale
    assert kids(server) == before
    assert server.services.keys.signing("ES256")
    fresh = Keys(
        server.services.database, MultiFernet([Fernet(Fernet.generate_key())]), jwks_max_age=1, token_lifetime=1
    )
    monkeypatch.setattr(fresh._stored, "load", away)
    with pytest.raises(sa.exc.OperationalError):
        fresh.public_set()


def test_a_key_that_another_process_published_is_known_while_somebody_reads(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two simultaneous requests after a quiet period: the second must not use the old keys."""
    mine = server.services.keys
    mine.verifying("none")
    other = Keys(server.services.database, mine._cipher, jwks_max_age=300, token_lifetime=300)
    [new, *_] = other.rotate()
    monkeypatch.setattr(mine, "_loaded", dataclasses.replace(mine._loaded, at=float("-inf")))
    reading, goes_on, load = threading.Event(), threading.Event(), mine._stored.load

    def slow() -> tuple[Key, ...]:
        reading.set()
        assert goes_on.wait(60)
        return load()

    monkeypatch.setattr(mine._stored, "load", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(mine.public_set)
        assert reading.wait(60)
        second = pool.submit(mine.verifying, new)
        goes_on.set()
        assert second.result(60) is not None
        assert new in first.result(60).body.decode()


def test_a_clock_that_is_turned_back_to_before_the_keys_finds_one(server: Server) -> None:
    """No key existed at that time, but turning the lab's clock must not look like an outage of a store."""
    clock.set_offset(-100 * 86400)
    assert server.is_active(server.tokens()["access_token"])
