"""The authorization endpoint (RFC 6749 section 3.1): validate, sign in, ask for consent, and redirect."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import redis
from authlib.oauth2 import OAuth2Error
from flask import Response, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from rolecall import checks, sql
from rolecall.errors import OAuthError, description_of
from rolecall.limits import TooMany, network
from rolecall.responses import PreparedResponse
from rolecall.storage import compact_json
from rolecall.web.errors import PageError, Problem, store_unavailable
from rolecall.web.headers import let_forms_leave
from rolecall_auth import parameters
from rolecall_auth.authorization_server import engine, from_authlib
from rolecall_auth.grants.authorization_code import CodeGrant
from rolecall_auth.grants.request import OAuth2Request
from rolecall_auth.limits import AUTHORIZATION
from rolecall_auth.models.client import Client
from rolecall_auth.models.interaction import LOST, Interaction
from rolecall_auth.models.session import SignIn
from rolecall_auth.openid import approval, authentication_request, request_object
from rolecall_auth.openid.authentication_request import CONSENTED, RESPONSE_MODE, RESPONSE_MODES, SIGNED_IN
from rolecall_auth.services import services

log = logging.getLogger("rolecall.access")

CLIENT = checks.define(
    "authorize.client_id", "RFC 6749 section 4.1.2.1", "invalid_request", "The client_id is missing or unknown."
)
REDIRECT_URI = checks.define(
    "authorize.redirect_uri",
    "RFC 9700 section 2.1",
    "invalid_request",
    "The redirect_uri is not registered for this client.",
)
REDIRECT_URI_GIVEN = checks.define(
    "authorize.redirect_uri_given",
    "OpenID Connect Core section 3.1.2.1",
    "invalid_request",
    "The redirect_uri is missing. OpenID Connect requires it.",
)
RESPONSE_TYPE = checks.define(
    "authorize.response_type", "RFC 6749 section 3.1.1", "invalid_request", "The response_type is missing."
)

LENGTH = checks.define(
    "authorize.length",
    "RFC 6749 section 4.1.2.1",
    "invalid_request",
    "The parameters of the request are too long in total.",
)

MAX_BYTES: Final = 4096
"""Maximum size of a request's parameters, as they are stored."""

MAX_DETAIL: Final = 1000
"""Maximum length of the redirect URIs in a log line, in characters."""

_OUTSIDE_REQUEST_OBJECT = frozenset({"client_id", "request", "request_uri"})
_NEVER_REDIRECTED = frozenset({"client_id", "redirect_uri"})


@dataclass(frozen=True, slots=True)
class Target:
    """The verified recipient of the authorization response.

    Args:
        redirect_uri: one of the client's redirect URIs.
        mode: the `response_mode`.
    """

    client: Client
    redirect_uri: str
    state: str | None
    mode: str


def authorize() -> ResponseReturnValue:
    """GET or POST /authorize; pages redirect back here with the id of the pending interaction."""
    name = parameters.read("authorize", request.args, only=frozenset({"interaction"})).get("interaction")
    if request.method == "GET" and name is not None:
        return _resume(name)
    source = request.form if request.method == "POST" else request.args
    return _handle(source, None, None)


def _resume(name: str) -> ResponseReturnValue:
    interaction = services().interactions.get(name)
    if interaction is None:
        raise PageError(LOST)
    return _handle(MultiDict(interaction.parameters), name, interaction)


def _handle(source: MultiDict[str, str], name: str | None, interaction: Interaction | None) -> ResponseReturnValue:
    try:
        source = _resolve_request_object(source)
    except OAuthError as error:
        # the object is not trusted, so the parameters outside it determine the redirect URI
        return _error_redirect(_validate_target(source), error)
    target = _validate_target(source)
    try:
        clean = parameters.read("authorize", source)
        size = len(compact_json(clean))
        LENGTH(size <= MAX_BYTES, expected=f"at most {MAX_BYTES} bytes", actual=size)
        RESPONSE_TYPE("response_type" in clean, expected="present", actual=clean.get("response_type", "missing"))
        oauth2_request = OAuth2Request(clean)
        mode = clean.get("response_mode", "query")
        RESPONSE_MODE(mode == target.mode, expected=" or ".join(RESPONSE_MODES), actual=mode)
        grant: CodeGrant = engine.get_consent_grant(oauth2_request)  # type: ignore[no-untyped-call]
        authentication = oauth2_request.authentication = authentication_request.read(target.client, clean)
        oauth2_request.scope, consent_scope, resource = authentication_request.requested_scopes(
            target.client, clean, authentication
        )
        oauth2_request.approved = approval.resolve(
            target.client,
            clean,
            authentication,
            scope=oauth2_request.scope,
            consent_scope=consent_scope,
            resource=resource.identifier,
        )
        if request.method == "POST":
            # a cross-site POST carries no Lax cookie; the GET that follows does
            _count_interaction(clean, services().sessions.current())
            name = services().interactions.put_for_any_browser(clean)
            return redirect(url_for("authorize", interaction=name), 303)
        return _proceed(target, grant, clean, name, interaction)
    except OAuth2Error as error:
        return _error_redirect(target, from_authlib(error))
    except OAuthError as error:
        return _error_redirect(target, error)
    except (redis.RedisError, *sql.UNAVAILABLE) as error:
        return _error_redirect(target, store_unavailable(error))


