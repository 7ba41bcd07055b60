"""The pending authorization request that a page is shown for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import abort, redirect, request, url_for

from rolecall.errors import OAuthError
from rolecall.storage import digest
from rolecall.web.errors import PageError
from rolecall_auth import parameters
from rolecall_auth.models.authorization import Approved
from rolecall_auth.models.client import Client
from rolecall_auth.models.interaction import LOST, Interaction
from rolecall_auth.models.logo import Logo
from rolecall_auth.models.resource import Resource
from rolecall_auth.openid import approval, authentication_request, scopes
from rolecall_auth.openid.authentication_request import AuthenticationRequest
from rolecall_auth.services import services


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A pending request with its client, its requirements for the sign-in, and the access to approve."""

    name: str
    interaction: Interaction
    client: Client
    wanted: AuthenticationRequest
    resource: Resource
    resolved: Approved

    @property
    def redirect_uri(self) -> str:
        """The URI that receives the response."""
        return self.resolved["redirect_uri"] or ""

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """Each scope with its description."""
        return scopes.sentences(self.resolved["scope"], self.resource.scopes)

    @property
    def fingerprint(self) -> str:
        """A digest of the access to approve, for the form of the page that shows it."""
        return digest(json.dumps(self.resolved, sort_keys=True))

    @property
    def has_logo(self) -> bool:
        """Whether the server has a copy of the client's logo."""
        if self.client.logo_uri is None:
            return False
        with services().database.read() as session:
            return session.scalar(sa.select(Logo.client_id).where(Logo.client_id == self.client.client_id)) is not None

    @property
    def links(self) -> list[tuple[str, str, str | None]]:
        """The client's pages about itself: label, URL, and host."""
        pages = (("Its privacy policy", self.client.policy_uri), ("Its terms", self.client.tos_uri))
        return [(label, uri, urlsplit(uri).hostname) for label, uri in pages if uri]


def pending_request(endpoint: str) -> PendingRequest | None:
    """Return the request that the page's URL names, or None if it names none.

    Raises:
        PageError: the named request is no longer pending.
        HTTPException: the named request is no longer valid; the response is a redirect to the authorization endpoint.
    """
    name = parameters.read(endpoint, request.args).get("interaction")
    if name is None:
        return None
    interaction = services().interactions.get(name)
    client = services().registry.client(interaction.parameters["client_id"]) if interaction else None
    if interaction is None or client is None:
        raise PageError(LOST)
    requested = interaction.parameters
    try:
        wanted = authentication_request.read(client, requested)
        scope, consent_scope, resource = authentication_request.requested_scopes(client, requested, wanted)
    except OAuthError:  # the client's registration has changed; the authorization endpoint sends the client the error
        abort(redirect(url_for("authorize", interaction=name), 303))
    resolved = approval.resolve(
        client, requested, wanted, scope=scope, consent_scope=consent_scope, resource=resource.identifier
    )
    return PendingRequest(name, interaction, client, wanted, resource, resolved)
