"""Send a valid access token in the URL instead of the header (RFC 6750 section 2.3)."""

from __future__ import annotations

from urllib.parse import urlencode

from rolecall_client.flow import Context, Flow, Message, Step, keep_tokens
from rolecall_client.flows.ask import resource_response
from rolecall_client.flows.authorization_code import authorization_request, authorization_response, token_request
from rolecall_lab.catalog.entry import CODE, lab_entry


def resource_request(context: Context) -> Message:
    """Steps E and F, with the token in the query, where proxies and logs can read it."""
    base = context.settings.resource_backchannel_url or context.settings.resource_url
    query = urlencode({"access_token": context.tokens["access_token"]})
    return Message("back", "GET", f"{base}/invoices?{query}")


FLOW = Flow(
    name="token_in_query",
    title="Access token in the query",
    specification="RFC 6750 sections 2.3 and 3.1, RFC 9700 section 4.3.2",
    steps=(
        Step("authorization_request", 2, authorization_request, authorization_response),
        Step("token_request", 3, token_request, keep_tokens),
        Step("resource_request", 4, resource_request, resource_response),
    ),
)

ENTRY = lab_entry(
    __name__,
    FLOW,
    summary="The client sends a valid token in the URL instead of the Authorization header.",
    description="URLs end up in logs, in browser histories, and in the Referer header of the next page, together with "
    "any token in them, so this method must not be used (RFC 9700 section 4.3.2). The API ignores the parameter and "
    "rejects the request as one without a token; such a response contains no error code.",
    clause="RFC 6750 section 3.1",
    expected=(CODE, "200", "401"),
)
