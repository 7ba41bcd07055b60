"""Is it still her? (OpenID Connect Core section 3.1.2.1): the client shows the ID token that it has, and no page comes.

The first request knows a name only (`login_hint`), which the sign-in page fills in. The second asks with
`prompt=none` whether the same person is still signed in, and says whom it means by the ID token itself
(`id_token_hint`). Had she signed out, or somebody else in, the answer would be `login_required`; a name alone could
not tell.
"""

from __future__ import annotations

import secrets

from rolecall.http import Answer
from rolecall_client.flow import Context, Flow, FlowError, Message, Step, json_object, pkce_pair
from rolecall_client.flows.authorization_code import authorization_response
from rolecall_client.flows.sign_in import token_request
from rolecall_client.flows.sign_in import token_response as believed


def authentication_request(context: Context) -> Message:
    """Steps 1 and 2: whom it is likely to be, and how and in which language to ask."""
    hints = {"login_hint": "alice", "display": "page", "ui_locales": "en-GB en", "claims_locales": "en"}
    return _request(context, **hints)


def token_response(context: Context, answer: Answer) -> None:
    """Step 4: keep the ID token as well, to show it again."""
    believed(context, answer)
    context.memory["hint"] = json_object(answer)["id_token"]
    context.memory["before"] = context.memory["claims"]


def silent_request(context: Context) -> Message:
    """Steps 1 and 2 again: this person, and no page."""
    return _request(context, prompt="none", id_token_hint=context.memory["hint"])


def silent_response(context: Context, answer: Answer) -> None:
    """Step 4 again: it is still the same person."""
    believed(context, answer)
    if context.memory["claims"]["sub"] != context.memory["before"]["sub"]:
        raise FlowError("another_subject", "the second ID token is about another person")


def _request(context: Context, **more: str) -> Message:
    context.memory["state"] = secrets.token_urlsafe(32)
    context.memory["nonce"] = secrets.token_urlsafe(32)
    context.memory["code_verifier"], challenge = pkce_pair()
    form = {
        "response_type": "code",
        "client_id": context.settings.client_id,
        "redirect_uri": context.settings.redirect_uri,
        "scope": "openid",
        "state": context.memory["state"],
        "nonce": context.memory["nonce"],
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **more,
    }
    return Message("front", "GET", context.server.authorization_endpoint, form=form)


FLOW = Flow(
    name="hinted",
    title="Is it still her?",
    specification="OpenID Connect Core section 3.1.2.1",
    steps=(
        Step("authentication_request", 2, authentication_request, authorization_response),
        Step("token_request", 3, token_request, token_response),
        Step("silent_request", 2, silent_request, authorization_response),
        Step("silent_token_request", 3, token_request, silent_response),
    ),
)
