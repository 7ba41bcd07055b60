"""Each member of client metadata: it is returned as registered, has a limit, and never causes a server error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from rolecall_auth.clients.metadata import MEMBERS
from support.auth_server import Server
from support.openid import CALLBACK
from support.registration import KEYS, MINIMAL, URI, Web, manage, register, registered, with_web

HOST = "https://rp.test/"

EVERY: dict[str, Any] = {
    "redirect_uris": [URI, "https://rp.test/other?tenant=1"],
    "token_endpoint_auth_methods": ["private_key_jwt"],
    "token_endpoint_auth_method": "private_key_jwt",
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "client_name": "Zähler “x” 🧮",
    "client_uri": HOST,
    "logo_uri": HOST + "logo.png",
    "scope": "openid offline_access",
    "contacts": ["me@rp.test", "Zoë"],
    "tos_uri": HOST + "terms",
    "policy_uri": HOST + "policy",
    "jwks": KEYS,
    "software_id": "4NRB1-0XZABZI9E6-5SM3R",
    "software_version": "1.0",
    "application_type": "native",
    "sector_identifier_uri": HOST + "sector",
    "subject_type": "pairwise",
    "id_token_signed_response_alg": "EdDSA",
    "userinfo_signed_response_alg": "PS256",
    "request_object_signing_alg": "ES256",
    "token_endpoint_auth_signing_alg": "ES256",
    "default_max_age": 0,
    "require_auth_time": True,
    "default_acr_values": ["urn:one"],
    "initiate_login_uri": HOST + "login",
    "request_uris": [f"{HOST}request/{number}" for number in range(10)],
    "claims_in_id_token": True,
}


def test_every_member_is_told_as_it_was_registered(server: Server) -> None:
    """RFC 7591 section 3.2.1; a client has either `jwks` or `jwks_uri`."""
    assert EVERY.keys() == {member.name for member in MEMBERS} - {"jwks_uri"}
    with_web(server, Web(sector=(json.dumps(EVERY["redirect_uris"]).encode(), "application/json")))
    client = registered(server, **EVERY)
    assert EVERY.items() <= client.items()
    assert client.items() >= manage(server, client).json.items()
    changed = manage(server, client, "PUT", **EVERY | {"jwks": None, "jwks_uri": HOST + "jwks"}).json
    assert "jwks" not in changed
    assert changed["jwks_uri"] == HOST + "jwks"


TEXTS = [member for member in MEMBERS if member.kind in {"text", "uri"} and not member.choices]


@pytest.mark.parametrize("name", [each.name for each in TEXTS if each.name not in {"scope", "sector_identifier_uri"}])
def test_a_text_is_kept_up_to_its_length(server: Server, name: str) -> None:
    """The server rejects a longer text, because not every database does."""
    [member] = [each for each in TEXTS if each.name == name]
    longest = (HOST if member.kind == "uri" else "").ljust(member.max_length, "x")
    assert registered(server, **{name: longest})[name] == longest
    assert register(server, **{name: longest + "x"}).status_code == 400


@pytest.mark.parametrize("scheme", ["https", "org.example.app"])
def test_a_host_is_as_long_as_a_host_may_be(server: Server, scheme: str) -> None:
    """RFC 1035 section 2.3.4; a client without a name is named after its host, truncated if necessary."""
    host = "a." * 122 + "a" * 9
    client = registered(server, redirect_uris=[f"{scheme}://{host}/"], application_type="native")
    assert client["client_name"] == host[:100]
    answer = register(server, redirect_uris=[f"{scheme}://a{host}/"], application_type="native")
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_redirect_uri")
    assert register(server, policy_uri=f"https://a{host}/").status_code == 400


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_no_part_of_a_private_key_is_registered(server: Server, member: str) -> None:
    """RFC 7591 section 2: not even if another key of the set is valid."""
    public = RSAKey.generate_key(2048).as_dict(private=False)
    assert register(server, jwks={"keys": [*KEYS["keys"], {**public, member: "AQAB"}]}).status_code == 400


def test_keys_are_of_any_kind_that_verifies(server: Server) -> None:
    keys = [ECKey.generate_key("P-256"), RSAKey.generate_key(2048), OKPKey.generate_key("Ed25519")]
    jwks = {"keys": [{**key.as_dict(private=False), "kid": str(kid)} for kid, key in enumerate(keys)]}
    assert registered(server, jwks=jwks)["jwks"] == jwks
    odd = {"keys": [{**jwks["keys"][0], "note": "\0\ud800"}]}
    client = registered(server, jwks=odd)
    assert manage(server, client).json["jwks"] == odd


SIGNERS: dict[str, Any] = {
    "ES256": ECKey.generate_key("P-256").as_dict(private=False),
    "RS256": RSAKey.generate_key(2048).as_dict(private=False),
    "EdDSA": OKPKey.generate_key("Ed25519").as_dict(private=False),
}
SIGNERS["PS256"] = SIGNERS["RS256"]


def _signing_clients() -> dict[str, tuple[list[dict[str, Any]], dict[str, Any], bool]]:
    ec, rsa = SIGNERS["ES256"], SIGNERS["RS256"]
    assertion = {"token_endpoint_auth_method": "private_key_jwt"}
    of = "token_endpoint_auth_signing_alg"
    return {
        **{
            f"{key} for {algorithm}": (
                [SIGNERS[key]],
                assertion | {of: algorithm},
                key == algorithm or {key, algorithm} == {"RS256", "PS256"},
            )
            for key in SIGNERS
            for algorithm in SIGNERS
        },
        "a request object without a key": ([ec], {"request_object_signing_alg": "RS256"}, False),
        "a request object with a key": ([ec, rsa], {"request_object_signing_alg": "RS256"}, True),
        "one key each": ([ec, rsa], assertion | {of: "ES256", "request_object_signing_alg": "PS256"}, True),
        "a key for one of two": ([ec], assertion | {of: "ES256", "request_object_signing_alg": "PS256"}, False),
        "a key of another algorithm": ([{**rsa, "alg": "PS256"}], assertion | {of: "RS256"}, False),
        "a key that encrypts": ([{**ec, "use": "enc"}, rsa], assertion | {of: "ES256"}, False),
        "any algorithm": ([ec], assertion, True),
        "any algorithm of two keys": ([ec, rsa], assertion, True),
        "any algorithm, but ambiguous": ([ec, ec], assertion, False),
        "keys with the same kid": ([{**ec, "kid": "a"}, {**ec, "kid": "a"}], assertion, False),
        "keys with different kids": ([{**ec, "kid": "a"}, {**ec, "kid": "b"}], assertion, True),
        "keys that sign nothing": ([ec, ec], {}, True),
    }


@pytest.mark.parametrize(("keys", "members", "is_usable"), _signing_clients().values(), ids=_signing_clients().keys())
def test_keys_fit_the_registered_algorithms(
    server: Server, tmp_path: Path, keys: list[dict[str, Any]], members: dict[str, Any], is_usable: bool
) -> None:
    """RFC 7591 section 3.2.2, OpenID Connect Core section 10.1: at registration, in an update, and in the command."""
    document = {"jwks": {"keys": keys}, **members}
    client = registered(server)
    file = tmp_path / "metadata"
    file.write_text(json.dumps(document))
    command = ("add-client", "books", "--name", "Books", "--redirect-uri", URI, "--scope", "openid")
    options = ("--auth-method", members.get("token_endpoint_auth_method", "none"), "--metadata-file", str(file))
    done = server.app.test_cli_runner().invoke(args=[*command, *options])
    assert (done.exit_code == 0) == is_usable, done.output
    for answer, status in ((register(server, **document), 201), (manage(server, client, "PUT", **document), 200)):
        assert answer.status_code == (status if is_usable else 400), answer.text
        if not is_usable:
            assert answer.json["error"] == "invalid_client_metadata"
            assert "The jwks must have a key for each" in answer.json["error_description"]
            assert "no key for" in done.output


def test_a_body_is_bounded(server: Server) -> None:
    body = json.dumps(MINIMAL | {"unknown": "x" * 2**16})
    for method, path in (("POST", "/register"), ("PUT", "/register/tally")):
        answer = server.app.test_client().open(path, method=method, data=body, content_type="application/json")
        assert answer.status_code == 413


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.sampled_from([URI, CALLBACK]),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=10), inside, max_size=4),
    max_leaves=10,
)
ANY_METADATA = st.fixed_dictionaries(
    {},
    optional={
        member.name: ANY_JSON | (st.sampled_from(member.choices) if member.choices else st.just(EVERY.get(member.name)))
        for member in MEMBERS
    },
)


@settings(max_examples=60)
@given(ANY_JSON | ANY_METADATA, st.booleans())
def test_no_metadata_is_an_error_of_the_servers(server: Server, document: Any, minimal: bool) -> None:
    """RFC 7591 section 3.2.2, RFC 7592 section 2.2: at registration and at an update."""
    with_web(server, Web())
    if minimal and isinstance(document, dict):
        document = document | MINIMAL
    client, sent = server.app.test_client(), {"content_type": "application/json"}
    answer = client.post("/register", data=json.dumps(document), **sent)
    assert answer.status_code in {201, 400}, answer.text
    mine: Any = answer.json if answer.status_code == 201 else registered(server)
    headers = {"Authorization": f"Bearer {mine['registration_access_token']}"}
    if isinstance(document, dict):
        document = document | {"client_id": mine["client_id"]}
    again = client.put(f"/register/{mine['client_id']}", data=json.dumps(document), headers=headers, **sent)
    assert again.status_code == (200 if answer.status_code == 201 else 400), again.text
