"""The administrator's commands: register APIs and clients, create accounts, and find out why nothing starts."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from rolecall_auth.clients.metadata import MEMBERS, registered_metadata
from rolecall_auth.models import new_id
from rolecall_auth.models.claim_scope import ClaimScope
from rolecall_auth.models.client import RESPONSE_PARAMETERS, Client, redirect_uri_fault
from rolecall_auth.models.resource import Resource
from rolecall_auth.models.user import User, authenticate
from rolecall_auth.openid.custom_claims import RESERVED
from support.auth_server import Server, another_process, make_server, make_settings
from support.commands import CLIENT, run
from support.openid import ALICE, relying_party, tokens

pytestmark = pytest.mark.database


@pytest.fixture
def server(tmp_path: Path, redis_url: str) -> Server:
    return make_server(make_settings(tmp_path, redis_url, log_level="INFO"))


def test_a_client_and_its_secret(server: Server) -> None:
    done = run(server, *CLIENT)
    assert done.exit_code == 0, done.output
    [secret] = re.findall(r"shown again\): (\S{43})", done.output)
    client = server.services.registry.client("books")
    assert client is not None
    assert client.check_client_secret(secret)
    assert secret not in (client.secret_hash or "")
    assert client.requires_pkce
    assert (client.redirect_uris, client.scope) == (["https://books.example/cb"], "profile")


def test_a_secret_from_a_file_is_not_shown(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("a secret of thirty-two characters and more\n")
    done = run(server, *CLIENT, "--secret-file", str(file))
    assert "a secret" not in done.output
    with server.services.database.read() as session:
        client = session.get(Client, "books")
    assert client is not None
    assert client.check_client_secret("a secret of thirty-two characters and more")
    file.write_text("short")
    assert "shorter than 32 characters" in run(server, *CLIENT, "--secret-file", str(file)).output
    assert "No such file" in run(server, *CLIENT, "--secret-file", str(tmp_path / "none")).output


def test_a_public_client_has_no_secret(server: Server) -> None:
    native = ("--native", "--auth-method", "none", "--redirect-uri", "org.example.books:/cb")
    done = run(server, *CLIENT, *native)
    assert done.exit_code == 0, done.output
    assert "secret" not in done.output
    with server.services.database.read() as session:
        client = session.get(Client, "books")
    assert client is not None
    assert client.is_public
    assert client.secret_hash is None


def test_clients_that_sign(server: Server, tmp_path: Path) -> None:
    """RFC 7523: the server encrypts the secret of one, because it needs the plain value; the other only has a key."""
    done = run(server, *CLIENT, "--auth-method", "client_secret_jwt")
    [secret] = re.findall(r"shown again\): (\S{43})", done.output)
    with server.services.database.read() as session:
        client = session.get_one(Client, "books")
    assert client.secret_hash is None
    assert server.services.settings.data_key.decrypt(client.secret_sealed or b"").decode() == secret
    metadata = tmp_path / "metadata.json"
    metadata.write_text('{"jwks_uri": "https://books.example/jwks", "grant_types": ["authorization_code"]}')
    by_key = ("--auth-method", "private_key_jwt", "--metadata-file", str(metadata))
    done = run(server, *CLIENT, *by_key)
    assert "secret" not in done.output
    with server.services.database.read() as session:
        client = session.get_one(Client, "books")
    assert (client.jwks_uri, client.secret_hash, client.secret_sealed) == ("https://books.example/jwks", None, None)
    assert client.grant_types == ["authorization_code"]
    assert "neither jwks nor jwks_uri" in run(server, *CLIENT, *by_key[:2]).output


def test_a_client_may_sign_people_in(server: Server) -> None:
    """The command and dynamic registration use the same table of metadata (RFC 7591 section 2)."""
    done = run(server, *CLIENT[:-1], "openid email", "--profile", "openid")
    assert done.exit_code == 0, done.output
    with server.services.database.read() as session:
        client = session.get_one(Client, "books")
    assert (client.scope, client.id_token_signed_response_alg) == ("openid email", "RS256")
    assert (client.profile, client.requires_pkce) == ("openid", False)


def test_a_client_has_the_grants_that_are_named_or_the_default_ones(server: Server) -> None:
    """RFC 7591 section 2: an update with other options replaces the grants."""
    for options, grant_types in (
        ((), ["authorization_code", "refresh_token"]),
        (("--grant", "authorization_code"), ["authorization_code"]),
        (("--grant", "authorization_code", "--grant", "refresh_token"), ["authorization_code", "refresh_token"]),
    ):
        done = run(server, *CLIENT, *options)
        assert done.exit_code == 0, done.output
        with server.services.database.read() as session:
            client = session.get_one(Client, "books")
        assert (client.grant_types, client.response_types) == (grant_types, ["code"])


@pytest.mark.parametrize("value", [None, "", [""]])
def test_null_and_empty_metadata_count_as_omitted(server: Server, tmp_path: Path, value: Any) -> None:
    """RFC 7591 section 2, as for registration; an empty option is an error."""
    file = tmp_path / "metadata"
    names = [*(member.name for member in MEMBERS), "id_token_encrypted_response_alg", "request_object_encryption_alg"]
    file.write_text(json.dumps(dict.fromkeys(names, value)))
    registrations = []
    for options in ((), ("--metadata-file", str(file))):
        done = run(server, *CLIENT, *options)
        assert done.exit_code == 0, done.output
        with server.services.database.read() as session:
            registrations.append(registered_metadata(session.get_one(Client, "books")))
    assert registrations[0] == registrations[1]
    for option in ("--name", "--scope", "--redirect-uri"):
        done = run(server, *CLIENT, option, "")
        assert (done.exit_code, "must not be empty" in done.output) == (1, True), done.output


def test_what_is_wrong_is_one_line_and_changes_nothing(server: Server, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("wrong", "none", "list", "grants", "implicit", "no code")}
    files["wrong"].write_text('{"jwks_uri": "ftp://books.example/jwks"}')
    files["none"].write_text("{")
    files["grants"].write_text('{"grant_types": [["implicit"], 5]}')
    files["implicit"].write_text('{"grant_types": ["implicit"], "response_types": ["token"]}')
    files["no code"].write_text('{"response_types": []}')
    files["list"].write_text("[]")
    for change, said in (
        (("--scope", "invoices:burn"), "unknown scopes: invoices:burn"),
        (("--redirect-uri", "http://books.example/cb"), "must use https"),
        (("--redirect-uri", "javascript:alert(1)"), "must use https"),
        (("--redirect-uri", "https://books.example/cb?iss=x"), "authorization response: iss"),
        (("--redirect-uri", "HTTPS://books.example/cb"), "must have a scheme in lowercase"),
        (("--metadata-file", str(files["wrong"])), "jwks_uri is not https"),
        (("--metadata-file", str(files["none"])), "--metadata-file is not valid JSON"),
        (("--metadata-file", str(files["list"])), "must contain a JSON object"),
        (("--metadata-file", str(files["grants"])), "grant_types is a list with a value that is not a string"),
        (("--metadata-file", str(files["implicit"])), "grant_types is a list with a value that is not one of"),
        (("--metadata-file", str(files["no code"])), "may not use"),
        (("--grant", "refresh_token"), "this client may not use: refresh_token"),
        (("--name", "x" * 101), "client_name is longer than 100 characters"),
    ):
        done = run(server, *CLIENT, *change)
        assert done.exit_code == 1
        assert said in done.output
        assert done.output.count("\n") == 1
    with server.services.database.read() as session:
        assert session.get(Client, "books") is None


def test_what_is_known_of_a_person(server: Server, tmp_path: Path) -> None:
    """OpenID Connect Core section 5.1: userinfo returns each claim, with the right type."""
    file = tmp_path / "claims.json"
    server.add(relying_party())
    token = tokens(server, scope="openid profile email address phone")["access_token"]

    def told() -> Any:
        return server.app.test_client().get("/userinfo", headers={"Authorization": f"Bearer {token}"}).json

    assert told() == {"sub": server.ids["alice"], "preferred_username": "alice"}
    file.write_text(json.dumps(ALICE))
    done = run(server, "set-claims", "Alice", "--file", str(file))
    assert done.exit_code == 0, done.output
    assert told() == {"sub": server.ids["alice"], **ALICE}
    for wrong, said in (
        ({"email_verified": "true"}, "email_verified must be a boolean"),
        ({"updated_at": True}, "updated_at must be an integer"),
        ({"name": ["Alice"]}, "name must be a string"),
        ({"name": None}, "name must be a string"),
        ({"address": "Oxford"}, "address must be an object"),
        ({"address": {"country": 5, "planet": "Earth"}}, "country must be a string; planet is not a member of address"),
        ({"sub": "usr_bob"}, "sub is not a standard claim"),
        ({"groups": []}, "groups is not a standard claim, and no claim scope releases it"),
        ({"name": "\ud800"}, "name must be a JSON value with valid Unicode text"),
        ({"address": {"country": "\ud800"}}, "address must be a JSON value with valid Unicode text"),
        ({"name": "x" * 4000}, "the claims have 4011 bytes as JSON, and at most 3072 are allowed"),
        ([], "--file must contain a JSON object"),
    ):
        file.write_text(json.dumps(wrong))
        done = run(server, "set-claims", "alice", "--file", str(file))
        assert (done.exit_code, said in done.output) == (1, True), done.output
    file.write_text('{"name": "Nobody"}')
    assert "There is no account nobody" in run(server, "set-claims", "nobody", "--file", str(file)).output
    assert told() == {"sub": server.ids["alice"], **ALICE}
    done = run(server, "set-claims", "alice", "--file", str(file))
    assert told() == {"sub": server.ids["alice"], "preferred_username": "alice", "name": "Nobody"}


@pytest.mark.parametrize(
    ("uri", "kind", "allowed"),
    [
        ("https://app.example/cb?tenant=1", "web", True),
        ("http://localhost:9000/cb", "web", True),
        ("http://127.0.0.1/cb", "native", True),
        ("org.example.app:/cb", "native", True),
        ("org.example.app:/cb", "web", False),
        ("myapp:/cb", "native", False),
        ("https://app.example/cb#part", "web", False),
        ("https://user@app.example/cb", "web", False),
        ("https://app.example\\@evil.example/cb", "web", False),
        ("https:///cb", "web", False),
        ("https://app.example:port/cb", "web", False),
        ("data:text/html,x", "native", False),
        ("/cb", "web", False),
        ("https://äpp.example/cb", "web", False),
        ("https://evil.example;sandbox/cb", "web", False),
        ("https://evil.example,a.example/cb", "web", False),
        ("https://*.example/cb", "web", False),
        ("https://a.example%3bsandbox/cb", "web", False),
        ("https://[::1;x]/cb", "web", False),
        ("org.example.app://x;sandbox/cb", "native", False),
        ("org.example.app://callback", "native", True),
        ("https://[2001:db8::1]:8443/cb", "web", True),
        ("http://app.localhost/cb", "web", True),
        ("http://app.test/cb", "web", False),
        ("http://a.test/cb", "native", False),
        ("http://10.0.0.1/cb", "web", False),
        ("http://localhost.evil.example/cb", "web", False),
        ("http://app.test./cb", "web", False),
        ("http://127.1/cb", "web", True),
        ("http://127.0.0.1%20.evil.example/cb", "web", False),
        ("HTTPS://app.example/cb", "web", False),
        ("Https://app.example/cb", "native", False),
        ("HTTP://127.0.0.1/cb", "native", False),
        ("org.Example.app:/cb", "native", False),
        ("https://App.Example/CB", "web", True),
        ("https://app.example/cb?a[]=1", "web", False),
        ("https://app.example/[cb]", "web", False),
        ("https://app.example/cb?a|b", "web", False),
        ("https://app.example/{cb}", "web", False),
        ("https://app.example/^cb", "web", False),
        ("https://app.example/cb?codes=1&co%2064e=2&Code=3&x=code", "web", True),
        ("https://app.example/code?next=/iss&error_=", "web", True),
    ],
)
def test_redirect_uris(uri: str, kind: str, allowed: bool) -> None:
    """RFC 6749 section 3.1.2, RFC 8252 sections 7.1 to 7.3; no character of a host ends up in another header."""
    assert (redirect_uri_fault(uri, kind, lab=False) is None) == allowed


@pytest.mark.parametrize("name", sorted(RESPONSE_PARAMETERS))
def test_redirect_uris_have_no_parameter_of_the_response(name: str) -> None:
    """RFC 6749 section 3.1, RFC 9207 section 2: a response must not have it twice, however it is encoded."""
    encoded = "".join(f"%{ord(each):02x}" for each in name)
    plain = (f"{name}=1", f"a=1&{name}=", name, f"{encoded}=1", f"%{ord(name[0]):02X}{name[1:]}&a=1")
    for query in (*plain, f"a=1;{name}=2", f"+{name}=1", f"{name}%20=1"):
        for uri in (f"https://app.example/cb?{query}", f"org.example.app:/cb?{query}"):
            fault = redirect_uri_fault(uri, "native", lab=False)
            assert fault == f"must not have query parameters of the authorization response: {name}", uri


def test_names_that_nobody_has_are_for_the_lab() -> None:
    assert redirect_uri_fault("http://app.test/cb", "web", lab=True) is None


def test_a_resource(server: Server) -> None:
    command = ("add-resource", "mail", "--name", "Mail", "--scope", "mail:read=read your mail", "--scope", "mail:send")
    done = run(server, *command, "--identifier", "https://mail.example/")
    assert done.exit_code == 0, done.output
    with server.services.database.read() as session:
        row = session.get(Resource, "https://mail.example")
    assert row is not None
    assert row.scopes == {"mail:read": "read your mail", "mail:send": "mail:send"}
    moved = run(server, *command, "--identifier", "https://other.example")
    assert "An identifier cannot be changed" in moved.output
    assert "must be an http or https URL" in run(server, *command, "--identifier", "mail").output


def test_a_resource_and_its_access_tokens(server: Server) -> None:
    """RFC 9068 section 2.1; an update without the options has the defaults again."""
    command = ("add-resource", "mail", "--name", "Mail", "--scope", "mail:read", "--identifier", "https://mail.example")
    options = ("--access-token-alg", "PS256", "--access-token-lifetime", "3600", "--access-token-typ", "JWT")
    for given, expected in ((options, ("PS256", 3600, "JWT")), ((), ("ES256", None, "at+jwt"))):
        done = run(server, *command, *given)
        assert done.exit_code == 0, done.output
        with server.services.database.read() as session:
            row = session.get_one(Resource, "https://mail.example")
        assert (row.access_token_signing_alg, row.access_token_lifetime, row.access_token_typ) == expected
    for wrong in (
        ("--access-token-alg", "HS256"),
        ("--access-token-alg", "none"),
        ("--access-token-lifetime", "0"),
        ("--access-token-lifetime", "86401"),
        ("--access-token-typ", "at"),
    ):
        done = run(server, *command, *wrong)
        assert (done.exit_code, f"Invalid value for '{wrong[0]}'" in done.output) == (2, True), done.output


def test_a_scope_that_releases_claims(server: Server, tmp_path: Path) -> None:
    """The claims of a person may then be any JSON values."""
    command = ("add-claim-scope", "groups", "--claim", "groups", "--description", "see your groups")
    done = run(server, *command, "--claim", "https://books.example/roles")
    assert done.exit_code == 0, done.output
    assert "groups, https://books.example/roles" in done.output
    file = tmp_path / "claims.json"
    for value in (["a", "é"], {"a": {"b": [1, None, True]}}, "text", 5, None, "x" * 2000):
        file.write_text(json.dumps({"groups": value}))
        server.forget_scopes()
        done = run(server, "set-claims", "alice", "--file", str(file))
        assert done.exit_code == 0, done.output
        with server.services.database.read() as session:
            assert session.get_one(User, server.ids["alice"]).claims == {"groups": value}
    for text, said in (
        ('{"groups": NaN}', "groups must be a JSON value"),
        ('{"groups": ' + "[" * 9 + "]" * 9 + "}", "groups must not be nested more than 8 levels deep"),
        ('{"groups": ' + "[" * 900 + "]" * 900 + "}", "groups must not be nested more than 8 levels deep"),
        ('{"groups": "' + "é" * 2000 + '"}', "the claims have 4013 bytes as JSON"),
    ):
        file.write_text(text)
        done = run(server, "set-claims", "alice", "--file", str(file))
        assert (done.exit_code, said in done.output) == (1, True), done.output
    assert run(server, *command, "--claim", "level").exit_code == 0
    with server.services.database.read() as session:
        assert session.get_one(ClaimScope, "groups").claims == ["groups", "level"]


def test_a_scope_that_cannot_be_defined(server: Server) -> None:
    """RFC 6749 section 3.3; RFC 7519 section 4.1 and others give the protocol claims their meaning."""
    for scope, claim, description, said in (
        ("openid", "groups", "see", "openid is a scope of OpenID Connect"),
        ("a b", "groups", "see", "a b is not a scope value"),
        ("s" * 101, "groups", "see", "is not a scope value of at most 100 characters"),
        ("groups", "a b", "see", "a b is not a claim name"),
        ("groups", "groups", "", "the description must have 1 to 300 printable characters"),
        *(("groups", name, "see", f"{name} is a claim that only this server sets") for name in sorted(RESERVED)),
    ):
        done = run(server, "add-claim-scope", scope, "--claim", claim, "--description", description)
        assert (done.exit_code, said in done.output) == (1, True), done.output
    many = [each for number in range(21) for each in ("--claim", f"c{number}")]
    assert "1 to 20 claims" in run(server, "add-claim-scope", "many", *many, "--description", "see").output
    with server.services.database.read() as session:
        assert session.scalars(sa.select(ClaimScope)).all() == []
    for name in ("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "nonce", "acr", "amr", "azp", "sid"):
        assert name in RESERVED
    assert {"auth_time", "at_hash", "cnf", "act", "authorization_id", "active", "sub_kind"} <= RESERVED


def test_a_person(server: Server) -> None:
    done = run(server, "add-user", "Carol", answer="a password of hers\n")
    assert done.exit_code == 0, done.output
    with server.services.database.read() as session:
        carol = authenticate(session, "carol", "a password of hers")
    assert carol is not None
    assert carol.id in done.output
    assert "already" in run(server, "add-user", "carol", answer="another password\n").output
    assert "8 to 200 characters" in run(server, "add-user", "dora", answer="short\n").output


def test_check_says_what_is_wrong(server: Server) -> None:
    assert run(server, "check").exit_code == 0
    server.services.database.downgrade("base")
    done = run(server, "check")
    assert done.exit_code == 1
    assert "the database is at revision none and this version needs" in done.output


def test_a_lost_data_key_is_one_line_at_the_start(server: Server) -> None:
    """The images run `flask check` before they start."""
    done = run(another_process(server, data_key=MultiFernet([Fernet(Fernet.generate_key())])), "check")
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "cannot start: DATA_KEY does not decrypt the keys in the database. Set the DATA_KEY that encrypted them."
    ]


def test_no_identifier_is_an_option_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`disable-client` takes one that the server chose (RFC 7591 section 3.2.1)."""
    drawn = iter(["-dash", "--help", "plain-one"])
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: next(drawn))
    assert new_id() == "plain-one"
