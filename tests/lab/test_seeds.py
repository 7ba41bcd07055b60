"""The seeds file: faults with their line numbers, variables, and repeated application."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from rolecall.sql import Database
from rolecall_auth.models.client import Client
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.user import User, authenticate
from rolecall_auth.openid import scopes
from rolecall_auth.services import MIGRATIONS as AUTH_MIGRATIONS
from rolecall_lab import seeds
from rolecall_resource import MIGRATIONS as RESOURCE_MIGRATIONS
from rolecall_resource.models import Invoice
from support.auth_server import DATA_KEY
from support.databases import empty_database

pytestmark = pytest.mark.database

ENVIRON = {"RESOURCE_SERVICE_RESOURCE_SECRET": "r" * 32, "CLIENT_WEBAPP_CLIENT_SECRET": "c" * 32}

_PERSON = "people:\n  - username: x\n    sub: z\n    password: long enough\n"

_RESOURCE = "resources:\n  - resource_id: r\n    identifier: https://i\n    name: n\n    secret: s\n    scopes: {}\n"

_CLIENT = "clients:\n  - client_id: c\n    client_name: C\n    redirect_uris: []\n    scope: s\n"

FAULTS = {
    "no YAML": ("people: [", "expected"),
    "no mapping": ("- a", "1: the file must be a mapping"),
    "unknown section": ("peoples: []", "1: peoples is unknown in the file"),
    "missing member": ("people:\n  - username: x\n    sub: y", "2: password is required in people"),
    "unknown member": (
        "people:\n  - {username: x, password: y, sub: z,\n     shoe: 9}",
        "3: shoe is unknown in people",
    ),
    "wrong type": ("people:\n  - username: x\n    password: 5\n    sub: z", "3: password must be a string"),
    "variable not set": (
        "people:\n  - username: x\n    sub: z\n    password: ${NOWHERE}",
        "4: the environment variable NOWHERE",
    ),
    "unknown method": (
        _CLIENT + "    token_endpoint_auth_method: magic",
        "6: token_endpoint_auth_method must be one of",
    ),
    "public with a secret": (
        _CLIENT + "    token_endpoint_auth_method: none\n    secret: x",
        "2: a client must have a secret, unless",
    ),
    "a key and a secret": (
        _CLIENT
        + "    token_endpoint_auth_method: private_key_jwt\n    secret: x\n    jwks_uri: http://localhost:9000/jwks",
        "2: a client must have a secret, unless",
    ),
    "a signature without a key": (
        _CLIENT + "    token_endpoint_auth_method: private_key_jwt",
        "2: a client with private_key_jwt must have either jwks or jwks_uri",
    ),
    "methods that cannot be combined": (
        _CLIENT + "    token_endpoint_auth_method: client_secret_basic\n    secret: s\n"
        "    token_endpoint_auth_methods: [client_secret_basic, none]",
        "2: token_endpoint_auth_methods is invalid: only client_secret_basic and client_secret_post can be combined",
    ),
    "methods in another order": (
        _CLIENT + "    token_endpoint_auth_method: client_secret_post\n    secret: s\n"
        "    token_endpoint_auth_methods: [client_secret_basic, client_secret_post]",
        "2: token_endpoint_auth_methods is invalid: the first must be the token_endpoint_auth_method",
    ),
    "no methods": (
        _CLIENT + "    token_endpoint_auth_method: client_secret_post\n    secret: s\n"
        "    token_endpoint_auth_methods: []",
        "2: token_endpoint_auth_methods is invalid: the first must be the token_endpoint_auth_method",
    ),
    "unknown methods": (
        _CLIENT + "    token_endpoint_auth_methods: [magic]",
        "6: token_endpoint_auth_methods must be one of",
    ),
    "claims in the ID token that are a text": (
        _CLIENT + "    claims_in_id_token: 'true'",
        "6: claims_in_id_token must be true or false",
    ),
    "unknown algorithm": (
        _CLIENT + "    token_endpoint_auth_method: none\n    id_token_signed_response_alg: none",
        "7: id_token_signed_response_alg must be one of RS256",
    ),
    "a redirect URI with a parameter of the response": (
        _CLIENT.replace("[]", "['http://localhost/cb?%63ode=1']") + "    token_endpoint_auth_method: none",
        "4: the redirect URI http://localhost/cb?%63ode=1 must not have query parameters of the authorization "
        "response: code",
    ),
    "an empty client ID": (_CLIENT.replace("client_id: c", "client_id: ''"), "2: client_id must not be empty"),
    "a client ID of a subject": (_CLIENT.replace("client_id: c", "client_id: svc_c"), "2: client_id must not begin"),
    "a client ID that is not ASCII": (_CLIENT.replace("client_id: c", "client_id: ü"), "2: client_id has a character"),
    "a client ID with a tab": (_CLIENT.replace("client_id: c", 'client_id: "a\\tb"'), "2: client_id has a character"),
    "a long client ID": (_CLIENT.replace("client_id: c", f"client_id: {'c' * 101}"), "2: client_id must have at most"),
    "a secret that is not ASCII": (
        _CLIENT + "    token_endpoint_auth_method: client_secret_basic\n    secret: sécret",
        "7: secret has a character",
    ),
    "a long secret": (
        _CLIENT + f"    token_endpoint_auth_method: client_secret_basic\n    secret: {'s' * 501}",
        "7: secret must have at most 500 characters",
    ),
    "a resource ID that is not ASCII": (_RESOURCE.replace("resource_id: r", "resource_id: ü"), "2: resource_id has"),
    "a secret of a resource with a tab": (_RESOURCE.replace("secret: s", 'secret: "a\\tb"'), "5: secret has"),
    "an identifier that is not a URI": (_RESOURCE.replace("https://i", "i"), "3: identifier has a character"),
    "a redirect URI that is not a text": (
        _CLIENT.replace("[]", "[5]") + "    token_endpoint_auth_method: none",
        "4: the redirect URI 5 must use https",
    ),
    "unknown algorithm of access tokens": (
        f"{_RESOURCE}    access_token_signing_alg: HS256",
        "7: access_token_signing_alg must be one of ES256",
    ),
    "endless access tokens": (f"{_RESOURCE}    access_token_lifetime: 86401", "must be from 1 to 86400"),
    "access tokens without a lifetime": (f"{_RESOURCE}    access_token_lifetime: 0", "must be from 1 to 86400"),
    "unknown type of access tokens": (
        f"{_RESOURCE}    access_token_typ: at",
        "access_token_typ must be one of at+jwt, JWT",
    ),
    "a claim of the protocol": (
        "claim_scopes:\n  - {scope: x, description: d, claims: [sub]}",
        "2: sub is a claim that only this server sets",
    ),
    "a scope of OpenID Connect": (
        "claim_scopes:\n  - {scope: email, description: d, claims: [mail]}",
        "2: email is a scope of OpenID Connect",
    ),
    "claims that are too long": (f"{_PERSON}    claims: {{name: {'x' * 4000}}}", "5: the claims have 4011 bytes"),
    "a claim that is not JSON": (
        f"claim_scopes:\n  - {{scope: x, description: d, claims: [since]}}\n{_PERSON}    claims: {{since: 2026-01-01}}",
        "7: since must be a JSON value",
    ),
    "unknown claim": (f"{_PERSON}    claims:\n      shoe: 9", "6: shoe is not a standard claim"),
    "claims that are none": (f"{_PERSON}    claims: 5", "5: claims must be a mapping"),
    "a text that should be true or false": (
        f"{_PERSON}    claims:\n      email_verified: 'true'",
        "6: email_verified must be a boolean",
    ),
    "a time as a date": (
        f"{_PERSON}    claims:\n      updated_at: 2026-01-01",
        "6: updated_at must be an integer",
    ),
    "a birthdate as a date": (f"{_PERSON}    claims:\n      birthdate: 1852-05-04", "6: birthdate must be a string"),
    "an address that is a string": (f"{_PERSON}    claims:\n      address: Oxford", "6: address must be an object"),
    "an address with a number": (
        f"{_PERSON}    claims:\n      address:\n        postal_code: 10115",
        "7: postal_code must be a string",
    ),
    "invoices of nobody": ("invoices:\n  carol: []", "2: carol has invoices but is not in people"),
    "not a list": ("people: 5", "1: people must be a list"),
    "entry without names": ("people:\n  - alice", "1: entry 1 of people must be a mapping"),
}


@pytest.mark.parametrize(("text", "says"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "seeds.yaml"
    file.write_text(text)
    with pytest.raises(seeds.SeedsError) as caught:
        seeds.read(file, {})
    assert f"seeds.yaml:{says}" in str(caught.value) or says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "seeds.yaml"
    file.write_text("people:\n  - username: x\nclients:\n  - client_id: c")
    with pytest.raises(seeds.SeedsError) as caught:
        seeds.read(file, {})
    assert len(caught.value.faults) >= 5


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(seeds.SeedsError, match="cannot be read"):
        seeds.read(tmp_path / "none.yaml", {})


def test_variables_and_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "seeds.yaml"
    file.write_text("people:\n  - {username: '${WHO}', password: '${PASSWORD:-long enough}', sub: s}")
    person = seeds.read(file, {"WHO": "carol"}).people[0]
    assert (person["username"], person["password"]) == ("carol", "long enough")


def test_applied_twice_it_is_as_once_and_leaves_alone_what_people_did(tmp_path: Path) -> None:
    auth = Database(empty_database("auth", tmp_path), AUTH_MIGRATIONS)
    resource = Database(empty_database("resource", tmp_path), RESOURCE_MIGRATIONS)
    auth.upgrade()
    resource.upgrade()
    content = seeds.read(environ=ENVIRON)
    seeds.apply(content, auth, resource, DATA_KEY.encrypt)
    with auth.transaction() as session:
        session.add(User(username="carol", password_hash="x"))
        alice = session.scalar(sa.select(User).where(User.username == "alice"))
        assert alice is not None
        before = alice.password_hash
    with resource.transaction() as session:
        paid = session.scalar(sa.select(Invoice).where(Invoice.number == "INV-2026-0412"))
        assert paid is not None
        paid.state = "paid"
    seeds.apply(content, auth, resource, DATA_KEY.encrypt)
    with auth.read() as session:
        people = {user.username: user for user in session.scalars(sa.select(User))}
        assert people.keys() == {"alice", "bob", "demo", "carol"}
        assert people["alice"].password_hash == before, "an unchanged password was hashed again"
        for name in ("alice", "bob"):
            known = {"preferred_username": people[name].username, **people[name].claims}
            standard = {claim for names in scopes.CLAIMS.values() for claim in names}
            assert known.keys() == {*standard, "groups"}, "all standard claims, and a claim of a claim scope"
            assert known["address"].keys() >= {"formatted", "street_address", "locality", "region", "country"}
            assert type(known["email_verified"]) is bool
            assert type(known["updated_at"]) is int
        assert authenticate(session, "bob", "builder-lab") is not None
        assert {client.client_id for client in session.scalars(sa.select(Client))} >= {"tally", "tally-desktop"}
        assert session.scalar(sa.select(sa.func.count()).select_from(Resource)) == 1
    with resource.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Invoice)) == 27
        assert session.scalar(sa.select(Invoice.state).where(Invoice.number == "INV-2026-0412")) == "paid"
    moved = seeds.read(environ={**ENVIRON, "RESOURCE_SERVICE_RESOURCE_IDENTIFIER": "http://api.localhost:8002"})
    seeds.apply(moved, auth, resource, DATA_KEY.encrypt)
    with auth.read() as session:
        assert [each.identifier for each in session.scalars(sa.select(Resource))] == ["http://api.localhost:8002"]
    auth.engine.dispose()
    resource.engine.dispose()


def test_clients_that_sign(tmp_path: Path) -> None:
    """OpenID Connect Core section 9: a client that signs with a key, and a client whose secret is stored encrypted."""
    file = tmp_path / "seeds.yaml"
    common = "client_name: C, redirect_uris: [http://localhost/cb], scope: openid, token_endpoint_auth_method"
    file.write_text(
        "clients:\n"
        f"  - {{client_id: key, {common}: private_key_jwt, jwks: {{keys: [{{kty: RSA}}]}}}}\n"
        f"  - {{client_id: secret, {common}: client_secret_jwt, secret: {'s' * 32}}}\n"
    )
    auth = Database(empty_database("auth", tmp_path), AUTH_MIGRATIONS)
    resource = Database(empty_database("resource", tmp_path), RESOURCE_MIGRATIONS)
    auth.upgrade()
    resource.upgrade()
    for _ in range(2):
        seeds.apply(seeds.read(file, {}), auth, resource, DATA_KEY.encrypt)
    with auth.read() as session:
        key, secret = session.get_one(Client, "key"), session.get_one(Client, "secret")
    assert (key.jwks, key.secret_hash, key.secret_sealed) == ({"keys": [{"kty": "RSA"}]}, None, None)
    assert secret.secret_hash is None
    assert DATA_KEY.decrypt(secret.secret_sealed or b"") == b"s" * 32
    auth.engine.dispose()
    resource.engine.dispose()


def test_extensions_of_a_client(tmp_path: Path) -> None:
    """OpenID Connect Core section 5.4 for the claims; without these members, the defaults apply again."""
    file = tmp_path / "seeds.yaml"
    auth = Database(empty_database("auth", tmp_path), AUTH_MIGRATIONS)
    resource = Database(empty_database("resource", tmp_path), RESOURCE_MIGRATIONS)
    auth.upgrade()
    resource.upgrade()
    methods = ["client_secret_post", "client_secret_basic"]
    extensions = f"    token_endpoint_auth_methods: {methods}\n    claims_in_id_token: true\n"
    for more, expected in ((extensions, (methods, True)), ("", (None, False))):
        secret = f"    token_endpoint_auth_method: client_secret_post\n    secret: {'s' * 32}\n"
        file.write_text(_CLIENT + secret + more)
        seeds.apply(seeds.read(file, {}), auth, resource, DATA_KEY.encrypt)
        with auth.read() as session:
            client = session.get_one(Client, "c")
        assert (client.token_endpoint_auth_methods, client.claims_in_id_token) == expected
    auth.engine.dispose()
    resource.engine.dispose()
