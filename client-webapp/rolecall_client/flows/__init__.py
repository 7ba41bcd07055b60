"""The registry of the client's flows, one per module."""

from __future__ import annotations

from typing import Final

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

FLOWS: Final[dict[str, Flow]] = {
    module.FLOW.name: module.FLOW
    for module in (authorization_code, sign_in, connect_and_sign_in, ask, refresh_token, revoke, disconnect)
}
