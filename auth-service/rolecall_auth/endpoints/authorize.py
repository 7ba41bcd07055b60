"""The authorization endpoint (RFC 6749 section 3.1): validate, let pages ask the person, answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import redis
from authlib.oauth2 import OAuth2Error
from flask import Response, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from rolecall import checks, sql
from rolecall.errors import OAuthError
from rolecall.web.errors import PageError, Problem, store_unavailable
from rolecall.web.headers import allow_form_targets, origin_of
from rolecall_auth import parameters
from rolecall_auth.authorization_server import OAuth2Request, engine, from_authlib
from rolecall_auth.models.client import Client
from rolecall_auth.models.consent import has_consent
from rolecall_auth.models.interaction import LOST, Interaction
from rolecall_auth.models.session import SignIn
from rolecall_auth.openid import authentication_request, request_object, scopes
from rolecall_auth.openid.authentication_request import CONSENTED, RESPONSE_MODE, RESPONSE_MODES, SIGNED_IN
from rolecall_auth.services import services

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
    "The redirect_uri is missing; an OpenID request names it.",
)
RESPONSE_TYPE = checks.define(
    "authorize.response_type", "RFC 6749 section 3.1.1", "invalid_request", "The response_type is missing."
)

_BESIDE_REQUEST_OBJECT = frozenset({"client_id", "request", "request_uri"})
_NEVER_REDIRECTED = frozenset({"client_id", "redirect_uri"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where the answer may go: a client and one of its redirect URIs, both verified; and how (`response_mode`)."""

    client: Client
    redirect_uri: str
    state: str | None
    mode: str


def authorize() -> ResponseReturnValue:
    """GET or POST /authorize; pages send the browser back here with the name of the waiting interaction."""
    name = parameters.read("authorize", request.args, only=frozenset({"interaction"})).get("interaction")
    if request.method == "GET" and name is not None:
        return _resume(name)
    source = request.form if request.method == "POST" else request.args
    return _answer(source, None, None)


def _resume(name: str) -> ResponseReturnValue:
    interaction = services().interactions.get(name)
    if interaction is None:
        raise PageError(LOST)
    return _answer(MultiDict(interaction.parameters), name, interaction)


def _answer(source: MultiDict[str, str], name: str | None, interaction: Interaction | None) -> ResponseReturnValue:
    try:
        source = _requested(source)
    except OAuthError as error:
        # what is in the object cannot be believed; the answer goes where the parameters beside it may send it
        return _error_redirect(_validate_target(source), error)
    target = _validate_target(source)
    try:
        clean = parameters.read("authorize", source)
        RESPONSE_TYPE("response_type" in clean, expected="present", actual=clean.get("response_type", "missing"))
        oauth2_request = OAuth2Request(clean)
        mode = clean.get("response_mode", "query")
        RESPONSE_MODE(mode == target.mode, expected=" or ".join(RESPONSE_MODES), actual=mode)
        grant = engine.get_consent_grant(oauth2_request)
        wanted = oauth2_request.authentication = authentication_request.read(target.client, clean)
        scope, oauth2_request.consent_scope = authentication_request.scopes_asked(target.client, clean, wanted)
        oauth2_request.scope = scope
        resource = scopes.resource_for(scope, clean.get("resource"))
        if request.method == "POST":
            # a form from another site brings no Lax cookie; the GET that follows does
            services().throttles.authorization(request.remote_addr or "")
            name = services().interactions.put_for_any_browser(clean)
            return redirect(url_for("authorize", interaction=name), 303)
        return _proceed(target, grant, resource.identifier, clean, name, interaction)
    except OAuth2Error as error:
        return _error_redirect(target, from_authlib(error))
    except OAuthError as error:
        return _error_redirect(target, error)
    except (redis.RedisError, *sql.UNAVAILABLE) as error:
        return _error_redirect(target, store_unavailable(error))


def _requested(source: MultiDict[str, str]) -> MultiDict[str, str]:
    """The parameters, from a request object if there is one (RFC 9101 section 5).

    Raises:
        OAuthError: the request object cannot be used.
    """
    if not request_object.is_used(source):
        return source
    outer = parameters.read("authorize", source, only=_BESIDE_REQUEST_OBJECT)
    client = services().registry.client(outer["client_id"]) if "client_id" in outer else None
    if client is None or not request_object.is_used(outer):
        return source
    return MultiDict(request_object.read(client, outer))


