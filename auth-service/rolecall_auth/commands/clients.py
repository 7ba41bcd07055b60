"""Commands for APIs and clients: `add-resource`, `add-client`, `disable-client`, and `registration-token`."""

from __future__ import annotations

from typing import IO, Any

import click
import sqlalchemy as sa
from flask.cli import with_appcontext

from rolecall import audit, clock
from rolecall.errors import OAuthError
from rolecall.settings import url
from rolecall.storage import digest
from rolecall.vocabulary import ACCESS_TOKEN_TYPES, CLIENT_AUTH_METHODS, PROFILES, SIGNING_ALGORITHMS
from rolecall_auth import parameters
from rolecall_auth.clients import logos, metadata
from rolecall_auth.commands.console import (
    SECRET_FILE,
    fail,
    read_json_object,
    read_or_generate_secret,
    report_registration,
    reported_errors,
    write_transaction,
)
from rolecall_auth.grants import GRANTS, of_client
from rolecall_auth.models import new_secret
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.client import Client, client_id_fault
from rolecall_auth.models.initial_access_token import InitialAccessToken
from rolecall_auth.models.resource import Resource
from rolecall_auth.services import services
from rolecall_auth.settings import MAX_LIFETIME


@click.command("add-resource")
@click.argument("resource_id")
@click.option("--identifier", required=True, help="The audience of its tokens: an absolute URL (RFC 8707).")
@click.option("--name", required=True, help="The name that is shown to users.")
@click.option("--scope", multiple=True, required=True, help='"invoices:read=read your invoices"; may be repeated.')
@click.option(
    "--access-token-alg",
    type=click.Choice(SIGNING_ALGORITHMS),
    default=SIGNING_ALGORITHMS[0],
    show_default=True,
    help="The algorithm that signs its access tokens.",
)
@click.option(
    "--access-token-lifetime",
    type=click.IntRange(1, MAX_LIFETIME),
    help="The lifetime of its access tokens in seconds. Default: ACCESS_TOKEN_LIFETIME.",
)
@click.option(
    "--access-token-typ",
    type=click.Choice(ACCESS_TOKEN_TYPES),
    default=ACCESS_TOKEN_TYPES[0],
    show_default=True,
    help="The type in the header of its access tokens. JWT is outside RFC 9068, for software that rejects at+jwt.",
)
@SECRET_FILE
@with_appcontext
def add_resource(
    resource_id: str,
    identifier: str,
    name: str,
    scope: tuple[str, ...],
    access_token_alg: str,
    access_token_lifetime: int | None,
    access_token_typ: str,
    secret_file: IO[str] | None,
) -> None:
    """Register an API that tokens can be issued for, or update its registration."""
    scopes = {value: text or value for value, _, text in (each.partition("=") for each in scope)}
    try:
        identifier = url(identifier)
    except ValueError as error:
        fail(f"--identifier {error}")
    # for introspection, a resource server authenticates like a client (RFC 7662 section 2.1)
    for what, parameter, value in (
        ("The resource ID", "client_id", resource_id),
        ("--identifier", "resource", identifier),
        *(("--scope", "scope", each) for each in scopes),
    ):
        if fault := parameters.fault(parameter, value):
            fail(f"{what} {fault}.")
    if any(" " in each for each in scopes):
        fail("--scope must be one scope; repeat the option for several.")
    secret = read_or_generate_secret(secret_file)
    row = Resource(
        resource_id=resource_id,
        identifier=identifier,
        name=name,
        scopes=scopes,
        secret_hash=digest(secret),
        access_token_signing_alg=access_token_alg,
        access_token_lifetime=access_token_lifetime,
        access_token_typ=access_token_typ,
    )
    with write_transaction() as session:
        other = sa.select(Resource).where(Resource.resource_id == resource_id, Resource.identifier != identifier)
        if session.scalar(other) is not None:
            fail(f"{resource_id} is registered with another identifier. An identifier cannot be changed.")
        session.merge(row)
    report_registration("resource", resource_id, secret, secret_file)


