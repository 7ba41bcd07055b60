"""Made-up events in the format of the recorder."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rolecall import clock
from rolecall_lab.recording.event import Exchange, encode
from rolecall_lab.settings import LabSettings

BEGAN = float(int(clock.now()))
"""Seconds since the epoch; the times of events are milliseconds after it. Events expire after a day."""


def describe(exchange: Exchange, lab: LabSettings) -> dict[str, Any]:
    """Return the event of an exchange, as decoded by a reader."""
    event: dict[str, Any] = json.loads(encode(exchange, lab))
    return event


def hash_of(text: str) -> str:
    """Return a short hash, which replaces the keyed hash of the recorder."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def mark(text: str, /, **claims: Any) -> dict[str, Any]:
    """Return the recorded form of a secret, or of a JWT if there are claims."""
    marked: dict[str, Any] = {"shown": f"{text[:4]}…", "hash": hash_of(text), "value": text}
    if claims:
        marked |= {"unverified_header": {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}, "unverified_claims": claims}
    return marked


def plain(text: str) -> dict[str, Any]:
    """Return the recorded form of a public value that joins events, such as `state`."""
    return {"value": text, "hash": hash_of(text)}


def event(at: float, sender: str, receiver: str, request: str, status: int | None = 200, **more: Any) -> dict[str, Any]:
    """Return an exchange that began at `at` milliseconds; `handles`, `chosen`, and `presented` join it to others."""
    method, _, path = request.partition(" ")
    handles, chosen, presented = (more.pop(name, ()) for name in ("handles", "chosen", "presented"))
    front, salt = sender == "browser", f"{at} {request} {handles} {chosen} {more.get('trace')}"
    made: dict[str, Any] = {
        "id": f"{int((BEGAN + at / 1000) * 1e6):016x}{hash_of(salt)[:8]}",
        "schema": 3,
        "at": BEGAN + at / 1000,
        "role": receiver,
        "direction": "received",
        "from": sender,
        "to": receiver,
        "channel": "front" if front else "back",
        "method": method,
        "host": "localhost",
        "base": "",
        "path": path,
        "query": {},
        "form": {},
        "json": None,
        "request_headers": {},
        "response_headers": {},
        "body": None,
        "checks": [],
        "changes": [],
        "cut": [],
        "status": status,
        "failure": None,
        "milliseconds": 2.0,
        "handles": sorted(hash_of(handle) for handle in [*handles, *chosen, *presented]),
        "chosen": sorted(hash_of(handle) for handle in chosen),
        "presented": sorted(hash_of(handle) for handle in presented),
        "trace": None,
        "span": None,
        # only one end of a message is recorded here, so its trace also links it to the request that it serves
        "serving": more.get("trace"),
        "process": 1,
        "dropped": 0,
    }
    return made | more


def check(name: str, passed: bool = True, clause: str = "RFC 6749 section 4.1.3") -> dict[str, Any]:
    """Return a check of the authorization server."""
    return {
        "name": name,
        "passed": passed,
        "expected": "this",
        "actual": "this" if passed else "that",
        "clause": clause,
    }


def plain_flow(name: str = "a") -> list[dict[str, Any]]:
    """Return the code flow in seven exchanges, joined as by the recorder; the values contain the flow's name."""
    state, code, verifier = f"state-{name}-0123", f"code-{name}-01234", f"verifier-{name}-0123"
    challenge, access, refresh = f"challenge-{name}-012", f"access-{name}-0123", f"refresh-{name}-012"
    asked = {"state": plain(state), "code_challenge": plain(challenge), "client_id": "tally"}
    back = {"code": mark(code), "state": plain(state)}
    first, last = f"{hash_of(name)}{hash_of(name)}", f"{hash_of(name + '2')}{hash_of(name)}"
    token = mark(access, exp=BEGAN + 300, jti=f"jti-{name}-012345")
    return [
        event(
            0, "browser", "client", "POST /connect", 303, chosen=[state, challenge],
            response_headers={"location": {"url": "http://localhost:8001/authorize", "parameters": asked}},
        ),
        event(
            10, "browser", "authorization_server", "GET /authorize", 303, query=asked, handles=[code],
            chosen=[state, challenge],
            checks=[check("authorize.client_id")],
            changes=[{"store": "redis", "key": "auth:code:4bb44f54…", "change": "set", "seconds": 60}],
            response_headers={"location": {"url": "http://localhost:8000/callback", "parameters": back}},
        ),
        event(
            20, "browser", "client", "GET /callback", 303, query=back, handles=[code], chosen=[state], trace=first,
            milliseconds=9.0,
        ),
        event(
            22, "client", "authorization_server", "POST /token", trace=first,
            handles=[code, access, refresh], chosen=[challenge],
            form={"grant_type": "authorization_code", "code": mark(code), "code_verifier": mark(verifier)},
            request_headers={"authorization": {"scheme": "Basic", "client_id": "tally"}},
            checks=[check("token.code"), check("token.code_verifier")],
            body={"access_token": token, "refresh_token": mark(refresh), "token_type": "Bearer"}, milliseconds=4.0,
        ),
        event(40, "browser", "client", "GET /invoices", trace=last, milliseconds=20.0),
        event(
            42, "client", "resource_server", "GET /invoices", trace=last, handles=[access], milliseconds=12.0,
            request_headers={"authorization": {"scheme": "Bearer", "token": token}}, checks=[check("token.active")],
        ),
        event(
            45, "resource_server", "authorization_server", "POST /introspect", trace=last, handles=[access],
            form={"token": token}, body={"active": True}, milliseconds=3.0,
        ),
    ]  # fmt: skip


def constant_flow(number: int, *, interaction: bool = True) -> list[dict[str, Any]]:
    """Return a flow of a client whose `state` and verifier never change, each time for a new person."""
    asked = {"response_type": "code", "state": plain("the-state-of-an-example"), "code_challenge": plain("E9Melhoa2O")}
    chosen = ["the-state-of-an-example", "E9Melhoa2O"]
    code, token, waits = f"code-{number}-0123", f"token-{number}-0123", f"interaction-{number}"
    ends = {"code": mark(code), "state": asked["state"]}
    form = {"grant_type": "authorization_code", "code": mark(code)}
    at = number * 3
    ask = event(
        at, "browser", "authorization_server", "GET /authorize", 303, query=asked, handles=[waits], chosen=chosen
    )
    again = event(
        at + 100,
        "browser",
        "authorization_server",
        "GET /authorize",
        303,
        query={"interaction": mark(waits)},
        handles=[waits, code],
        chosen=chosen[:1],
        response_headers={"location": {"url": "http://localhost:8000/callback", "parameters": ends}},
    )
    back = event(at + 200, "browser", "client", "GET /callback", query=ends, handles=[code], chosen=chosen[:1])
    redeem = event(
        at + 300, "client", "authorization_server", "POST /token", form=form, handles=[code, token], chosen=chosen[1:]
    )
    call = event(at + 400, "client", "resource_server", "GET /invoices", handles=[token])
    return [ask, again, back, redeem, call]
