"""Values that the server drops from a registration, and updates that it rejects (RFC 7591, RFC 7592)."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rolecall_auth.clients.metadata import MEMBERS
from support.auth_server import Server, basic
from support.openid import ALICE, verified, with_claims
from support.registration import KEYS, URI, manage, register, registered

pytestmark = pytest.mark.database


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"grant_types": ["implicit", "authorization_code", "password"]}, {"grant_types": ["authorization_code"]}),
        (
            {
                "grant_types": [
                    "urn:ietf:params:oauth:grant-type:device_code",
                    "refresh_token",
                    "implicit",
                    "authorization_code",
                    "client_credentials",
                    "urn:ietf:params:oauth:grant-type:token-exchange",
                ],
                "response_types": ["code", "id_token", "none"],
            },
            {
                "grant_types": ["refresh_token", "authorization_code", "client_credentials"],
                "response_types": ["code"],
            },
        ),
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
    """RFC 7591 section 3.2.2: such an update is rejected too, and does not change the client."""
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
    """RFC 7591 section 2: such a key is still a public key, and can be used."""
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
    """RFC 7592 section 2.2: a client can keep its method, or change to `private_key_jwt`."""
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


BOTH = ["client_secret_basic", "client_secret_post"]


@pytest.mark.parametrize("methods", [BOTH, BOTH[::-1], BOTH[:1], BOTH[1:]])
def test_a_client_authenticates_with_each_registered_method(
    server: Server, caplog: pytest.LogCaptureFixture, methods: list[str]
) -> None:
    """RFC 6749 section 2.3.1; the list is an extension, which RFC 7591 section 2 allows."""
    client = registered(server, token_endpoint_auth_methods=methods, grant_types=["client_credentials"])
    assert (client["token_endpoint_auth_method"], client["token_endpoint_auth_methods"]) == (methods[0], methods)
    assert manage(server, client).json["token_endpoint_auth_methods"] == methods
    client_id, secret = client["client_id"], client["client_secret"]
    grant = {"grant_type": "client_credentials", "scope": "invoices:read"}
    with_basic = server.post("/token", basic(client_id, secret), **grant)
    with_post = server.post("/token", None, client_id=client_id, client_secret=secret, **grant)
    statuses = {"client_secret_basic": with_basic.status_code, "client_secret_post": with_post.status_code}
    assert statuses == {method: 200 if method in methods else 401 for method in BOTH}
    caplog.clear()
    caplog.set_level(logging.INFO)
    assert server.post("/revoke", None, client_id=client_id, token="x").status_code == 401
    [detail] = [vars(record)["detail"] for record in caplog.records if record.message == "refused"]
    assert detail == f"client {client_id}, registered: {' or '.join(methods)}, sent: none"


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_endpoint_auth_methods": ["client_secret_basic", "none"]},
        {"token_endpoint_auth_methods": ["none", "client_secret_post"]},
        {"token_endpoint_auth_methods": ["client_secret_basic", "private_key_jwt"]},
        {"token_endpoint_auth_methods": ["client_secret_jwt", "client_secret_post"]},
        {"token_endpoint_auth_methods": [*BOTH, "tls_client_auth"]},
        {"token_endpoint_auth_methods": BOTH, "token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_methods": BOTH, "token_endpoint_auth_method": "none"},
        {"token_endpoint_auth_methods": [["none"]]},
        {"token_endpoint_auth_methods": [""] * 2},
    ],
)
def test_methods_that_cannot_be_combined(server: Server, wrong: dict[str, Any]) -> None:
    """RFC 7591 section 3.2.2; no value is dropped, because it protects the client."""
    answer = register(server, **wrong, jwks=KEYS)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    assert "token_endpoint_auth_methods" in answer.json["error_description"]
    client = registered(server, token_endpoint_auth_methods=BOTH)
    assert manage(server, client, "PUT", **wrong, jwks=KEYS).status_code == 400
    assert manage(server, client).json["token_endpoint_auth_methods"] == BOTH


@pytest.mark.parametrize(
    ("before", "after", "is_allowed"),
    [
        (BOTH, BOTH, True),
        (BOTH, BOTH[::-1], True),
        (BOTH, BOTH[:1], True),
        (BOTH, ["private_key_jwt"], True),
        (BOTH, ["none"], False),
        (BOTH, ["client_secret_jwt"], False),
        (BOTH[:1], BOTH, False),
        (BOTH[1:], BOTH, False),
        (["private_key_jwt"], BOTH, False),
        (["client_secret_jwt"], BOTH, False),
        (["none"], BOTH, False),
    ],
)
def test_an_update_never_adds_a_weaker_method(
    server: Server, before: list[str], after: list[str], is_allowed: bool
) -> None:
    """RFC 7592 section 2.2: omitted members of the list are removed; only `private_key_jwt` can be added."""
    client = registered(server, token_endpoint_auth_methods=before, jwks=KEYS)
    answer = manage(server, client, "PUT", token_endpoint_auth_methods=after, jwks=KEYS)
    assert answer.status_code == (200 if is_allowed else 400), answer.text
    assert manage(server, client).json["token_endpoint_auth_methods"] == (after if is_allowed else before)


def test_an_omitted_list_leaves_the_single_method(server: Server) -> None:
    """RFC 7592 section 2.2."""
    client = registered(server, token_endpoint_auth_methods=BOTH)
    changed = manage(server, client, "PUT", token_endpoint_auth_method="client_secret_post")
    assert changed.status_code == 200
    assert changed.json["token_endpoint_auth_method"] == "client_secret_post"
    assert "token_endpoint_auth_methods" not in changed.json
    assert manage(server, client, "PUT").status_code == 400, "client_secret_basic is no longer registered"


def test_a_client_registers_for_claims_in_the_id_token(server: Server) -> None:
    """OpenID Connect Core section 5.4; the member is an extension, and responses only have it if it is true."""
    for value in (None, False):
        assert "claims_in_id_token" not in registered(server, claims_in_id_token=value)
    client = registered(server, claims_in_id_token=True, token_endpoint_auth_methods=BOTH)
    assert client["claims_in_id_token"] is True
    assert manage(server, client).json["claims_in_id_token"] is True
    with_claims(server)
    mine = basic(client["client_id"], client["client_secret"])

    def id_token() -> dict[str, Any]:
        code = server.code(client_id=client["client_id"], redirect_uri=URI, scope="openid email", nonce="n")
        token = server.redeem(code, mine, redirect_uri=URI).json["id_token"]
        return verified(server, token, client["client_id"])

    assert id_token()["email"] == ALICE["email"]
    assert "claims_in_id_token" not in manage(server, client, "PUT").json
    assert "email" not in id_token()
