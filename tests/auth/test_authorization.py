"""The contents of an authorization: the request as the person approved it, and the scope at each resource."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import SUBJECT_PREFIXES, Client
from support.auth_server import CALLBACK, ISSUER, RESOURCE, Server, a_client, another_process
from support.openid import ASKED, relying_party
from support.openid import CALLBACK as RP_CALLBACK
from support.registration import registered

pytestmark = pytest.mark.database


def only_authorization(server: Server) -> Authorization:
    with server.services.database.read() as session:
        return session.scalars(sa.select(Authorization)).one()


def change_client(server: Server, client_id: str, **values: Any) -> None:
    with server.services.database.transaction() as session:
        for name, value in values.items():
            setattr(session.get_one(Client, client_id), name, value)
    server.services.registry.forget(client_id)


def test_the_approved_request_is_recorded(server: Server) -> None:
    """RFC 6749 section 4.1.1: also the redirect URI that the request left out."""
    server.code(scope="invoices:read profile", redirect_uri="-")
    authorization = only_authorization(server)
    assert authorization.user_id == server.ids["alice"]
    assert authorization.resources == {RESOURCE: "invoices:read profile"}
    assert authorization.approved == {
        "client_name": "Tally",
        "sector": None,
        "scope": "invoices:read profile",
        "claims": {},
        "custom_claims": [],
        "resource": RESOURCE,
        "redirect_uri": CALLBACK,
        "subject_type": "public",
        "refreshable": True,
    }
    assert (authorization.token_format, authorization.token_lifetime, authorization.standing_key) == (None, None, None)


def test_claims_and_the_userinfo_endpoint_are_recorded(server: Server) -> None:
    """OpenID Connect Core section 5.5: the claims that were requested by name."""
    server.add(relying_party())
    claims = '{"userinfo": {"email": null}, "id_token": {"name": null}}'
    server.code(**ASKED | {"scope": "openid invoices:read", "claims": claims})
    authorization = only_authorization(server)
    assert authorization.resources == {RESOURCE: "invoices:read", ISSUER: "openid"}
    approved = authorization.approved
    assert approved is not None
    assert approved["claims"] == {"id_token": ["name"], "userinfo": ["email"]}
    assert (approved["redirect_uri"], approved["refreshable"]) == (RP_CALLBACK, False)
    assert {"openid", "invoices:read", "email", "profile"} == {*approved["scope"].split()}
    assert authorization.sid


def test_a_later_registration_does_not_widen_what_was_approved(server: Server) -> None:
    """RFC 6749 section 6: no refresh token for a client that was not registered for it when the person approved."""
    change_client(server, "tally", grant_types=["authorization_code"])
    code = server.code()
    change_client(server, "tally", grant_types=["authorization_code", "refresh_token"])
    assert "refresh_token" not in (server.redeem(code).json or {})
    assert "refresh_token" in server.tokens()


def test_a_later_registration_narrows_what_was_approved(server: Server) -> None:
    code = server.code()
    change_client(server, "tally", grant_types=["authorization_code"])
    assert "refresh_token" not in (server.redeem(code).json or {})


def test_the_subject_of_a_client_is_random_and_kept(server: Server) -> None:
    """RFC 9068 section 2.2, RFC 9700 section 4.15: it differs from every client ID and every person's identifier."""
    new = registered(server, subject="usr_chosen")["client_id"]
    server.add(a_client(client_id="second"))
    with server.services.database.read() as session:
        subjects = {row.client_id: row.subject for row in session.scalars(sa.select(Client))}
    assert len({*subjects.values()}) == 3
    assert all(subject.startswith("svc_") for subject in subjects.values())
    assert not {*subjects.values()} & {*subjects, *server.ids.values()}
    command = ("add-client", "tally", "--name", "Tally", "--redirect-uri", CALLBACK, "--scope", "profile")
    assert server.app.test_cli_runner().invoke(args=command).exit_code == 0
    with server.services.database.read() as session:
        assert session.get_one(Client, "tally").subject == subjects["tally"]
        assert session.get(Client, new) is not None


@pytest.mark.parametrize("prefix", SUBJECT_PREFIXES)
def test_no_client_id_looks_like_a_subject(server: Server, prefix: str) -> None:
    """RFC 9700 section 4.15."""
    command = ("add-client", f"{prefix}x", "--name", "X", "--redirect-uri", CALLBACK, "--scope", "profile")
    done = server.app.test_cli_runner().invoke(args=command)
    assert (done.exit_code, "reserved for subjects" in done.output) == (1, True), done.output
    assert server.services.registry.client(f"{prefix}x") is None


def test_the_format_and_the_longest_lifetime_of_its_tokens_are_recorded(server: Server) -> None:
    """The set of revoked tokens needs an ended authorization only until the last of its tokens expires."""
    longer = another_process(server, access_token_lifetime=900)
    tokens = server.tokens()

    def recorded() -> tuple[str | None, int | None]:
        authorization = only_authorization(server)
        return authorization.token_format, authorization.token_lifetime

    assert recorded() == ("jwt", 300)
    tokens = longer.refresh(tokens["refresh_token"]).json
    assert tokens is not None
    assert recorded() == ("jwt", 900)
    assert server.refresh(tokens["refresh_token"]).status_code == 200
    assert recorded() == ("jwt", 900), "a token with the longer lifetime may still be valid"