def _resolve_request_object(source: MultiDict[str, str]) -> MultiDict[str, str]:
    """Return the parameters, taken from the request object if there is one (RFC 9101 section 5).

    Raises:
        OAuthError: the request object is not valid.
    """
    if not request_object.is_used(source):
        return source
    outer = parameters.read("authorize", source, only=_OUTSIDE_REQUEST_OBJECT)
    client = services().registry.client(outer["client_id"]) if "client_id" in outer else None
    if client is None or not request_object.is_used(outer):
        return source
    return MultiDict(request_object.read(client, outer))


def _validate_target(source: MultiDict[str, str]) -> Target:
    """Validate the client and the redirect URI.

    Raises:
        PageError: one of them is not valid, so the user must not be redirected (RFC 6749 section 4.1.2.1).
    """
    try:
        clean = parameters.read("authorize", source, only=_NEVER_REDIRECTED)
        client = CLIENT.require(
            services().registry.client(clean["client_id"]) if "client_id" in clean else None,
            expected="a registered client",
            actual=clean.get("client_id", "missing"),
        )
        # only plain OAuth allows the registered redirect URI as the default (RFC 6749 section 3.1.2.3)
        is_openid = any("openid" in value.split() for value in source.getlist("scope"))
        REDIRECT_URI_GIVEN("redirect_uri" in clean or not is_openid, expected="present", otherwise="missing")
        requested = clean.get("redirect_uri") or client.get_default_redirect_uri()
        redirect_uri = REDIRECT_URI.require(
            requested if requested is not None and client.check_redirect_uri(requested) else None,
            expected=" or ".join(client.redirect_uris),
            actual=requested or "missing",
            detail=f"client {client.client_id}, requested: {requested or 'none'}, "
            f"registered: {' or '.join(client.redirect_uris)}",
        )
    except OAuthError as error:
        if error.status != 400:
            raise
        log.info("refused", extra={"error": error.error, "detail": (error.detail or "")[:MAX_DETAIL]})
        raise PageError(_invalid_target(error)) from error
    states = [value for value in source.getlist("state") if value]
    modes = [value for value in source.getlist("response_mode") if value]
    is_form_post = modes == ["form_post"] and redirect_uri.startswith(("http://", "https://"))
    mode = "form_post" if is_form_post else "query"
    return Target(client, redirect_uri, states[0] if len(states) == 1 else None, mode)


