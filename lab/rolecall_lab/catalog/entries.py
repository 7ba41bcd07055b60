"""The catalogue: the client's own flows and those that are refused, in groups (none: the lab's)."""

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
from rolecall_client.flows import ask, authorization_code, disconnect, refresh_token, revoke, sign_in
from rolecall_client.services import services
from rolecall_lab.catalog.entry import BAD_ID_TOKEN, CODE, PLAIN, Entry, Need, Start
from rolecall_lab.catalog.flows import ANSWERED, OF_CLIENTS, REFUSED


def _works(
    module: ModuleType,
    start: Start,
    expected: tuple[str, ...],
    line: str,
    text: str,
    *,
    name: str = "",
    title: str = "",
    needs: Need = "connection",
    plain: ModuleType = PLAIN,
    asks: Mapping[str, str] = MappingProxyType({}),
) -> Entry:
    flow: Flow = module.FLOW
    name, title = name or flow.name, title or flow.title
    return Entry(name, module, title, line, text, flow.specification, expected, start, needs, plain, asks)


def _ask(way: str) -> ResponseReturnValue:
    return redirect(url_for("invoices", check=way), 303)


def _view(name: str) -> Start:
    """Call a view of Tally that the lab may have replaced."""

    def start() -> ResponseReturnValue:
        return cast("ResponseReturnValue", current_app.view_functions[name]())

    return start


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
        needs="",
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
        _view("refresh"),
        ("200",),
        "A new access token for the refresh token, without the owner.",
        "A new refresh token comes with it, and the old one is worth nothing from then on: should somebody present it "
        "later, everything that was given ends.",
    ),
    _works(
        revoke,
        _view("revoke"),
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


def _sign_in(again: str) -> ResponseReturnValue:
    return with_error_pages(
        lambda: redirect(services().runner.start("sign_in", services().sessions.browser(), again=again), 303)
    )()


_SIGN_IN: Final = (
    _works(
        sign_in,
        profile.sign_in,
        (CODE, "200", "200"),
        "The owner signs in at the server, and the client learns who it was.",
        "It is the code flow with the scope `openid`: beside the access token the server gives an ID token, a signed "
        "statement for this client alone. The client checks each rule, then asks userinfo, and believes it only when "
        "its `sub` is the same. Nothing is allowed by it; it says who somebody is.",
        needs="",
    ),
    _works(
        sign_in,
        partial(_sign_in, "silent"),
        (CODE, "200", "200"),
        "The client asks whether the owner is still signed in, and the server shows no page.",
        "With `prompt=none` the server answers at once: a code when somebody is signed in and has allowed it before, "
        "else `login_required` or `consent_required`. An app uses it to see whether its session may go on.",
        name="sign_in_silent",
        asks=sign_in.AGAIN["silent"],
        title="Sign in, silently",
        needs="sign-in",
        plain=sign_in,
    ),
    _works(
        sign_in,
        partial(_sign_in, "recent"),
        (CODE, "200", "200"),
        "The client wants a sign-in that is not older than a minute.",
        "`max_age=60` lets the server decide whether to ask for the password. The client does not take its word: "
        "`auth_time` in the ID token has to be recent enough, else it refuses what it was given.",
        name="sign_in_recent",
        asks=sign_in.AGAIN["recent"],
        title="Sign in, not over a minute ago",
        needs="sign-in",
        plain=sign_in,
    ),
    _works(
        sign_in,
        partial(_sign_in, "login"),
        (CODE, "200", "200"),
        "The owner has to prove it again, signed in or not.",
        "`prompt=login` asks for the password in any case, as one does before something that matters. That it really "
        "happened shows in `auth_time`, which is later than the request.",
        name="sign_in_login",
        asks=sign_in.AGAIN["login"],
        title="Sign in, proven again",
        needs="sign-in",
        plain=sign_in,
    ),
    _works(
        sign_in,
        partial(_sign_in, "choose"),
        (CODE, "200", "200"),
        "The owner says which account it shall be.",
        "With `prompt=select_account` the server does not take for granted that it is whoever is signed in: the owner "
        "goes on, or signs in as somebody else. It is for people who share a computer, or have two accounts.",
        name="sign_in_choose",
        asks=sign_in.AGAIN["choose"],
        title="Sign in, as whom one likes",
        needs="sign-in",
        plain=sign_in,
    ),
    *ANSWERED,
)


def _refused_at(diagram: int) -> tuple[Entry, ...]:
    """The flows of which a message of this step of the role diagram is the first to be refused."""
    refused = (entry for entry in REFUSED if BAD_ID_TOKEN not in entry.expected)
    return tuple(entry for entry in refused if entry.flow.steps[entry.first_refusal].diagram == diagram)


GROUPS: Final[Mapping[str, tuple[Entry, ...]]] = {
    "Get a token, use it, end it": _WORK,
    "Learn who somebody is": _SIGN_IN,
    "Register a client, and prove which one it is": OF_CLIENTS,
    "Refused at the authorization endpoint": _refused_at(2),
    "Refused at the token endpoint": _refused_at(3),
    "Refused by the Invoices API": _refused_at(4),
    "Refused by the client": tuple(entry for entry in REFUSED if BAD_ID_TOKEN in entry.expected),
}

ENTRIES: Final[Mapping[str, Entry]] = {entry.name: entry for group in GROUPS.values() for entry in group}
