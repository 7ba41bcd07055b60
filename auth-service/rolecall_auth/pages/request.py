"""The pending authorization request that a page is shown for."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response, request

from rolecall.web.errors import PageError
from rolecall.web.headers import allow_form_targets, origin_of
from rolecall_auth import parameters
from rolecall_auth.models.client import Client
from rolecall_auth.models.interaction import LOST, Interaction
from rolecall_auth.models.resource import Resource
from rolecall_auth.openid import authentication_request, scopes
from rolecall_auth.openid.authentication_request import AuthenticationRequest
from rolecall_auth.services import services


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A pending request with its client, its requirements for the sign-in, and the scope that needs consent."""

    name: str
    interaction: Interaction
    client: Client
    wanted: AuthenticationRequest
    resource: Resource
    scope: str
    redirect_uri: str

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """Each scope with its description."""
        return scopes.sentences(self.scope, self.resource.scopes)

    def allow_redirect_to_client(self, response: Response) -> Response:
        """Allow the page's form to end at the client, because Chromium applies `form-action` to redirects."""
        allow_form_targets(response, origin_of(self.redirect_uri))
        return response


def pending_request(endpoint: str) -> PendingRequest | None:
    """Return the request that the page's URL names, or None if it names none.

    Raises:
        PageError: the named request is no longer pending.
    """
    name = parameters.read(endpoint, request.args).get("interaction")
    if name is None:
        return None
    interaction = services().interactions.get(name)
    client = services().registry.client(interaction.parameters["client_id"]) if interaction else None
    if interaction is None or client is None:
        raise PageError(LOST)
    requested = interaction.parameters
    wanted = authentication_request.read(client, requested)
    scope, consent_scope = authentication_request.requested_scopes(client, requested, wanted)
    resource = scopes.resource_for(scope, requested.get("resource"))
    redirect_uri = requested.get("redirect_uri") or client.get_default_redirect_uri() or ""
    return PendingRequest(name, interaction, client, wanted, resource, consent_scope, redirect_uri)
