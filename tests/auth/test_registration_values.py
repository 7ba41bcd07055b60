"""Values that the server drops from a registration, and updates that it rejects (RFC 7591, RFC 7592)."""

from __future__ import annotations

from typing import Any

import pytest

from rolecall_auth.clients.metadata import MEMBERS
from support.auth_server import Server
from support.registration import KEYS, URI, manage, register, registered

pytestmark = pytest.mark.database


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"grant_types": ["implicit", "authorization_code", "password"]}, {"grant_types": ["authorization_code"]}),
        ({"grant_types": ["authorization_code"] * 3}, {"grant_types": ["authorization_code"]}),
        ({"response_types": ["code id_token", "code", "token"]}, {"response_types": ["code"]}),
        ({"scope": "invoices:burn openid invoices:read"}, {"scope": "openid invoices:read"}),
    ],
)
def test_values_that_the_server_does_not_have_are_dropped(
    server: Server, sent: dict[str, Any], kept: dict[str, Any]
) -> None:
    """RFC 7591 section 3.2.1: the response contains the metadata as registered; an update drops the same values."""
    client = registered(server, **sent)
    assert kept.items() <= client.items()
    assert kept.items() <= manage(server, client).json.items()
    assert kept.items() <= manage(server, client, "PUT", **sent).json.items()


@pytest.mark.parametrize(
    "wrong",
    [
        {"grant_types": ["implicit", "password"]},
        {"grant_types": ["refresh_token"]},
        {"grant_types": []},
        {"response_types": ["code id_token"]},
        {"response_types": []},
        {"grant_types": ["authorization_code"], "response_types": ["token"]},
        {"scope": "invoices:burn"},
        {"scope": " "},
    ],
)
def test_a_registration_of_which_nothing_remains_is_rejected(server: Server, wrong: dict[str, Any]) -> None:
    """RFC 7591 section 3.2.2: so is the update of a client, which stays as it is."""
    answer = register(server, **wrong)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    client = registered(server)
    before = manage(server, client).json
    assert manage(server, client, "PUT", **wrong).status_code == 400
    assert manage(server, client).json == before


OMITTABLE = [
    *(member.name for member in MEMBERS if member.name != "redirect_uris"),
    "id_token_encrypted_response_alg",
    "id_token_encrypted_response_enc",
    "userinfo_encrypted_response_alg",
    "request_object_encryption_alg",
    "registration_access_token",
    "client_id_issued_at",
    "client_secret",
]
ISSUED = {"client_id", "client_id_issued_at", "client_secret", "registration_client_uri", "registration_access_token"}


@pytest.mark.parametrize("value", [None, "", [""]], ids=["null", "empty", "empty in a list"])
def test_null_and_empty_members_count_as_omitted(server: Server, value: Any) -> None:
    """RFC 7591 section 2, RFC 7592 section 2.2: in an update, they reset the member to its default."""
    expected = registered(server)
    assert (
        registered(server, **dict.fromkeys(OMITTABLE, value)).items()
        >= {name: expected[name] for name in expected.keys() - ISSUED}.items()
    )
    more: dict[str, Any] = {"contacts": ["me@rp.test"], "policy_uri": "https://rp.test/policy", "jwks": KEYS}
    client = registered(server, **more, require_auth_time=True, default_max_age=5)
    for name in OMITTABLE:
        alone = manage(server, client, "PUT", **{name: value})
        assert alone.status_code == 200, alone.text
    changed = manage(server, client, "PUT", **dict.fromkeys(OMITTABLE, value)).json
    assert changed.keys() == expected.keys() - {"client_secret", "client_secret_expires_at"}
    assert {name: changed[name] for name in changed.keys() - ISSUED} == {
        name: expected[name] for name in changed.keys() - ISSUED
    }


@pytest.mark.parametrize("value", [None, "", [""], []])
def test_redirect_uris_cannot_be_omitted(server: Server, value: Any) -> None:
    """RFC 7591 section 2; RFC 7592 section 2.2: the update changes nothing."""
    client = registered(server)
    for answer in (register(server, redirect_uris=value), manage(server, client, "PUT", redirect_uris=value)):
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_redirect_uri")
    assert manage(server, client).json["redirect_uris"] == [URI]


def test_null_members_of_a_key_count_as_omitted(server: Server) -> None:
    """RFC 7591 section 2: neither do they make a key private or unusable."""
    key = {**KEYS["keys"][0], "use": None, "alg": None, "key_ops": None, "d": None}
    jwks = {"keys": [key]}
    assert registered(server, token_endpoint_auth_method="private_key_jwt", jwks=jwks)["jwks"] == jwks


METHODS: dict[str, dict[str, Any]] = {
    "client_secret_basic": {},
    "client_secret_post": {},
    "client_secret_jwt": {},
    "private_key_jwt": {"jwks": KEYS},
    "none": {},
}


@pytest.mark.parametrize("before", METHODS)
@pytest.mark.parametrize("after", METHODS)
def test_an_update_never_weakens_authentication(server: Server, before: str, after: str) -> None:
    """RFC 7592 section 2.2: a client keeps its method or changes to a key of its own."""
    client = registered(server, token_endpoint_auth_method=before, **METHODS[before])
    answer = manage(server, client, "PUT", token_endpoint_auth_method=after, **METHODS[after])
    assert (answer.status_code == 200) == (after in {before, "private_key_jwt"}), answer.text
    if answer.status_code != 200:
        assert answer.json["error"] == "invalid_client_metadata"
    expected = after if answer.status_code == 200 else before
    assert manage(server, client).json["token_endpoint_auth_method"] == expected


def test_an_omitted_method_does_not_remove_a_key(server: Server) -> None:
    """RFC 7592 section 2.2: an omitted member has its default value, which is a weaker method here."""
    client = registered(server, token_endpoint_auth_method="private_key_jwt", jwks=KEYS)
    assert manage(server, client, "PUT", jwks=KEYS).status_code == 400
    assert manage(server, client).json["token_endpoint_auth_method"] == "private_key_jwt"
