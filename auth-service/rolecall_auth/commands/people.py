"""Commands for accounts and their claims: `add-user`, `set-claims`, `add-claim-scope`, and `disable-user`."""

from __future__ import annotations

from typing import IO

import click
import sqlalchemy as sa
from flask.cli import with_appcontext
from sqlalchemy.orm import Session

from rolecall import audit, clock
from rolecall_auth.commands.console import fail, read_json_object, reported_errors, write_transaction
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.claim_scope import ClaimScope
from rolecall_auth.models.user import User, account_faults, hash_password, normal_username
from rolecall_auth.openid import custom_claims, scopes, standard_claims
from rolecall_auth.services import services


@click.command("add-user")
@click.argument("username")
@click.option("--password-file", type=click.File(), help="File with the password (- for standard input).")
@with_appcontext
def add_user(username: str, password_file: IO[str] | None) -> None:
    """Create an account."""
    password = password_file.read().strip() if password_file else click.prompt("Password", hide_input=True)
    name = normal_username(username)
    if faults := account_faults(name, password):
        fail(" ".join(faults.values()))
    with write_transaction() as session:
        if session.scalar(sa.select(User.id).where(User.username == name)) is not None:
            fail(f"The account {name} already exists.")
        user = User(username=name, password_hash=hash_password(password))
        session.add(user)
        session.flush()
        user_id = user.id
    audit.record("user_added", user_id=user_id)
    click.echo(f"Added {name} with the subject identifier {user_id}.")


@click.command("set-claims")
@click.argument("username")
@click.option(
    "--file", type=click.File(), required=True, help="File with a JSON object of claims (- for standard input)."
)
@with_appcontext
def set_claims(username: str, file: IO[str]) -> None:
    """Replace a user's claims: standard ones (OpenID Connect Core section 5.1), and those of claim scopes."""
    name, claims = normal_username(username), read_json_object(file, "--file")
    with reported_errors():
        custom = scopes.custom_claims_of(" ".join(scopes.claim_scopes()))
    faults = [fault for _, fault in standard_claims.faults(claims, custom)]
    if faults := faults or [*filter(None, [custom_claims.size_fault(claims)])]:
        fail("; ".join(faults))
    with write_transaction() as session:
        user = _find_user(session, name)
        user.claims, user_id = claims, user.id
    audit.record("claims_set", user_id=user_id)
    click.echo(f"Claims of {name}: {', '.join(claims) or 'none'}.")


@click.command("add-claim-scope")
@click.argument("scope")
@click.option("--claim", multiple=True, required=True, help="A claim that the scope releases; may be repeated.")
@click.option("--description", required=True, help='The access to show on the consent page: "see your groups".')
@with_appcontext
def add_claim_scope(scope: str, claim: tuple[str, ...], description: str) -> None:
    """Define a scope that releases claims such as groups, or change it.

    Clients that are registered for the scope can request it together with openid. ID tokens, access tokens, UserInfo
    responses, and introspection responses then contain the claims. A claim that is added later needs a new consent.
    """
    claims = [*dict.fromkeys(claim)]
    if faults := [*custom_claims.scope_faults(scope, description, claims)]:
        fail("; ".join(faults))
    with write_transaction() as session:
        session.merge(ClaimScope(scope=scope, description=description, claims=claims))
    audit.record("claim_scope_added", scope=scope, claims=claims)
    click.echo(f"The scope {scope} releases: {', '.join(claims)}.")


@click.command("disable-user")
@click.argument("username")
@with_appcontext
def disable_user(username: str) -> None:
    """Disable an account: its owner can no longer sign in, and all of its authorizations end."""
    name = normal_username(username)
    with write_transaction() as session:
        user = _find_user(session, name)
        user.disabled_at, user_id = user.disabled_at or clock.now(), user.id
    with reported_errors():
        ended = services().revocations.end("account disabled", Authorization.user_id == user_id)
    audit.record("user_disabled", user_id=user_id)
    click.echo(f"Disabled {name}. Authorizations ended: {ended}.")


def _find_user(session: Session, name: str) -> User:
    user = session.scalar(sa.select(User).where(User.username == name))
    if user is None:
        fail(f"There is no account {name}.")
    return user
