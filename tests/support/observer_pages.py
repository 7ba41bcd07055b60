"""Functions that read the observer's pages and streams."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from rolecall_lab.walker import Walker
from support.stack import Stack, wait_until


def flow_ids(stack: Stack) -> list[str]:
    """Return the IDs of the flows that the observer lists, the newest first."""
    return re.findall(r'href="/flows/([0-9a-f]+)"', Walker().open(f"{stack.observer}/").text)


def flow_page(stack: Stack, flow: str) -> str:
    """Return a flow's page with every message and check in its diagram."""
    return Walker().open(f"{stack.observer}/flows/{flow}?view=everything").text


def newest_flow(stack: Stack, *words: str) -> str:
    """Return the ID of the newest flow whose page has all of these words, or an empty string."""
    pages = ((flow, flow_page(stack, flow)) for flow in flow_ids(stack)[:20])
    return next((flow for flow, page in pages if all(word in page for word in words)), "")


def messages(picture: str, path: str) -> list[str]:
    """Return the numbers of the messages whose label ends with a path; all messages if it is empty."""
    arrow = rf'data-message="(\d+)" data-row="(?:request|response)">\s*<a [^>]*title="[^"]*{re.escape(path)}"'
    return re.findall(arrow, picture)


def picture_of(stack: Stack, page_text: str, *messages: str) -> tuple[str, str]:
    """Follow a link on one of Tally's pages; wait for these messages in the flow; return its ID and its page."""
    found = re.search(rf'href="({re.escape(stack.observer)}/of/[0-9a-f]+)"', page_text)
    assert found is not None
    walker = Walker()
    pages = []

    def has_them() -> bool:
        # the events of several processes arrive one after the other
        pages.append(walker.open(f"{walker.follow(walker.open(found[1])).url}?view=everything"))
        assert pages[-1].status == 200
        return all(message in pages[-1].text for message in messages)

    wait_until(has_them)
    return urlsplit(pages[-1].url).path.rpartition("/")[2], pages[-1].text


@contextmanager
def watch(stack: Stack, flow: str, last: str = "") -> Iterator[http.client.HTTPResponse]:
    """Open the stream of a flow's pictures."""
    host = urlsplit(stack.observer)
    connection = http.client.HTTPConnection("127.0.0.1", host.port or 80, timeout=60)
    connection.request(
        "GET", f"/flows/{flow}/live?view=everything", headers={"Host": host.netloc, "Last-Event-ID": last}
    )
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        answer.close()
        connection.close()


def next_picture(answer: http.client.HTTPResponse) -> dict[str, Any]:
    """Wait for the next picture of a stream."""
    assert answer.status == 200, answer.read()
    identity = ""
    while line := answer.readline():
        if line.startswith(b"id: "):
            identity = line[4:].decode().strip()
        elif line.startswith(b"data: "):
            return {"event_id": identity, **json.loads(line[6:])}
    raise AssertionError("the stream ended")
