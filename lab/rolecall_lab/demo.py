"""Runs a flow of the catalogue against the running lab and prints its picture: `make demo FLOW=replayed_code`.

Every message shown is one that was really sent, in the order and with the checks of the observer's picture; what the
services recorded is read from `/_lab/events`.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from time import sleep
from typing import Any, Final

from rolecall.clock import monotonic
from rolecall_lab.catalog.entries import ENTRIES
from rolecall_lab.catalog.entry import PLAIN, Entry
from rolecall_lab.launcher import running
from rolecall_lab.launcher.environment import AUTH, CLIENT
from rolecall_lab.observer.picture import Picture, Row, lay_out, step_title
from rolecall_lab.observer.texts import text_of
from rolecall_lab.recording.flows import Flow, Flows
from rolecall_lab.recording.recorder import MAX_EVENTS
from rolecall_lab.walker import Page, Walker, connect

WHO: Final = ("alice", "wonderland-lab")
PATIENCE: Final = 8.0
"""Seconds in which the services write what they recorded."""


def main() -> int:
    """Print the flow; 1 and one clear line when the lab does not run or does not play along."""
    name = os.environ.get("FLOW") or PLAIN.FLOW.name
    entry = ENTRIES.get(name)
    if entry is None:
        return _fail(f"there is no flow {name}; there is {', '.join(ENTRIES)}")
    try:
        urls = running.addresses(os.environ)
    except running.NothingRuns as error:
        return _fail(str(error))
    try:
        _take_back(urls[AUTH])
        walker = Walker()
        if entry.needs == "connection":
            connect(walker, urls[CLIENT], *WHO)
        elif entry.needs == "sign-in":
            _run(walker, urls[CLIENT], ENTRIES["sign_in"])
        since = _newest(urls[CLIENT])
        began = monotonic()
        _run(walker, urls[CLIENT], entry)
        took = monotonic() - began
        events = _recorded(urls[CLIENT], since)
    except (OSError, RuntimeError) as error:
        return _fail(f"the flow did not end well: {error}")
    _take_back(urls[AUTH])
    tell(events)
    print(f"\n{'─' * 78}\n{entry.title}: {took * 1000:.0f} ms for all of it. {entry.line}")
    return 0


def _run(walker: Walker, client_url: str, entry: Entry) -> Page:
    """As a person does: press the button, sign in, allow."""
    if entry.module is PLAIN:
        return connect(walker, client_url, *WHO)
    page = walker.open(f"{client_url}/flows/{entry.name}")
    page = walker.follow(walker.submit(page, f"{client_url}/flows/{entry.name}/start"))
    if 'id="login-submit"' in page.text:
        page = walker.follow(walker.submit(page, username=WHO[0], password=WHO[1]))
    if 'id="consent-allow"' in page.text:
        page = walker.follow(walker.submit(page, decision="allow"))
    return page


def _recorded(client_url: str, since: str) -> list[dict[str, Any]]:
    """What was recorded of the newest flow since an entry, as soon as nothing more comes."""
    until, before, quiet = monotonic() + PATIENCE, -1, 0
    while quiet < 3 and monotonic() < until:
        events = running.ask(f"{client_url}/_lab/events?after={since}")["events"]
        quiet = quiet + 1 if len(events) == before else 0
        before = len(events)
        sleep(0.2)
    mine = Counter(event["flow"] for event in events if event["handles"] or "/start" in event["path"])
    flows = {flow for flow, _ in mine.most_common(1)}
    traces = {event["trace"] for event in events if event["flow"] in flows}
    return [event for event in events if event["flow"] in flows or event["trace"] in traces]


def tell(events: list[dict[str, Any]]) -> None:
    """Print events, step by step, and where some are missing between them."""
    flows = Flows(in_flow=MAX_EVENTS)
    flows.add(events)
    # what a process lost before the first of these has no place among them
    losses = [loss for loss in flows.losses(Flow("", events)) if loss.since]
    picture = lay_out(events, losses)
    step: int | None = None
    for row in picture.rows:
        if row.step != step:
            step = row.step
            title = f"{step or '·'}  {step_title(step)}"
            print(f"\n{_bold(title)}\n{'─' * 78}")
        event = picture.messages[row.number - 1] if row.number else {}
        print("\n".join(_lines(row, event, picture)))


def _lines(row: Row, event: dict[str, Any], picture: Picture) -> list[str]:
    """A row of the picture as text."""
    if row.kind == "gap":
        return [f"  ··· {row.text}"]
    if row.kind == "change":
        return [f"        {picture.title(row.end)}: {row.text}"]
    if row.kind == "checks":
        return [
            f"        {'✓' if check['passed'] else '✕'} {check['name']:<34} {check['clause']}" for check in row.checks
        ]
    dash = "╌╌" if row.front else "──"
    who = f"{picture.title(row.start)} {dash}▶ {picture.title(row.end)}"
    if row.kind == "response":
        lines = [f"     {_colour(row)}   {who.lower()}{f'   {row.detail}' if row.detail else ''}"]
        location = event["response_headers"].get("location")
        lines += _pairs("?", location.get("parameters", {}) if isinstance(location, dict) else {})
        if challenge := event["response_headers"].get("www-authenticate"):
            lines.append(f"        WWW-Authenticate: {_short(challenge)}")
        return lines + _pairs("", event["body"] if isinstance(event["body"], dict) else {})
    lines = ["", f"  {row.number:>2} {_bold(row.text)}   {who.lower()}{f'   {row.detail}' if row.detail else ''}"]
    if authorization := event["request_headers"].get("authorization"):
        lines.append(f"        Authorization: {_short(authorization)}")
    return lines + _pairs("?", event["query"]) + _pairs("", event["form"])


def _pairs(sign: str, values: dict[str, Any]) -> list[str]:
    return [f"        {sign}{name} = {_short(value)}" for name, value in values.items() if name != "csrf_token"]


def _short(value: Any) -> str:
    """A recorded value in one line of 100 characters at most."""
    if isinstance(value, list):
        return f"{len(value)}, the first: {_short(value[0])}"[:100] if value else "none"
    text = text_of(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _take_back(auth_url: str) -> None:
    """Take alice's consent back, so that she is asked: in this flow, and in the next one in a browser."""
    walker = Walker()
    page = walker.submit(walker.open(f"{auth_url}/sign-in"), username=WHO[0], password=WHO[1])
    walker.submit(walker.follow(page), f"{auth_url}/apps/disconnect", client_id="tally")


def _newest(client_url: str) -> str:
    """The entry that was written last."""
    last: str = running.ask(f"{client_url}/_lab/events?limit=1")["last"]
    return last


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def _colour(row: Row) -> str:
    if not sys.stdout.isatty():
        return row.text
    return f"\033[{31 if row.refused else 32}m{row.text}\033[0m"


def _fail(text: str) -> int:
    print(f"rolecall: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
