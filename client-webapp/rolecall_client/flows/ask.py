"""Ask the resource server (RFC 6750 section 2.1): the token goes into the header, and nowhere else."""

from __future__ import annotations

from rolecall.http import HttpResponse
from rolecall_client.flow import Context, Flow, Message, Step, json_object


def resource_request(context: Context) -> Message:
    """Steps E and F. The lab's resource server lets the caller choose how it checks the token."""
    base = context.settings.resource_backchannel_url or context.settings.resource_url
    headers = {"Authorization": f"Bearer {context.tokens['access_token']}"}
    if validator := context.memory.get("validator"):
        headers["Rolecall-Validator"] = validator
    page = context.memory.get("page", 1)
    query = f"?page={page}" if page > 1 else ""
    return Message("back", "GET", f"{base}/invoices{query}", headers=headers)


def resource_response(context: Context, answer: HttpResponse) -> None:
    """Keep what came back, a refusal too: the page shows it."""
    context.memory["status"] = answer.status
    context.memory["body"] = json_object(answer)
    context.memory["challenge"] = answer.headers.get("www-authenticate", "")
    context.memory["report"] = answer.headers.get("rolecall-checks", "")
    context.memory["milliseconds"] = round(answer.milliseconds, 1)


FLOW = Flow(
    name="ask",
    title="Ask the Invoices API",
    specification="RFC 6750 section 2.1",
    steps=(Step("resource_request", 4, resource_request, resource_response),),
)
