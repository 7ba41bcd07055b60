"""The catalogue: the client's own flows and those that are refused, in groups (none: the lab's)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Final

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from client_webapp import pages
from client_webapp.flow import Flow
from client_webapp.flows import ask, authorization_code, disconnect, refresh_token, revoke
from rolecall_lab.catalogue.entry import CODE, Entry, Start
from rolecall_lab.catalogue.flows import REFUSED


def _works(
    module: ModuleType,
    start: Start,
    expected: tuple[str, ...],
    line: str,
    text: str,
    *,
    name: str = "",
    title: str = "",
    needs_connection: bool = True,
) -> Entry:
    flow: Flow = module.FLOW
    clause = flow.specification
    return Entry(name or flow.name, module, title or flow.title, line, text, clause, expected, start, needs_connection)


def _ask(way: str) -> ResponseReturnValue:
    return redirect(url_for("invoices", check=way), 303)


_WORK: Final = (
    _works(
        authorization_code,
        pages.connect,
        (CODE, "200"),
        "The owner signs in at the server and decides; the client is given a code, and a token for it.",
        "Your browser carries the code, which works once and within a minute. The token goes directly from the server "
        "to the client, which proves with its secret who it is, and with the `code_verifier` that the request was its "
        "own. What comes back is only looked at when `state` and `iss` are those of this request. All other flows are "
        "compared with this one.",
        needs_connection=False,
    ),
    _works(
        ask,
        partial(_ask, "introspection"),
        ("200",),
        "The API asks the authorization server whether the token is good.",
        "The token goes into the header `Authorization`. The API hands it to the authorization server, which knows "
        "all about it: that it was revoked, too. Each question costs a call (RFC 7662).",
        name="ask_introspection",
        title="Ask the API, which asks the server",
    ),
    _works(
        ask,
        partial(_ask, "jwt"),
        ("200",),
        "The API checks the token's signature by itself, and asks nobody.",
        "The token is a signed one (RFC 9068). The API checks it with the public key of the authorization server, "
        "which it has fetched once. That costs no call; a revocation is noticed when the token expires.",
        name="ask_jwt",
        title="Ask the API, which looks for itself",
    ),
    _works(
        refresh_token,
        pages.refresh,
        ("200",),
        "A new access token for the refresh token, without the owner.",
        "A new refresh token comes with it, and the old one is worth nothing from then on: should somebody present it "
        "later, everything that was given ends.",
    ),
    _works(
        revoke,
        pages.revoke,
        ("200",),
        "The client gives its access token up; the refresh token stays good.",
        "The server answers 200 whatever the token was. On the page that follows, the API is asked with it both ways, "
        "and only the one that asks the server refuses it.",
    ),
    _works(
        disconnect,
        pages.disconnect,
        ("200",),
        "The client gives its refresh token up, and with it everything that the owner gave.",
        "The authorization ends at the server, and the client forgets its tokens. What the owner has allowed is "
        "remembered there, so that the next connection asks for nothing.",
    ),
)


def _refused_at(diagram: int) -> tuple[Entry, ...]:
    """The flows of which a message of this step of the role diagram is the first to be refused."""
    return tuple(entry for entry in REFUSED if entry.flow.steps[entry.first_refusal].diagram == diagram)


GROUPS: Final[Mapping[str, tuple[Entry, ...]]] = {
    "Get a token, use it, end it": _WORK,
    "Refused at the authorization endpoint": _refused_at(2),
    "Refused at the token endpoint": _refused_at(3),
    "Refused by the Invoices API": _refused_at(4),
}

ENTRIES: Final[Mapping[str, Entry]] = {entry.name: entry for group in GROUPS.values() for entry in group}