def _validate_target(source: MultiDict[str, str]) -> Target:
    """Client and redirect URI; when one is bad the person is told, and never sent on (RFC 6749 section 4.1.2.1)."""
    try:
        clean = parameters.read("authorize", source, only=_NEVER_REDIRECTED)
        client = services().registry.client(clean["client_id"]) if "client_id" in clean else None
        CLIENT(client is not None, expected="a registered client", actual=clean.get("client_id", "missing"))
        assert client is not None
        # only OAuth lets the one that is registered stand for it (RFC 6749 section 3.1.2.3)
        is_openid = any("openid" in value.split() for value in source.getlist("scope"))
        REDIRECT_URI_GIVEN("redirect_uri" in clean or not is_openid, expected="present", otherwise="missing")
        redirect_uri = clean.get("redirect_uri") or client.get_default_redirect_uri()
        good = redirect_uri is not None and client.check_redirect_uri(redirect_uri)
        REDIRECT_URI(good, expected=" or ".join(client.redirect_uris), actual=redirect_uri or "missing")
    except OAuthError as error:
        if error.status != 400:
            raise
        raise PageError(_bad_target(error)) from error
    assert redirect_uri is not None
    states = [value for value in source.getlist("state") if value]
    modes = [value for value in source.getlist("response_mode") if value]
    posts = modes == ["form_post"] and redirect_uri.startswith(("http://", "https://"))
    return Target(client, redirect_uri, states[0] if len(states) == 1 else None, "form_post" if posts else "query")


def _proceed(
    target: Target,
    grant: Any,
    resource: str,
    clean: dict[str, str],
    name: str | None,
    interaction: Interaction | None,
) -> ResponseReturnValue:
    """Sign in, ask, answer: whichever is still missing (OpenID Connect Core sections 3.1.2.3 and 3.1.2.4)."""
    who, wanted = services().sessions.current(), grant.request.authentication
    if who is None or not wanted.accepts(who, interaction):
        SIGNED_IN(not wanted.silent, expected="somebody who is signed in and will do", otherwise="nobody")
        return redirect(url_for("sign-in", interaction=name or _kept(clean)), 303)
    # signed in as somebody else than the client has meant
    SIGNED_IN(wanted.means(who), expected="the person of the hint", otherwise="somebody else")
    if interaction is not None and interaction.decision is not None and interaction.decided_by == who.user_id:
        taken = services().interactions.take(name or "")
        if taken is None or _was_disconnected_since(target, who, taken):
            raise PageError(LOST)
        if taken.decision == "deny":
            denied = checks.registry["engine.access_denied"]
            return _error_redirect(target, denied.refusal("denied", expected="the owner's consent", actual="denied"))
        return _success(target, grant, who)
    if "consent" not in wanted.prompts and _is_remembered(target, who, resource, grant.request.consent_scope):
        if name is not None:
            services().interactions.take(name)
        return _success(target, grant, who)
    CONSENTED(not wanted.silent, expected="a consent that is remembered", otherwise="none")
    return redirect(url_for("consent", interaction=name or _kept(clean)), 303)


def _kept(clean: dict[str, str]) -> str:
    """Keep a request until the person has decided; gives its secret name."""
    services().throttles.authorization(request.remote_addr or "")
    return services().interactions.put(clean)


def _is_remembered(target: Target, who: SignIn, resource: str, scope: str) -> bool:
    if target.client.asks_every_time(target.redirect_uri):
        return False
    with services().database.read() as session:
        return has_consent(session, who.user_id, target.client.client_id, resource, scope)


def _was_disconnected_since(target: Target, who: SignIn, interaction: Interaction) -> bool:
    """Whether the person has taken back what the client has, after this decision; such consents stand nowhere else."""
    if not target.client.asks_every_time(target.redirect_uri):
        return False
    taken_back = services().store.get("disconnected", f"{who.user_id} {target.client.client_id}")
    return taken_back is not None and taken_back["at"] >= (interaction.decided_at or 0)


def _success(target: Target, grant: Any, who: SignIn) -> Response:
    return _answer_to_client(target, grant.create_authorization_response(target.redirect_uri, who))


def _error_redirect(target: Target, error: OAuthError) -> Response:
    answer = [("error", error.error), ("error_description", error.description)]
    if target.state is not None and target.state.isascii() and target.state.isprintable():
        answer.append(("state", target.state))
    return _answer_to_client(target, answer)


def _answer_to_client(target: Target, answer: list[tuple[str, str]]) -> Response:
    """The only way back to the client, so that `iss` is in every answer (RFC 9207 section 2); 303 (RFC 9700 4.12)."""
    answer = [*answer, ("iss", services().settings.issuer)]
    if target.mode == "form_post":
        return _form_post(target, answer)
    separator = "&" if "?" in target.redirect_uri else "?"
    response = Response(status=303)
    response.headers["Location"] = target.redirect_uri + separator + urlencode(answer)
    return response


def _form_post(target: Target, answer: list[tuple[str, str]]) -> Response:
    """A form that sends itself (OAuth 2.0 Form Post Response Mode section 2): nothing of it stands in an address."""
    page = render_template("form_post.html", client=target.client, redirect_uri=target.redirect_uri, answer=answer)
    response = make_response(page)
    allow_form_targets(response, origin_of(target.redirect_uri), scripts=True)
    return response


def _bad_target(error: OAuthError) -> Problem:
    return Problem(
        400,
        "The app sent you here with a bad request",
        f"{error.description} For your safety you are not sent back to it. This is a mistake of the app, not yours: "
        "go back to it and try again, and tell the people who make it if that does not help.",
        (("Back to the first page", "/"),),
    )
