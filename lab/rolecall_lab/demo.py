"""Runs the code flow against the running lab and prints the five steps of the diagram: `make demo`.

Every message shown is one that was really sent; what the services recorded is read from `/_lab/events`.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from rolecall.clock import monotonic
from rolecall_lab.walker import Walker, connect

NOTICE: Final = (
    Path(os.environ.get("ROLECALL_DIR") or Path(__file__).resolve().parents[2] / ".rolecall") / "running.json"
)
"""Where the launcher says what runs, and under which addresses."""

STEPS: Final = (
    "1  The resource owner asks the client",
    "2  The client sends the owner to the authorization server: sign in, decide",
    "3  The authorization server gives the client a token",
    "4  The client asks the resource server",
    "5  The resource server checks the token, and answers",
)
NAMES: Final = {
    "browser": "browser",
    "client": "client",
    "authorization_server": "authorization server",
    "resource_server": "resource server",
    "other": "somebody",
}
FLOWS: Final = ("authorization_code",)
_INTERESTING: Final = ("location", "www-authenticate", "content-type")


def main() -> int:
    """Print the flow; 1 and one clear line when the lab does not run or does not play along."""
    flow = os.environ.get("FLOW") or FLOWS[0]
    if flow not in FLOWS:
        return _fail(f"there is no flow {flow}; there is {', '.join(FLOWS)}")
    try:
        services = json.loads(NOTICE.read_text())["services"]
        client_url = services["client-webapp"]["url"]
    except (OSError, ValueError, KeyError):
        return _fail("the lab does not run; start it with `make run` in another terminal")
    began = monotonic()
    try:
        since = _newest(client_url)
        connect(Walker(), client_url, "alice", "wonderland-lab")
        events = [event for event in _events(client_url) if event["id"] > since]
    except (OSError, RuntimeError) as error:
        return _fail(f"the flow did not end well: {error}")
    took = monotonic() - began
    tell(_of_newest_flow(events))
    print(f"\n{'─' * 78}\nThe whole flow took {took * 1000:.0f} ms, sign-in and its password hash included.")
    return 0


def tell(events: list[dict[str, Any]]) -> None:
    """Print events, step by step."""
    step = 0
    for event in events:
        reached = step_of(event)
        while step < reached:
            step += 1
            print(f"\n{_bold(STEPS[step - 1])}\n{'─' * 78}")
        print("\n".join(_lines(event)))


def step_of(event: dict[str, Any]) -> int:
    """Which of the five steps an event belongs to."""
    if event["to"] == "resource_server":
        return 4
    if event["path"] in {"/introspect", "/jwks"} or event["from"] == "resource_server":
        return 5
    if event["path"] in {"/token", "/revoke"}:
        return 3
    if event["to"] == "client" and event["path"] in {"/", "/connect"}:
        return 1
    if event["to"] == "client" and event["path"] == "/invoices":
        return 4
    return 2


def _lines(event: dict[str, Any]) -> list[str]:
    """A message and its answer, as they were but for what is secret."""
    arrow = "──▶" if event["channel"] == "back" else "╌╌▶"
    lines = [
        "",
        f"  {NAMES[event['from']]} {arrow} {NAMES[event['to']]}   "
        f"({event['channel']} channel, {event['milliseconds']:.1f} ms)",
        f"  {event['method']} {event['path']}{_query(event['query'])}",
    ]
    authorization = event["request_headers"].get("authorization")
    if authorization:
        lines.append(f"  Authorization: {_short(authorization)}")
    lines += [f"    {name}={_short(value)}" for name, value in event["form"].items()]
    lines.append(f"  {_colour(event['status'])}")
    lines += [
        f"    {name}: {_short(value)}"
        for name, value in event["response_headers"].items()
        if name in _INTERESTING and not (name == "content-type" and event["body"] is None)
    ]
    if isinstance(event["body"], dict):
        lines += [f"    {name}: {_short(value)}" for name, value in event["body"].items()]
    lines += [
        f"    {'✓' if check['passed'] else '✕'} {check['name']}  ({check['clause']})" for check in event["checks"]
    ]
    return lines


def _short(value: Any) -> str:
    """A recorded value in one line of 100 characters at most."""
    if isinstance(value, dict) and "shown" in value:
        return str(value["shown"])
    if isinstance(value, dict):
        return " ".join(f"{name}={_short(each)}" for name, each in value.items() if name != "hash")[:100]
    if isinstance(value, list):
        return f"{len(value)} of them, the first: {_short(value[0])}"[:100] if value else "none"
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _query(query: dict[str, Any]) -> str:
    if not query:
        return ""
    return "?" + urlencode({name: _short(value) for name, value in query.items()}, safe="…:/")


def _of_newest_flow(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of the flow that ended last, and the owner's first question before it; each message once."""
    ids = [event["flow"] for event in events if event["path"] == "/callback"]
    return [
        event
        for event in events
        if not event.get("shadowed")
        and not event["path"].startswith("/static")
        and (event["flow"] == ids[-1] or event["path"] in {"/", "/introspect", "/invoices", "/jwks"})
    ]


def _newest(client_url: str) -> str:
    return max((event["id"] for event in _events(client_url)), default="")


def _events(client_url: str) -> list[dict[str, Any]]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{client_url}/_lab/events") as answer:
        events: list[dict[str, Any]] = json.load(answer)["events"]
    return events


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def _colour(status: int | None) -> str:
    if not sys.stdout.isatty():
        return str(status)
    return f"\033[{32 if status and status < 400 else 31}m{status}\033[0m"


def _fail(text: str) -> int:
    print(f"rolecall: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
