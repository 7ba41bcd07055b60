"""The client's flows, one file each, one line here."""

from __future__ import annotations

from typing import Final

from client_webapp.flow import Flow
from client_webapp.flows import ask, authorization_code, disconnect, refresh_token, revoke

FLOWS: Final[dict[str, Flow]] = {
    flow.name: flow for flow in (authorization_code.FLOW, ask.FLOW, refresh_token.FLOW, revoke.FLOW, disconnect.FLOW)
}
