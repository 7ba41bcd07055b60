"""Dynamic client registration (RFC 7591, OpenID Connect Registration) and its management (RFC 7592)."""

from __future__ import annotations

import hmac
import json
from typing import Any, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Response, g, request
from flask.typing import ResponseReturnValue

from rolecall import audit, authorization_header, checks, clock, events
from rolecall.checks import Check
from rolecall.errors import NO_STORE, OAuthError, challenge, json_body
from rolecall.limits import network
from rolecall.storage import digest
from rolecall_auth.clients import logos, metadata
from rolecall_auth.jose.client_keys import object_without_duplicates
from rolecall_auth.limits import REGISTRATION
from rolecall_auth.models import new_id, new_secret
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import ENDED, Client
from rolecall_auth.models.consent import Consent
from rolecall_auth.models.initial_access_token import InitialAccessToken
from rolecall_auth.models.logo import Logo
from rolecall_auth.services import services

T = TypeVar("T")

OPEN = checks.define(
    "register.open", "RFC 7591 section 3", "access_denied", "Client registration is disabled.", status=403
)
ALLOWED = checks.define(
    "register.initial_access_token",
    "RFC 7591 section 3",
    "invalid_token",
    "Registration requires an unused initial access token. Each token is valid for one registration.",
    status=401,
)
ORIGIN = checks.define(
    "register.origin",
    "RFC 9700 section 2.6",
    "access_denied",
    "Pages of this origin cannot register or manage clients here. REGISTRATION_ORIGINS lists the origins that can.",
    status=403,
)
JSON = checks.define(
    "register.json",
    "RFC 7591 section 3.1",
    "invalid_client_metadata",
    "Send the metadata as a JSON object with unique member names, and with Content-Type application/json.",
)
ONE_TOKEN = checks.define(
    "register.one_token", "RFC 6750 section 3.1", "invalid_request", "There are several Authorization headers."
)
OWN = checks.define(
    "register.access_token",
    "RFC 7592 section 2",
    "invalid_token",
    "The registration access token is not valid for this client.",
    status=401,
)
SAME = checks.define(
    "register.same_client",
    "RFC 7592 section 2.2",
    "invalid_client_metadata",
    "The client_id must be the client's own, and values chosen by the server cannot be changed.",
)

STRENGTH = checks.define(
    "register.strength",
    "RFC 7592 section 2.2",
    "invalid_client_metadata",
    "An update cannot add an authentication method other than private_key_jwt. Register a new client.",
)

_SERVER_CHOSEN = (
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)
"""Members that an update must not contain (RFC 7592 section 2.2)."""

_WITH_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")


def register() -> ResponseReturnValue:
    """POST /register: return 201 with the registered metadata, the secret if any, and the management URL."""
    _require_served_origin()
    settings = services().settings
    OPEN(settings.registration != "closed", expected="open, or with a token", otherwise="closed")
    services().limits.count(REGISTRATION, network(request.remote_addr))
    document = _document()
    token = _initial_access_token()
    profile = _profile(token)
    values = metadata.read(document, profile)
    secret, registration_token = new_secret(), new_secret()
    client = Client(
        client_id=new_id(),
        profile=profile,
        created_at=clock.now(),
        registration_token_hash=digest(registration_token),
        **metadata.columns(values),
        **_secret_columns(values["token_endpoint_auth_method"], secret),
    )
    with services().database.transaction() as session:
        if token is not None:
            # consumes the token: of several concurrent requests with one token, only one registers a client
            deleted: Any = session.execute(sa.delete(InitialAccessToken).where(*_is_valid(token)))
            _require_allowed(token if deleted.rowcount == 1 else None)
        session.add(client)
        session.flush()
        session.expunge(client)
    audit.record("client_registered", client_id=client.client_id)
    if client.logo_uri is not None:
        logos.fetch(client)
    response = client_information_response(client, registration_token)
    if client.token_endpoint_auth_method in _WITH_SECRET:
        response |= {"client_secret": secret, "client_secret_expires_at": 0}
    return json_body(response, 201)


def registration(client_id: str) -> ResponseReturnValue:
    """GET, PUT, or DELETE /register/<client_id>: read, replace, or end a registration (RFC 7592 section 2)."""
    _require_served_origin()
    client, token = _authenticate(client_id)
    if request.method == "DELETE":
        return _end(client)
    if request.method == "PUT":
        client = _replace(client)
    return json_body(client_information_response(client, token))


def client_information_response(client: Client, registration_token: str) -> dict[str, Any]:
    """Return the client information response, without the secret (RFC 7592 section 3).

    The registration access token never changes and is in every response, as that section requires: the caller has just
    presented it. A new token would lock out a client that missed the response. The secret is only returned when the
    client is registered, because the server keeps only its hash.
    """
    return {
        "client_id": client.client_id,
        "client_id_issued_at": int(client.created_at),
        **metadata.registered_metadata(client),
        "registration_client_uri": f"{services().settings.issuer}/register/{client.client_id}",
        "registration_access_token": registration_token,
    }


def _require_served_origin() -> None:
    """Reject requests from pages of other origins: without CORS headers, browsers can still send them."""
    origin, settings = request.headers.get("Origin"), services().settings
    issuer = urlsplit(settings.issuer)
    is_own = origin == f"{issuer.scheme}://{issuer.netloc}"
    is_served = origin is None or is_own or origin in settings.registration_origins
    ORIGIN(is_served, expected=str(settings.registration_origins), actual=origin)


