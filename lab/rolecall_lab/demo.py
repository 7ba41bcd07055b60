"""Runs the code flow against the running lab and prints the five steps of the diagram: `make demo`.

Every message shown is one that was really sent; what the services recorded is read from `/_lab/events`.
"""

from __future__ import annotations

import os
import sys
from time import sleep
from typing import Any, Final

from rolecall.clock import monotonic
from rolecall_lab import running
from rolecall_lab.environment import AUTH, CLIENT
from rolecall_lab.walker import Walker, connect

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


def main() -> int:
    """Print the flow; 1 and one clear line when the lab does not run or does not play along."""
    flow = os.environ.get("FLOW") or FLOWS[0]
    if flow not in FLOWS:
        return _fail(f"there is no flow {flow}; there is {', '.join(FLOWS)}")
    try:
        urls = running.addresses(os.environ)
    except running.NothingRuns as error:
        return _fail(str(error))
    client_url = urls[CLIENT]
    try:
        _take_back(urls[AUTH])
        since = _newest(client_url)
        began = monotonic()
        connect(Walker(), client_url, "alice", "wonderland-lab")
        took = monotonic() - began
        events = _events_since(client_url, since)
    except (OSError, RuntimeError) as error:
        return _fail(f"the flow did not end well: {error}")
    _take_back(urls[AUTH])
    tell(_of_newest_flow(events))
    print(f"\n{'─' * 78}\nThe whole flow took {took * 1000:.0f} ms, sign-in and its password hash included.")
    return 0


def _events_since(client_url: str, since: str) -> list[dict[str, Any]]:
    """What was recorded since an event, as soon as the API's answer is among it: services write in their own time."""
    until = monotonic() + 3
    while True:
        events = [event for event in _events(client_url) if event["id"] > since]
        answered = any(event["to"] == "resource_server" and event["direction"] == "received" for event in events)
        if answered or monotonic() > until:
            return events
        sleep(0.05)


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
    title = f"{NAMES[event['from']]} {arrow} {NAMES[event['to']]}"
    lines = ["", f"  {_bold(title)}   {event['channel']} channel, {event['milliseconds']:.1f} ms"]
    lines.append(f"  {event['method']} {event['path']}")
    lines += _pairs("?", event["query"])
    if authorization := event["request_headers"].get("authorization"):
        lines.append(f"    Authorization: {_authorization(authorization)}")
    lines += _pairs(" ", event["form"])
    lines.append(f"  {_colour(event['status'])}")
    if location := event["response_headers"].get("location"):
        lines.append(f"    Location: {_short(location.get('url') if isinstance(location, dict) else location)}")
        lines += _pairs("  ?", location.get("parameters", {}) if isinstance(location, dict) else {})
    if challenge := event["response_headers"].get("www-authenticate"):
        lines.append(f"    WWW-Authenticate: {_short(challenge)}")
    if isinstance(event["body"], dict):
        lines += [f"    {name}: {_short(value)}" for name, value in event["body"].items()]
    lines += [
        f"    {'✓' if check['passed'] else '✕'} {check['name']:<34} {check['clause']}"
        for check in {each["name"]: each for each in event["checks"]}.values()
    ]
    return lines


def _pairs(mark: str, values: dict[str, Any]) -> list[str]:
    return [f"    {mark}{name} = {_short(value)}" for name, value in values.items() if name != "csrf_token"]


def _authorization(value: Any) -> str:
    if not isinstance(value, dict):
        return _short(value)
    shown = {name: each for name, each in value.items() if name not in {"scheme", "hash"}}
    return " ".join([str(value.get("scheme", "")).capitalize(), *(_short(each) for each in shown.values())])


def _short(value: Any) -> str:
    """A recorded value in one line of 100 characters at most."""
    if isinstance(value, dict):
        if value.get("hidden"):
            return "(hidden)"
        for plain in ("shown", "value"):
            if plain in value:
                return _short(value[plain])
        return ", ".join(f"{name} {_short(each)}" for name, each in value.items())[:100]
    if isinstance(value, list):
        return f"{len(value)}, the first: {_short(value[0])}"[:100] if value else "none"
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _of_newest_flow(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of the flow that ended last, and the owner's first question before it; each message once."""
    ids = [event["flow"] for event in events if event["path"] == "/callback"]
    return [
        event
        for event in events
        if not event.get("shadowed")
        and not event["path"].startswith(("/static", "/.well-known"))
        and (event["flow"] == ids[-1] or event["path"] in {"/", "/introspect", "/invoices", "/jwks"})
    ]


def _take_back(auth_url: str) -> None:
    """Take alice's consent back, so that she is asked: in this flow, and in the next one in a browser."""
    walker = Walker()
    page = walker.submit(walker.open(f"{auth_url}/sign-in"), username="alice", password="wonderland-lab")
    walker.submit(walker.follow(page), f"{auth_url}/apps/disconnect", client_id="tally")


def _newest(client_url: str) -> str:
    return max((event["id"] for event in _events(client_url)), default="")


def _events(client_url: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = running.ask(f"{client_url}/_lab/events")["events"]
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
