"""Run a flow of the catalog against the running lab, and print its diagram: `make demo FLOW=replayed_code`.

The messages and checks are read from the services' recordings at `/_lab/events`, and printed in the observer's order.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from time import sleep
from typing import Any, Final

from rolecall.clock import monotonic
from rolecall_lab.catalog.entries import ENTRIES
from rolecall_lab.catalog.entry import BASE, Entry
from rolecall_lab.launcher import running
from rolecall_lab.launcher.environment import AUTH, CLIENT
from rolecall_lab.observer.picture import Picture, Row, lay_out, step_title
from rolecall_lab.observer.texts import text_of
from rolecall_lab.recording.flows import Flows
from rolecall_lab.recording.recorded_flow import RecordedFlow
from rolecall_lab.recording.recorder import MAX_EVENTS
from rolecall_lab.walker import Page, Walker, connect

ACCOUNT: Final = ("demo", "demonstration-lab")
"""The account that this command uses, so that it does not change the connections of people in browsers."""

RECORDING_TIMEOUT: Final = 8.0
"""Seconds that the services have to write their recordings."""

WIDTH: Final = 78
"""Characters of a line."""


def main() -> int:
    """Print the flow; return 1 and print one line if the lab does not run or the outcome is unexpected."""
    name = os.environ.get("FLOW") or BASE.FLOW.name
    entry = ENTRIES.get(name)
    if entry is None:
        return _fail(f"unknown flow {name}; the flows are: {', '.join(ENTRIES)}")
    try:
        urls = running.addresses(os.environ)
    except running.NothingRuns as error:
        return _fail(str(error))
    print(f"Lab: {running.description(os.environ, urls.values())}")
    try:
        _disconnect(urls[AUTH])
        walker = Walker()
        if entry.needs == "connection":
            connect(walker, urls[CLIENT], *ACCOUNT)
        elif entry.needs == "sign-in":
            _run(walker, urls[CLIENT], ENTRIES["sign_in"])
        since = _newest(urls[CLIENT])
        began = monotonic()
        _run(walker, urls[CLIENT], entry)
        took = monotonic() - began
        events = _recorded(urls[CLIENT], since)
        result = walker.open(f"{urls[CLIENT]}/flows/{name}")
        _disconnect(urls[AUTH])
    except (OSError, RuntimeError) as error:
        return _fail(f"the flow did not finish: {error}")
    picture = picture_of(events)
    print_picture(picture)
    print(f"\n{'─' * WIDTH}\n{entry.title}: {took * 1000:.0f} ms in total. {entry.summary}")
    if 'data-verdict="expected"' not in result.text:
        return _fail(f"the outcome is not the expected one; see {result.url}")
    print(conclusion(entry, picture))
    return 0


def _run(walker: Walker, client_url: str, entry: Entry) -> Page:
    """Do what a person does: press the button, sign in, and allow."""
    page = walker.open(f"{client_url}/flows/{entry.name}")
    page = walker.follow(walker.submit(page, f"{client_url}/flows/{entry.name}/start"))
    if 'id="login-submit"' in page.text:
        page = walker.follow(walker.submit(page, username=ACCOUNT[0], password=ACCOUNT[1]))
    if 'id="consent-allow"' in page.text:
        page = walker.follow(walker.submit(page, decision="allow"))
    return page


def conclusion(entry: Entry, picture: Picture) -> str:
    """Return a line about an expected outcome; that of a refusal names the failed check and its clause."""
    if not entry.is_refused:
        return "Succeeded as expected."
    checks = [check for row in picture.rows for check in row.checks if not check["passed"]]
    code = entry.expected[entry.first_refusal].split()[-1]
    reason, clause = (checks[0]["name"], checks[0]["clause"]) if checks else (code, entry.clause)
    return f"Refused as expected: {reason} ({clause})"


def _recorded(client_url: str, since: str) -> list[dict[str, Any]]:
    """Return the events of the newest flow since an event, once no more arrive."""
    until, before, quiet = monotonic() + RECORDING_TIMEOUT, -1, 0
    while quiet < 3 and monotonic() < until:
        events = running.ask(f"{client_url}/_lab/events?after={since}")["events"]
        quiet = quiet + 1 if len(events) == before else 0
        before = len(events)
        sleep(0.2)
    counts = Counter(event["flow"] for event in events if event["handles"] or "/start" in event["path"])
    flows = {flow for flow, _ in counts.most_common(1)}
    traces = {event["trace"] for event in events if event["flow"] in flows}
    return [event for event in events if event["flow"] in flows or event["trace"] in traces]


def picture_of(events: list[dict[str, Any]]) -> Picture:
    """Lay out the events of a flow, with gaps where events are missing."""
    flows = Flows(max_in_flow=MAX_EVENTS)
    flows.add(events)
    # losses before the first event are not part of this flow
    return lay_out(events, [loss for loss in flows.losses(RecordedFlow("", events)) if loss.since])


def print_picture(picture: Picture) -> None:
    """Print the messages and checks step by step.

    Unless `FULL` is set, omit stored values and the members of metadata documents, and only count passed checks.
    """
    step: int | None = None
    for row in picture.rows:
        if row.kind == "change" and not _full():
            continue
        if row.step != step:
            step = row.step
            title = f"{step or '·'}  {step_title(step)}"
            print(f"\n{_bold(title)}\n{'─' * WIDTH}")
        event = picture.messages[row.number - 1] if row.number else {}
        print("\n".join(_lines(row, event, picture)))


def _lines(row: Row, event: dict[str, Any], picture: Picture) -> list[str]:
    """Format a row of the diagram as text."""
    if row.kind == "gap":
        return [f"  ··· {row.text}"]
    if row.kind == "change":
        return [f"        {picture.title(row.end)}: {row.text}"]
    if row.kind == "checks":
        shown = [check for check in row.checks if _full() or not check["passed"]]
        count = [f"        ✓ {row.text}"] if row.text and not _full() else []
        return count + [
            f"        {'✓' if check['passed'] else '✕'} {check['name']:<34} {check['clause']}" for check in shown
        ]
    dash = "╌╌" if row.front else "──"
    ends = f"{picture.title(row.start)} {dash}▶ {picture.title(row.end)}"
    if row.kind == "response":
        lines = [f"     {_color(row)}   {ends.lower()}{f'   {row.detail}' if row.detail else ''}"]
        location = event["response_headers"].get("location")
        lines += _pairs("?", location.get("parameters", {}) if isinstance(location, dict) else {})
        if challenge := event["response_headers"].get("www-authenticate"):
            lines.append(f"        WWW-Authenticate: {_short(challenge)}")
        body = event["body"] if isinstance(event["body"], dict) else {}
        if event["path"].startswith("/.well-known/") and event["status"] == 200 and not _full():
            return [*lines, f"        {len(body)} members"]
        return lines + _pairs("", body)
    lines = ["", f"  {row.number:>2} {_bold(row.text)}   {ends.lower()}{f'   {row.detail}' if row.detail else ''}"]
    if authorization := event["request_headers"].get("authorization"):
        lines.append(f"        Authorization: {_short(authorization)}")
    return lines + _pairs("?", event["query"]) + _pairs("", event["form"])


def _pairs(sign: str, values: dict[str, Any]) -> list[str]:
    return [f"        {sign}{name} = {_short(value)}" for name, value in values.items() if name != "csrf_token"]


def _short(value: Any) -> str:
    """Format a recorded value in one line of at most 100 characters."""
    if isinstance(value, list):
        return f"{len(value)}, first: {_short(value[0])}"[:100] if value else "none"
    text = text_of(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _disconnect(auth_url: str) -> None:
    """Disconnect Tally from the account, so that this flow and the next one ask for consent.

    Raises:
        OSError: a request failed.
        RuntimeError: the account does not exist, for example because `SEEDS_FILE` names other seeds.
    """
    walker = Walker()
    page = walker.submit(walker.open(f"{auth_url}/sign-in"), username=ACCOUNT[0], password=ACCOUNT[1])
    if page.location is None:
        raise RuntimeError(f"`{ACCOUNT[0]}` cannot sign in; the seeds of the lab must contain this person")
    walker.submit(walker.follow(page), f"{auth_url}/apps/disconnect", client_id="tally")


def _newest(client_url: str) -> str:
    """Return the id of the last event."""
    last: str = running.ask(f"{client_url}/_lab/events?limit=1")["last"]
    return last


def _full() -> bool:
    return bool(os.environ.get("FULL"))


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def _color(row: Row) -> str:
    if not sys.stdout.isatty():
        return row.text
    return f"\033[{31 if row.refused else 32}m{row.text}\033[0m"


def _fail(text: str) -> int:
    print(f"rolecall: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
