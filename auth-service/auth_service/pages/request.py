"""What the pages say of a waiting authorization request: who asks, for what, where the answer goes."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Response, request

from auth_service import parameters
from auth_service.models.client import Client
from auth_service.models.consent import normal_scope
from auth_service.models.interaction import LOST, Interaction
from auth_service.models.resource import Resource
from auth_service.state import state
from rolecall.web import PageError, allow_form_targets


@dataclass(frozen=True, slots=True)
class Waiting:
    """An authorization request that waits, its client and resource, and the origin its answer goes to."""

    name: str
    interaction: Interaction
    client: Client
    resource: Resource
    scope: str
    redirect_uri: str

    @property
    def origin(self) -> str:
        """Scheme, host and port of the redirect URI; only the scheme of a private-use one."""
        parts = urlsplit(self.redirect_uri)
        if ":" in (parts.hostname or ""):  # a Content-Security-Policy cannot name an IPv6 address
            return f"{parts.scheme}:"
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """Each scope with its sentence."""
        return [(scope, self.resource.scopes.get(scope, scope)) for scope in self.scope.split()]

    def allow_answer(self, response: Response) -> Response:
        """Let the form of this page end at the client (Chromium holds `form-action` against redirects)."""
        allow_form_targets(response, self.origin)
        return response


def waiting(endpoint: str) -> Waiting | None:
    """The request that the page's address names; None when it names none.

    Raises:
        PageError: it names one that no longer waits.
    """
    name = parameters.read(endpoint, request.args).get("interaction")
    if name is None:
        return None
    interaction = state().interactions.get(name)
    client = state().registry.client(interaction.parameters["client_id"]) if interaction else None
    if interaction is None or client is None:
        raise PageError(LOST)
    asked = interaction.parameters
    scope = normal_scope(client.get_allowed_scope(asked.get("scope")) or "")
    resources = state().registry.resources()
    resource = next(
        each
        for each in resources
        if asked.get("resource", each.identifier) == each.identifier and set(scope.split()) <= set(each.scopes)
    )
    redirect_uri = asked.get("redirect_uri") or client.get_default_redirect_uri() or ""
    return Waiting(name, interaction, client, resource, scope, redirect_uri)
