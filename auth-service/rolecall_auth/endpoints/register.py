"""Dynamic client registration (RFC 7591, OpenID Connect Registration) and its management (RFC 7592)."""

from __future__ import annotations

import hmac
import json
from typing import Any

import sqlalchemy as sa
from flask import Response, g, request
from flask.typing import ResponseReturnValue

from rolecall import audit, checks, clock
from rolecall.checks import Check
from rolecall.errors import NO_STORE, OAuthError, challenge, json_body
from rolecall.storage import digest
from rolecall_auth.clients import logos, metadata
from rolecall_auth.jose.client_keys import each_once
from rolecall_auth.models import new_id, new_secret
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import ENDED, Client
from rolecall_auth.models.consent import Consent
from rolecall_auth.models.initial_access_token import InitialAccessToken
from rolecall_auth.models.logo import Logo
from rolecall_auth.services import services

OPEN = checks.define(
    "register.open", "RFC 7591 section 3", "access_denied", "No client registers itself here.", status=403
)
ALLOWED = checks.define(
    "register.initial_access_token",
    "RFC 7591 section 3",
    "invalid_token",
    "An initial access token is needed, and each is good for one registration.",
    status=401,
)
JSON = checks.define(
    "register.json",
    "RFC 7591 section 3.1",
    "invalid_client_metadata",
    "Send the metadata as a JSON object in which each name stands once, with Content-Type application/json.",
)
OWN = checks.define(
    "register.access_token",
    "RFC 7592 section 2",
    "invalid_token",
    "The registration access token is not the one of this client.",
    status=401,
)
SAME = checks.define(
    "register.same_client",
    "RFC 7592 section 2.2",
    "invalid_client_metadata",
    "The client_id must be the client's, and what the server chose cannot be changed.",
)

_CHOSEN_HERE = (
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)
"""What an update must not carry (RFC 7592 section 2.2)."""

_WITH_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")


def register() -> ResponseReturnValue:
    """POST /register: 201 with all that is registered, the secret if there is one, and where to manage it."""
    settings = services().settings
    OPEN(settings.registration != "closed", expected="open, or with a token", otherwise="closed")
    services().throttles.registration(request.remote_addr or "")
    document = _document()
    token = _bearer()
    _allowed(token is not None or settings.registration == "open")
    profile = settings.registration_profile if token is None else _profile_of(token)
    found = metadata.read(document, profile)
    secret, registration_token = new_secret(), new_secret()
    client = Client(
        client_id=new_id(),
        profile=profile,
        created_at=clock.now(),
        registration_token_hash=digest(registration_token),
        **metadata.columns(found),
        **_secret_columns(found["token_endpoint_auth_method"], secret),
    )
    with services().database.transaction() as session:
        if token is not None:
            # of two who show it at once, one registers
            taken: Any = session.execute(_initial(token, delete=True))
            _allowed(taken.rowcount == 1)
        session.add(client)
        session.flush()
        session.expunge(client)
    audit.record("client_registered", client_id=client.client_id)
    if client.logo_uri is not None:
        logos.fetch(client)
    answer = _told(client, registration_token)
    if client.token_endpoint_auth_method in _WITH_SECRET:
        answer |= {"client_secret": secret, "client_secret_expires_at": 0}
    return json_body(answer, 201)


def registration(client_id: str) -> ResponseReturnValue:
    """GET, PUT or DELETE /register/<client_id>: read, replace or end a registration (RFC 7592 section 2)."""
    request.get_data()  # a body that is too long is refused before anything else
    services().throttles.client(None, request.remote_addr or "")
    client, token = _own(client_id)
    if request.method == "DELETE":
        return _end(client)
    if request.method == "PUT":
        client = _replaced(client)
    return json_body(_told(client, token))


def _document() -> dict[str, Any]:
    data = request.get_data()
    try:
        # of two members of one name another reader might take the other
        value = json.loads(data, object_pairs_hook=each_once) if request.mimetype == "application/json" else None
    except (ValueError, RecursionError):
        value = None
    JSON(isinstance(value, dict), expected="a JSON object", otherwise="something else")
    assert isinstance(value, dict)
    return value


def _bearer() -> str | None:
    """The token of the one Authorization header, None when there is none (RFC 6750 section 2.1)."""
    headers = request.headers.getlist("Authorization")
    if not headers:
        return None
    scheme, _, token = headers[0].partition(" ")
    _allowed(len(headers) == 1 and scheme.lower() == "bearer" and bool(token.strip()))
    return token.strip()


def _allowed(good: bool) -> None:
    _with_token(ALLOWED, good, "an initial access token that is not used")


def _with_token(check: Check, good: bool, expected: str) -> None:
    """Refuse with a challenge (RFC 6750 section 3), and count it as a client that cannot prove who it is.

    Raises:
        OAuthError: it is not good.
        TooMany: it was one too many.
    """
    try:
        check(good, expected=expected, otherwise="another, or none")
    except OAuthError as error:
        audit.record("registration_refused", client_id=(request.view_args or {}).get("client_id", "")[:100])
        services().throttles.client_failed(None, request.remote_addr or "")
        error.challenge = challenge("Bearer", realm="register", error=error.error)
        raise


