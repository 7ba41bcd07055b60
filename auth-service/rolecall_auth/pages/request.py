"""What the pages say of a waiting authorization request: who asks, for what, where the answer goes."""

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
class Waiting:
    """An authorization request that waits: who asks, what it wants of the sign-in, and what the person has to allow."""

    name: str
    interaction: Interaction
    client: Client
    wanted: AuthenticationRequest
    resource: Resource
    scope: str
    redirect_uri: str

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """Each scope with its sentence."""
        return scopes.sentences(self.scope, self.resource.scopes)

    def allow_answer(self, response: Response) -> Response:
        """Let the form of this page end at the client (Chromium holds `form-action` against redirects)."""
        allow_form_targets(response, origin_of(self.redirect_uri))
        return response


def waiting(endpoint: str) -> Waiting | None:
    """The request that the page's address names; None when it names none.

    Raises:
        PageError: it names one that no longer waits.
    """
    name = parameters.read(endpoint, request.args).get("interaction")
    if name is None:
        return None
    interaction = services().interactions.get(name)
    client = services().registry.client(interaction.parameters["client_id"]) if interaction else None
    if interaction is None or client is None:
        raise PageError(LOST)
    asked = interaction.parameters
    wanted = authentication_request.read(client, asked)
    scope, consent_scope = authentication_request.scopes_asked(client, asked, wanted)
    resource = scopes.resource_for(scope, asked.get("resource"))
    redirect_uri = asked.get("redirect_uri") or client.get_default_redirect_uri() or ""
    return Waiting(name, interaction, client, wanted, resource, consent_scope, redirect_uri)
