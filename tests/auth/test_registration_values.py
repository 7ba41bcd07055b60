"""Values that the server drops from a registration, and updates that it rejects (RFC 7591, RFC 7592)."""

from __future__ import annotations

from typing import Any

import pytest

from support.auth_server import Server
from support.registration import KEYS, manage, register, registered

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
