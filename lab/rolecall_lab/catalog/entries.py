"""The catalog: the client's flows and the lab's flows, in groups."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Final, cast

from flask import current_app, redirect, url_for
from flask.typing import ResponseReturnValue

from rolecall_client import pages, profile
from rolecall_client.errors import with_error_pages
from rolecall_client.flow import Flow
from rolecall_client.flows import (
    ask,
    authorization_code,
    connect_and_sign_in,
    disconnect,
    refresh_token,
    revoke,
    sign_in,
)
from rolecall_lab.catalog import mistaken
from rolecall_lab.catalog.entry import BAD_ID_TOKEN, BASE, CODE, Entry, Need, Start
from rolecall_lab.catalog.flows import REFUSED, REGISTRATION, SIGN_IN


def _client_entry(
    module: ModuleType,
    start: Start,
    expected: tuple[str, ...],
    summary: str,
    description: str,
    *,
    name: str = "",
    title: str = "",
    needs: Need = "connection",
    base: ModuleType = BASE,
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> Entry:
    """Return the entry of a flow that is part of the client."""
    flow: Flow = module.FLOW
    name, title = name or flow.name, title or flow.title
    clause = flow.specification
    return Entry(name, module, title, summary, description, clause, expected, start, needs, base, parameters)


def _view(name: str) -> Start:
    """Call a view of Tally that the lab may have replaced."""

    def start() -> ResponseReturnValue:
        return cast("ResponseReturnValue", current_app.view_functions[name]())

    return start


def _show_invoices(validator: str) -> ResponseReturnValue:
    """Redirect to the page that runs the flow; `run` names the entry (see `rolecall_lab.catalog.runs`)."""
    return redirect(url_for("invoices", check=validator, run=f"ask_{validator}"), 303)


_TOKENS: Final = (
    _client_entry(
        authorization_code,
        pages.connect,
        (CODE, "200"),
        "The user signs in at the authorization server and gives consent, and the client exchanges a code for tokens.",
        "The browser carries the code, which works once and expires within a minute. The tokens go directly from the "
        "server to the client, which authenticates with its secret and proves with the `code_verifier` that it started "
        "the flow. The client accepts the response only if `state` and `iss` match its request. The other flows are "
        "compared with this one.",
        needs="",
    ),
    _client_entry(
        ask,
        partial(_show_invoices, "introspection"),
        ("200",),
        "The API asks the authorization server whether the token is valid.",
        "The client sends the token in the `Authorization` header. The API sends it to the authorization server, which "
        "knows its current state, including whether it has been revoked. Each request costs a call (RFC 7662).",
        name="ask_introspection",
        title="Token introspection by the API",
    ),
    _client_entry(
        ask,
        partial(_show_invoices, "jwt"),
        ("200",),
        "The API validates the token's signature itself and calls no other service.",
        "The token is a signed JWT (RFC 9068). The API verifies it with the authorization server's public key, which "
        "it fetched earlier. This needs no call per request, but a revoked token stays valid until it expires.",
        name="ask_jwt",
        title="Local JWT validation by the API",
    ),
    _client_entry(
        refresh_token,
        _view("refresh"),
        ("200",),
        "The client exchanges its refresh token for a new access token, without the user.",
        "The response contains a new refresh token, and the old one becomes invalid. If anyone presents the old one "
        "later, the server ends the authorization and revokes all of its tokens.",
    ),
    _client_entry(
        revoke,
        _view("revoke"),
        ("200",),
        "The client revokes its access token and keeps its refresh token.",
        "The server responds with 200 whether or not the token was valid. The page that follows sends the revoked "
        "token to the API twice: introspection rejects it, and local validation still accepts it.",
    ),
    _client_entry(
        disconnect,
        pages.disconnect,
        ("200",),
        "The client revokes its refresh token, which ends the authorization.",
        "The server revokes every token of the authorization, and the client deletes its copies. The user's consent is "
        "kept, so the next connection does not ask for it again.",
    ),
)


def _sign_in(again: str) -> ResponseReturnValue:
    return with_error_pages(lambda: profile.start_sign_in(again))()


_CLIENT_SIGN_IN: Final = (
    _client_entry(
        sign_in,
        profile.sign_in,
        (CODE, "200", "200"),
        "The user signs in at the authorization server, and the client learns who the user is.",
        "This is the code flow with the scope `openid`. In addition to the access token, the server issues an ID "
        "token: a signed statement that is meant for this client only. The client validates it, calls the userinfo "
        "endpoint, and accepts that response only if its `sub` is the same. An ID token identifies the user; it does "
        "not grant access.",
        needs="",
    ),
    _client_entry(
        connect_and_sign_in,
        pages.connect_and_sign_in,
        (CODE, "200", "200"),
        "One request signs the user in and connects the invoices.",
        "The scope contains `openid`, the API's scope, and `offline_access`. The client gets an ID token, an access "
        "token for the API and userinfo, and a refresh token. A refreshed ID token must be about the same sign-in.",
        needs="",
        base=sign_in,
    ),
    _client_entry(
        sign_in,
        partial(_sign_in, "silent"),
        (CODE, "200", "200"),
        "The client asks whether the user is still signed in, and the server shows no page.",
        "With `prompt=none` the server redirects immediately: with a code if the user is signed in and has given "
        "consent, otherwise with `login_required` or `consent_required`. Clients use it to keep a session alive.",
        name="sign_in_silent",
        parameters=sign_in.AGAIN["silent"],
        title="prompt=none (silent sign-in)",
        needs="sign-in",
        base=sign_in,
    ),
    _client_entry(
        sign_in,
        partial(_sign_in, "recent"),
        (CODE, "200", "200"),
        "The client requires a sign-in that is at most a minute old.",
        "With `max_age=60` the server asks for the password only if the last sign-in is older than that. The client "
        "verifies the result: it rejects an ID token whose `auth_time` is too old.",
        name="sign_in_recent",
        parameters=sign_in.AGAIN["recent"],
        title="max_age=60 (recent sign-in)",
        needs="sign-in",
        base=sign_in,
    ),
    _client_entry(
        sign_in,
        partial(_sign_in, "login"),
        (CODE, "200", "200"),
        "The user must enter the password again, even if already signed in.",
        "With `prompt=login` the server always asks for the password, as applications do before a sensitive action. "
        "The client verifies it: `auth_time` must be later than the request.",
        name="sign_in_login",
        parameters=sign_in.AGAIN["login"],
        title="prompt=login (forced sign-in)",
        needs="sign-in",
        base=sign_in,
    ),
    _client_entry(
        sign_in,
        partial(_sign_in, "choose"),
        (CODE, "200", "200"),
        "The user chooses which account to use.",
        "With `prompt=select_account` the server does not assume that the signed-in user is the right one: the user "
        "continues or signs in with another account. This helps people who share a computer or have two accounts.",
        name="sign_in_choose",
        parameters=sign_in.AGAIN["choose"],
        title="prompt=select_account (choose an account)",
        needs="sign-in",
        base=sign_in,
    ),
)


def _refused_at(diagram: int) -> tuple[Entry, ...]:
    """Return the refused flows whose first rejected message belongs to this step of the role diagram."""
    refused = (entry for entry in REFUSED if BAD_ID_TOKEN not in entry.expected)
    return tuple(entry for entry in refused if entry.flow.steps[entry.first_refusal].diagram == diagram)


GROUPS: Final[Mapping[str, tuple[Entry, ...]]] = {
    "Get, use, and revoke tokens": _TOKENS,
    "Sign users in": (*_CLIENT_SIGN_IN, *SIGN_IN),
    "Register and authenticate clients": REGISTRATION,
    "Refused by the authorization endpoint": _refused_at(2),
    "Refused by the token endpoint": _refused_at(3),
    "Refused by the Invoices API": _refused_at(4),
    "Refused by the client": tuple(entry for entry in REFUSED if BAD_ID_TOKEN in entry.expected),
    "Provider mistakes that the client detects": mistaken.ENTRIES,
}

ENTRIES: Final[Mapping[str, Entry]] = {entry.name: entry for group in GROUPS.values() for entry in group}
