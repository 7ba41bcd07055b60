"""The services of this version work on the migrated databases of every release."""

from __future__ import annotations

from typing import Final

import jwt
import pytest

from rolecall import clock
from rolecall.storage import digest
from rolecall_auth.models.token import RefreshToken
from support.auth_server import authorize_url, claims
from support.migrations.released import MigratedServices
from support.migrations.story import BOTH

pytestmark = pytest.mark.database

PEOPLE: Final = tuple(BOTH["people"])


@pytest.mark.parametrize("username", PEOPLE)
def test_passwords_sign_in_and_consent_is_remembered(running: MigratedServices, username: str) -> None:
    client_id, scope = ("tally", "invoices:pay profile") if username == "alice" else ("strict-books", "invoices:read")
    app = running.apps[client_id]
    browser = running.auth.browser()
    assert browser.submit("/sign-in", username=username, password="another password").status_code == 403
    signed_in = browser.submit("/sign-in", username=username, password=running["people"][username]["password"])
    assert signed_in.location == "/apps"
    page = browser.client.get("/apps").text.replace("&#39;", "'").replace("&amp;", "&")
    assert running["clients"][client_id]["name"] in page
    answer = browser.client.get(authorize_url(client_id=client_id, redirect_uri=app.redirect_uri, scope=scope))
    assert answer.location.startswith(app.redirect_uri), "a remembered consent was requested again"


def test_a_live_refresh_token_rotates(running: MigratedServices) -> None:
    """RFC 6749 section 6."""
    status, tokens = running.refresh("tally", "refresh_token")
    assert status == 200
    assert tokens["refresh_token"] != running["refresh_token"]
    assert claims(tokens["access_token"])["sub"] == running["subs"]["alice"]
    assert running.get("/invoices", tokens["access_token"])[0] == 200


def test_a_used_refresh_token_gets_its_sealed_successor_in_the_grace(running: MigratedServices) -> None:
    status, tokens = running.refresh("tally", "refresh_token_used")
    assert status == 200
    assert tokens["refresh_token"] == running["refresh_token"]


def test_a_used_refresh_token_ends_the_family_after_the_grace(running: MigratedServices) -> None:
    """RFC 9700 section 4.14.2."""
    clock.set_offset(clock.offset() + 11)
    assert running.is_active("access_token")
    assert running.refresh("tally", "refresh_token_used")[1]["error"] == "invalid_grant"
    assert running.refresh("tally", "refresh_token")[1]["error"] == "invalid_grant"
    assert not running.is_active("access_token")


def test_a_client_without_a_grace_has_none(running: MigratedServices) -> None:
    clock.set_offset(clock.offset() - 59)
    assert running.refresh("strict-books", "refresh_token_of_strict_used")[1]["error"] == "invalid_grant"
    assert running.refresh("strict-books", "refresh_token_of_strict")[1]["error"] == "invalid_grant"


def test_its_living_token_rotates(running: MigratedServices) -> None:
    assert running.refresh("strict-books", "refresh_token_of_strict")[0] == 200


@pytest.mark.parametrize(
    ("client_id", "token", "expired"),
    [
        ("tally", "refresh_token_of_the_ended", False),
        ("tally-native", "refresh_token_revoked", False),
        ("tally", "refresh_token_expired", True),
    ],
)
def test_what_was_over_stays_over(running: MigratedServices, client_id: str, token: str, expired: bool) -> None:
    """RFC 6749 section 5.2, RFC 7009 section 2.1."""
    with running.auth.services.database.read() as session:
        row = session.get_one(RefreshToken, digest(running[token]))
    assert (row.expires_at <= clock.now()) == expired, "the token is invalid for another reason"
    status, body = running.refresh(client_id, token)
    assert (status, body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("token", ["access_token", "access_token_of_the_old_key"])
@pytest.mark.parametrize("validator", ["jwt", "introspection"])
def test_access_tokens_of_both_generations_of_keys_are_good(
    running: MigratedServices, token: str, validator: str
) -> None:
    """RFC 7517 section 5, RFC 7662 section 2.2: with the key set, by introspection, and at the resource server."""
    keys = jwt.PyJWKSet.from_dict(dict(running.auth.app.test_client().get("/jwks").json or {}))
    assert len({key.key_id for key in keys.keys}) == 4
    kid = jwt.get_unverified_header(running[token])["kid"]
    decoded = jwt.decode(running[token], keys[kid], algorithms=["ES256"], audience=running["resource"],
                         options={"verify_exp": False, "verify_iat": False})  # fmt: skip
    assert decoded["sub"] == running["subs"]["alice"]
    assert clock.now() < decoded["exp"]
    assert running.is_active(token)
    assert running.get("/invoices", running[token], validator)[0] == 200


def test_the_two_generations_are_two(running: MigratedServices) -> None:
    kids = {jwt.get_unverified_header(running[name])["kid"] for name in ("access_token", "access_token_of_the_old_key")}
    signing = running.auth.services.keys.signing("ES256").kid
    assert len(kids) == 2
    assert signing == jwt.get_unverified_header(running["access_token"])["kid"]


@pytest.mark.parametrize("token", ["access_token_revoked", "access_token_of_the_ended"])
def test_revoked_access_tokens_are_inactive(running: MigratedServices, token: str) -> None:
    """RFC 7009 section 2, RFC 7662 section 2.2: the set in Redis is restored from SQL."""
    assert clock.now() < claims(running[token])["exp"]
    assert running.auth.services.keys.verifying(jwt.get_unverified_header(running[token])["kid"])
    assert not running.is_active(token)


@pytest.mark.parametrize("username", PEOPLE)
def test_owners_see_their_invoices_and_profile(running: MigratedServices, username: str) -> None:
    """RFC 6749 section 1.1: the resource server returns the resources of the owner of the token."""
    person = running["people"][username]
    app = running.apps["tally"]
    token = app.connect(running.auth, username, person["password"], "invoices:read invoices:pay profile")[
        "access_token"
    ]
    status, body = running.get("/invoices", token)
    assert status == 200
    assert [invoice["number"] for invoice in body["invoices"]] == person["invoices"]
    assert [invoice["number"] for invoice in body["invoices"] if invoice["state"] == "paid"] == [person["paid"]]
    assert running.get("/profile", token) == (
        200,
        {"sub": running["subs"][username], "name": person["name"], "email": person["email"]},
    )
    by_number = {invoice["number"]: invoice["id"] for invoice in body["invoices"]}
    statuses = [_pay(running, token, by_number[number]) for number in (person["paid"], person["invoices"][0])]
    assert statuses == [409, 201]


def _pay(running: MigratedServices, token: str, invoice_id: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return running.api.test_client().post(f"/invoices/{invoice_id}/payment", headers=headers).status_code


def test_a_native_app_connects_again(running: MigratedServices) -> None:
    """RFC 8252 sections 7.3 and 8.6: another port of the loopback address, and a consent each time."""
    app, alice = running.apps["tally-native"], running["people"]["alice"]
    tokens = app.connect(running.auth, "alice", alice["password"], "invoices:read")
    assert app.refresh(running.auth, tokens["refresh_token"])[0] == 200