def _proceed(
    target: Target,
    grant: CodeGrant,
    clean: dict[str, str],
    name: str | None,
    interaction: Interaction | None,
) -> ResponseReturnValue:
    """Take the next step: sign in, ask for consent, or respond (OpenID Connect Core sections 3.1.2.3 and 3.1.2.4)."""
    sign_in, authentication = services().sessions.current(), grant.request.authentication
    if sign_in is None or not authentication.accepts(sign_in, interaction):
        expected = "a sign-in that meets the request, or permission to ask for one"
        SIGNED_IN(not authentication.silent, expected=expected, actual="no such sign-in")
        return redirect(url_for("sign-in", interaction=name or _store_interaction(clean, sign_in)), 303)
    # the user signed in with a different account than the client requested
    SIGNED_IN(authentication.allows_user(sign_in), expected="the requested user", otherwise="another user")
    if interaction is not None and interaction.decision is not None and interaction.decided_by == sign_in.user_id:
        taken = services().interactions.take(name or "")
        if taken is None or _was_disconnected_since(target, sign_in, taken):
            raise PageError(LOST)
        if taken.decision == "deny":
            denied = checks.registry["engine.access_denied"]
            return _error_redirect(target, denied.refusal(expected="the owner's consent", actual="denied"))
        if taken.shown != grant.request.approved:
            # the client's registration has changed since the person decided
            return redirect(url_for("consent", interaction=_store_interaction(clean, sign_in)), 303)
        response = _success(target, grant, sign_in, decided=True)
        if response is not None:
            if _was_disconnected_since(target, sign_in, taken):  # while the authorization was stored
                services().revocations.end_one("disconnected", g.flow_id)
                raise PageError(LOST)
            return response
    elif "consent" not in authentication.prompts and not target.client.always_requires_consent(target.redirect_uri):
        response = _success(target, grant, sign_in, decided=False)
        if response is not None:
            if name is not None:
                services().interactions.take(name)
            return response
    expected = "a remembered consent, or permission to ask for one"
    CONSENTED(not authentication.silent, expected=expected, actual="no consent")
    return redirect(url_for("consent", interaction=name or _store_interaction(clean, sign_in)), 303)


def _store_interaction(clean: dict[str, str], sign_in: SignIn | None) -> str:
    """Store a request until the user decides, and return its secret id."""
    _count_interaction(clean, sign_in)
    return services().interactions.put(clean)


def _count_interaction(clean: dict[str, str], sign_in: SignIn | None) -> None:
    services().limits.count(AUTHORIZATION, network(request.remote_addr))
    size = services().store.cost({"parameters": clean})
    services().budget.spend(size, request.remote_addr, is_anonymous=sign_in is None)


def _was_disconnected_since(target: Target, sign_in: SignIn, interaction: Interaction) -> bool:
    """Whether the user disconnected the client after this decision; only for clients without stored consents."""
    if not target.client.always_requires_consent(target.redirect_uri):
        return False
    disconnected = services().store.get("disconnected", f"{sign_in.user_id} {target.client.client_id}")
    return disconnected is not None and disconnected["at"] >= (interaction.decided_at or 0)


def _success(target: Target, grant: CodeGrant, sign_in: SignIn, *, decided: bool) -> Response | None:
    """Return the response with a code, or None if the person has to decide."""
    try:
        response_parameters = grant.create_authorization_response(target.redirect_uri, sign_in, decided=decided)
    except TooMany as error:
        if not grant.request.authentication.silent:
            raise
        # no page may be shown (OpenID Connect Core section 3.1.2.1)
        return _error_redirect(target, OAuthError("temporarily_unavailable", error.message))
    return None if response_parameters is None else _authorization_response(target, response_parameters)


def _error_redirect(target: Target, error: OAuthError) -> Response:
    response_parameters = [("error", error.error), ("error_description", description_of(error))]
    if target.state is not None and target.state.isascii() and target.state.isprintable():
        response_parameters.append(("state", target.state))
    return _authorization_response(target, response_parameters)


def _authorization_response(target: Target, response_parameters: list[tuple[str, str]]) -> Response:
    """Return the response to the client: a form, or a 303 redirect (RFC 9700 section 4.12).

    Every response is built here, so that each contains `iss` (RFC 9207 section 2).
    """
    response_parameters = [*response_parameters, ("iss", services().settings.issuer)]
    if target.mode == "form_post":
        return _form_post(target, response_parameters)
    separator = "&" if "?" in target.redirect_uri else "?"
    location = target.redirect_uri + separator + urlencode(response_parameters)
    return PreparedResponse(b"", 303, (("Location", location),))


def _form_post(target: Target, response_parameters: list[tuple[str, str]]) -> Response:
    """Return a self-submitting form; no URL contains its data (OAuth 2.0 Form Post Response Mode section 2)."""
    page = render_template(
        "form_post.html",
        client=target.client,
        redirect_uri=target.redirect_uri,
        response_parameters=response_parameters,
    )
    response = make_response(page)
    let_forms_leave(response, scripts=True)
    return response


def _invalid_target(error: OAuthError) -> Problem:
    return Problem(
        400,
        "The app sent an invalid request",
        f"{description_of(error)} For your safety, you have not been sent back to the app. This is the app's mistake, "
        "not yours. Go back to the app and try again. If that does not help, contact its developers.",
        (("Back to the home page", "/"),),
    )