def _initial(token: str, *, delete: bool = False) -> Any:
    living = (InitialAccessToken.token_hash == digest(token), InitialAccessToken.expires_at > clock.now())
    return (
        sa.delete(InitialAccessToken).where(*living) if delete else sa.select(InitialAccessToken.profile).where(*living)
    )


def _profile_of(token: str) -> str:
    """That of the initial access token, which is not used yet."""
    with services().database.read() as session:
        profile: str | None = session.scalar(_initial(token))
    _allowed(profile is not None)
    assert profile is not None
    return profile


def _secret_columns(method: str, secret: str) -> dict[str, Any]:
    """How a secret is kept: hashed; sealed where the client signs with it; not at all for who has none."""
    if method not in _WITH_SECRET:
        return {"secret_hash": None, "secret_sealed": None}
    if method == "client_secret_jwt":
        return {"secret_hash": None, "secret_sealed": services().settings.data_key.encrypt(secret.encode())}
    return {"secret_hash": digest(secret), "secret_sealed": None}


def _told(client: Client, registration_token: str) -> dict[str, Any]:
    """What the client is told (RFC 7592 section 3).

    Its token stays the same and is told each time, which that section requires: who asks has just shown it. A new one
    would shut out a client that missed the answer. The secret is told once; only its hash is kept.
    """
    return {
        "client_id": client.client_id,
        "client_id_issued_at": int(client.created_at),
        **metadata.told(client),
        "registration_client_uri": f"{services().settings.issuer}/register/{client.client_id}",
        "registration_access_token": registration_token,
    }


def _own(client_id: str) -> tuple[Client, str]:
    """The client whose registration access token is shown, and the token; nobody is told which ids there are.

    One that is disabled may still be ended: a DELETE that failed half-way can be repeated.
    """
    headers = request.headers.getlist("Authorization")
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    with services().database.read() as session:
        client = session.get(Client, client_id) if client_id.isprintable() else None
    manageable = client is not None and (client.disabled_at is None or request.method == "DELETE")
    kept = client.registration_token_hash if client is not None and manageable else None
    good = hmac.compare_digest(kept or "none", digest(token.strip())) and scheme.lower() == "bearer"
    _owned(good)
    assert client is not None
    g.client_id = client.client_id
    return client, token.strip()


def _owned(good: bool) -> None:
    _with_token(OWN, good, "the client's own")


def _replaced(client: Client) -> Client:
    """The registration as the document has it: what it leaves out is reset (RFC 7592 section 2.2)."""
    document = _document()
    secret = document.get("client_secret")
    same = document.get("client_id") == client.client_id and not any(name in document for name in _CHOSEN_HERE)
    own_secret = secret is None or (isinstance(secret, str) and _is_secret(client, secret))
    SAME(
        same and own_secret, expected="its own client_id, and nothing that the server chose", otherwise="something else"
    )
    found = metadata.read(document, client.profile)
    method = found["token_endpoint_auth_method"]
    values = metadata.columns(found)
    if method not in _WITH_SECRET:
        values |= _secret_columns(method, "")
    with services().database.transaction() as session:
        # held, else two updates at once would leave a mixture: only columns that differ from what was read are written
        row = session.get_one(Client, client.client_id, with_for_update={"key_share": True})
        _owned(row.disabled_at is None)
        # a secret is never changed here, and none is made: who wants another method registers anew
        kept = method == row.token_endpoint_auth_method or method not in _WITH_SECRET
        metadata.CONSISTENT(kept, expected="a method that needs no new secret", actual=method)
        for name, value in values.items():
            setattr(row, name, value)
        session.flush()
        session.refresh(row)
        session.expunge(row)
    services().registry.forget(client.client_id)
    audit.record("registration_changed", client_id=client.client_id)
    if row.logo_uri != client.logo_uri:
        logos.fetch(row)
    return row


def _is_secret(client: Client, secret: str) -> bool:
    if client.secret_sealed is None:
        return client.check_client_secret(secret)
    return hmac.compare_digest(services().settings.data_key.decrypt(client.secret_sealed), secret.encode())


def _end(client: Client) -> ResponseReturnValue:
    """204, and everything of the client ends. Its row goes with the sweep, when its last token is over.

    Its token is good until all of this is done: a client that was answered 503 can ask again.
    """
    with services().database.transaction() as session:
        session.get_one(Client, client.client_id).disabled_at = clock.now()
        session.execute(sa.delete(Consent).where(Consent.client_id == client.client_id))
        session.execute(sa.delete(Logo).where(Logo.client_id == client.client_id))
    services().registry.forget(client.client_id)
    services().revocations.end("client ended its registration", Authorization.client_id == client.client_id)
    with services().database.transaction() as session:
        session.get_one(Client, client.client_id).registration_token_hash = ENDED
    audit.record("client_ended", client_id=client.client_id)
    return Response(status=204, headers=NO_STORE)