def _document() -> dict[str, Any]:
    data = request.get_data()
    is_json = request.mimetype == "application/json"
    try:
        # of two members with the same name, another parser might use the other one
        document = json.loads(data, object_pairs_hook=object_without_duplicates) if is_json else None
    except (ValueError, RecursionError):
        document = None
    return JSON.require(
        document if isinstance(document, dict) else None, expected="a JSON object", otherwise="something else"
    )


def _bearer_token() -> str | None:
    """Return the bearer token; None without one, for example with the header of another scheme.

    Raises:
        OAuthError: the request has several headers.
    """
    headers = authorization_header.parse_all(request.headers)
    ONE_TOKEN(len(headers) <= 1, expected="one", actual=len(headers))
    return headers[0].bearer_token if headers else None


def _initial_access_token() -> str | None:
    """Return the initial access token, or None if the request has none and registration is open."""
    token = _bearer_token()
    if token is None:
        _require_allowed("open" if services().settings.registration == "open" else None)
    return token


def _profile(token: str | None) -> str:
    """Return the profile for a new client: that of the initial access token, which is not consumed yet, if any."""
    if token is None:
        return services().settings.registration_profile
    with services().database.read() as session:
        profile = session.scalar(sa.select(InitialAccessToken.profile).where(*_is_valid(token)))
    return _require_allowed(profile)


def _is_valid(token: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return InitialAccessToken.token_hash == digest(token), InitialAccessToken.expires_at > clock.now()


def _require_allowed(value: T | None) -> T:
    return _require(ALLOWED, value, "an unused initial access token")


def _require_owned(value: T | None) -> T:
    return _require(OWN, value, "the client's own token")


def _require(check: Check, value: T | None, expected: str) -> T:
    """Return `value`; if it is None, fail with a challenge (RFC 6750 section 3) and count the failure.

    Raises:
        OAuthError: the value is missing.
        TooMany: the address has failed too often.
    """
    try:
        return check.require(value, expected=expected, otherwise="another token or none")
    except OAuthError as error:
        audit.record("registration_refused", client_id=(request.view_args or {}).get("client_id", "")[:100])
        services().limits.count_client_failure(None, request.remote_addr)
        # a request without a token gets no error code (RFC 6750 section 3.1)
        parameters = {"error": error.error} if _bearer_token() is not None else {}
        error.challenge = challenge("Bearer", realm="register", **parameters)
        raise


def _secret_columns(method: str, secret: str) -> dict[str, Any]:
    """Return the columns that store a secret: encrypted for client_secret_jwt, else hashed; empty without a secret."""
    if method not in _WITH_SECRET:
        return {"secret_hash": None, "secret_sealed": None}
    if method == "client_secret_jwt":
        return {"secret_hash": None, "secret_sealed": services().settings.data_key.encrypt(secret.encode())}
    return {"secret_hash": digest(secret), "secret_sealed": None}


def _authenticate(client_id: str) -> tuple[Client, str]:
    """Return the client and its registration access token; an unknown client_id gets the same error as a wrong token.

    A disabled client may still be deleted, so that a DELETE which failed halfway can be repeated.
    """
    token = _bearer_token() or ""
    with services().database.read() as session:
        client = session.get(Client, client_id) if client_id.isprintable() else None
    if client is not None:
        events.note("identity", value=client_id)
    is_manageable = client is not None and (client.disabled_at is None or request.method == "DELETE")
    token_hash = client.registration_token_hash if client is not None and is_manageable else None
    is_own = hmac.compare_digest(token_hash or "none", digest(token))
    client = _require_owned(client if is_own else None)
    g.client_id = client.client_id
    return client, token


def _replace(client: Client) -> Client:
    """Replace the registration with the document; omitted members are reset (RFC 7592 section 2.2)."""
    document = metadata.without_omitted(_document())
    secret = document.get("client_secret")
    is_same = document.get("client_id") == client.client_id and not any(name in document for name in _SERVER_CHOSEN)
    is_own_secret = secret is None or (isinstance(secret, str) and _is_secret(client, secret))
    expected = "the client's own client_id, and no value chosen by the server"
    SAME(is_same and is_own_secret, expected=expected, otherwise="something else")
    found = metadata.read(document, client.profile)
    method = found["token_endpoint_auth_method"]
    values = metadata.columns(found)
    if method not in _WITH_SECRET:
        values |= _secret_columns(method, "")
    with services().database.transaction() as session:
        # locked: SQLAlchemy only writes changed columns, so two concurrent updates would otherwise mix
        row = session.get_one(Client, client.client_id, with_for_update={"key_share": True})
        _require_owned(row if row.disabled_at is None else None)
        # updates never create or change a secret, never add a method that sends it, and never remove authentication
        methods = found.get("token_endpoint_auth_methods", [method])
        is_strong = {*methods} <= {*row.auth_methods, "private_key_jwt"}
        expected = " or ".join(dict.fromkeys([*row.auth_methods, "private_key_jwt"]))
        STRENGTH(is_strong, expected=expected, actual=" ".join(methods))
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
    """Return 204 and end everything that belongs to the client; the sweep deletes its row after its last token expires.

    The registration access token stays valid until the end, so that a client which got a 503 can retry.
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
