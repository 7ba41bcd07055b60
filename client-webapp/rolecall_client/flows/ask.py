"""Request the invoices with the access token in the Authorization header (RFC 6750 section 2.1)."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step, json_object


def resource_request(context: Context) -> Message:
    """Build the request for a page of invoices (steps E and F)."""
    base = context.settings.resource_backchannel_url or context.settings.resource_url
    page = context.memory.get("page", 1)
    query = f"?page={page}" if page > 1 else ""
    headers = {"Authorization": f"Bearer {context.tokens['access_token']}"}
    return Message("back", "GET", f"{base}/invoices{query}", headers=headers)


def resource_response(context: Context, response: HttpResponse) -> None:
    """Store the response for the page, including an error."""
    context.memory["status"] = response.status
    context.memory["body"] = json_object(response)
    context.memory["challenge"] = response.headers.get("www-authenticate", "")
    context.memory["milliseconds"] = round(response.milliseconds, 1)


FLOW = Flow(
    name="ask",
    title="Request the invoices",
    specification="RFC 6750 section 2.1",
    steps=(Step("resource_request", 4, resource_request, resource_response),),
)