@click.command("add-client")
@click.argument("client_id")
@click.option("--name", required=True, help="The name that is shown to users.")
@click.option("--redirect-uri", multiple=True, help="Required for a grant with a redirect; may be repeated.")
@click.option(
    "--grant",
    multiple=True,
    type=click.Choice([grant.grant_type for grant in GRANTS]),
    help="May be repeated. Default: grant_types in the metadata file, or else "
    f"{' and '.join(grant.grant_type for grant in GRANTS if grant.default)}.",
)
@click.option("--scope", required=True, help="The scopes that it may request, separated by spaces.")
@click.option("--native", is_flag=True, help="An app that runs on the user's device (RFC 8252).")
@click.option("--description", help="One sentence for the consent page.")
@click.option(
    "--auth-method",
    multiple=True,
    type=click.Choice(CLIENT_AUTH_METHODS),
    help="How it authenticates; client_secret_basic and client_secret_post may be repeated. Default: "
    f"token_endpoint_auth_method in the metadata file, or else {CLIENT_AUTH_METHODS[0]}.",
)
@click.option(
    "--claims-in-id-token",
    is_flag=True,
    help="Its ID tokens contain the standard claims of the granted scopes (OpenID Connect Core section 5.4).",
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default=PROFILES[0],
    show_default=True,
    help="fapi2 currently behaves like oauth2.1.",
)
@click.option(
    "--metadata-file", type=click.File(), help="File with a JSON object of further metadata, such as jwks (RFC 7591)."
)
@SECRET_FILE
@with_appcontext
def add_client(
    client_id: str,
    profile: str,
    description: str | None,
    metadata_file: IO[str] | None,
    secret_file: IO[str] | None,
    **options: Any,
) -> None:
    """Register a client, or update its registration."""
    if fault := client_id_fault(client_id):
        fail(f"The client ID {fault}.")
    if "" in {options["name"], options["scope"], *options["redirect_uri"]}:
        # in a document, an empty scope counts as omitted, and a client without a scope may request every scope
        fail("--name, --scope, and --redirect-uri must not be empty.")
    further = metadata.without_omitted(read_json_object(metadata_file, "--metadata-file"))
    document = _client_metadata(further, **options)
    try:
        with reported_errors():
            values = metadata.read(document, profile, exact=True)
    except OAuthError as error:
        fail(error.detail or error.description)
    auth_method = values["token_endpoint_auth_method"]
    secret = None if auth_method in {"none", "private_key_jwt"} else read_or_generate_secret(secret_file)
    seal = services().settings.data_key.encrypt if auth_method == "client_secret_jwt" else None
    client = Client(
        client_id=client_id,
        profile=profile,
        description=description,
        secret_hash=digest(secret) if secret and not seal else None,
        secret_sealed=seal(secret.encode()) if secret and seal else None,
        **metadata.columns(values),
    )
    with write_transaction() as session:
        session.merge(client)
    with reported_errors():
        logos.fetch(client)
    report_registration("client", client_id, secret, secret_file)


def _client_metadata(
    further: dict[str, Any],
    *,
    name: str,
    auth_method: tuple[str, ...],
    claims_in_id_token: bool,
    redirect_uri: tuple[str, ...],
    grant: tuple[str, ...],
    scope: str,
    native: bool,
) -> dict[str, Any]:
    """Return the client metadata document (RFC 7591 section 2); the options take precedence over `further`."""
    default = [row.grant_type for row in GRANTS if row.default]
    grant_types = [*grant] or further.get("grant_types", default)
    # the file is not validated yet
    rows = of_client(each for each in grant_types if isinstance(each, str)) if isinstance(grant_types, list) else ()
    return {
        "response_types": [row.response_type for row in rows if row.response_type],
        **further,
        "grant_types": grant_types,
        "client_name": name,
        "application_type": "native" if native else "web",
        "redirect_uris": list(redirect_uri),
        "scope": scope,
        **({"claims_in_id_token": True} if claims_in_id_token else {}),
        **_auth_methods(auth_method),
    }


def _auth_methods(options: tuple[str, ...]) -> dict[str, Any]:
    """Return the metadata members for the options, which replace those of the file."""
    if not options:
        return {}
    more = [*options] if len(options) > 1 else None
    return {"token_endpoint_auth_method": options[0], "token_endpoint_auth_methods": more}


@click.command("disable-client")
@click.argument("client_id")
@with_appcontext
def disable_client(client_id: str) -> None:
    """Disable a client, and end all of its authorizations."""
    with write_transaction() as session:
        client = session.get(Client, client_id)
        if client is None:
            fail(f"There is no client {client_id}.")
        client.disabled_at = client.disabled_at or clock.now()
    with reported_errors():
        ended = services().revocations.end("client disabled", Authorization.client_id == client_id)
    audit.record("client_disabled", client_id=client_id)
    click.echo(f"Disabled {client_id}. Authorizations ended: {ended}.")


@click.command("registration-token")
@click.option("--profile", type=click.Choice(PROFILES), default=PROFILES[0], show_default=True)
@click.option("--days", type=click.IntRange(1, 365), default=7, show_default=True, help="Days until it expires.")
@with_appcontext
def registration_token(profile: str, days: int) -> None:
    """Print an initial access token, with which one client can be registered (RFC 7591 section 3)."""
    token = new_secret()
    row = InitialAccessToken(token_hash=digest(token), profile=profile, expires_at=clock.now() + days * 86400)
    with write_transaction() as session:
        session.add(row)
    audit.record("registration_token_made", profile=profile)
    click.echo(token)
