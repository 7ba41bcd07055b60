"""Token in the query (RFC 6750 section 2.3): a good token, in the address and not in the header.

Addresses end up in logs, in histories and in the Referer of the next page, and a token in them with it. It must not be
sent so (RFC 9700 section 4.3.2). The API does not look there: to it, this is a request without a token, and such a
refusal names no error.
"""

from __future__ import annotations

from urllib.parse import urlencode

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows.ask import resource_response
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request


def resource_request(context: Context) -> Message:
    """Steps E and F, with the token where everybody on the way can read it."""
    base = context.settings.resource_backchannel_url or context.settings.resource_url
    query = urlencode({"access_token": context.tokens["access_token"]})
    return Message("back", "GET", f"{base}/invoices?{query}")


FLOW = Flow(
    name="token_in_query",
    title="Token in the query",
    specification="RFC 6750 sections 2.3 and 3.1, RFC 9700 section 4.3.2",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("resource_request", 4, resource_request, resource_response),
    ),
)
