"""A client in a process of its own, and the browser of the person whom it sends to sign in."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rolecall_lab.walker import Walker


def answer_to(url: str) -> dict[str, Any]:
    """Open an authorization request, sign in as alice, allow.

    Returns:
        `url`: where the browser is sent back; `post`: what it posts there; or `refused`: the status of a page that
        sends it nowhere.
    """
    walker = Walker()
    page = walker.open(url)
    while True:
        if page.location is not None:
            if "code=" in page.location or "error=" in page.location:
                return {"url": page.location}
            page = walker.open(page.location)
        elif 'id="answer"' in page.text:
            return {"post": page.hidden()}
        elif 'id="login-submit"' in page.text:
            page = walker.submit(page, username="alice", password="wonderland-lab")
        elif 'id="consent-allow"' in page.text:
            page = walker.submit(page, decision="allow")
        else:
            return {"refused": page.status}


def conversation(command: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run a client, be its person's browser as often as it wants one, and give what it says in the end.

    It prints a line of JSON `{"open": address}` for the browser, reads a line with `answer_to` it, and its last line
    is what came of it.

    Raises:
        AssertionError: it ended before that; why is in what the test shows of stderr.
    """
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for line in client.stdout:
            said: dict[str, Any] = json.loads(line)
            if "open" not in said:
                return said
            client.stdin.write(json.dumps(answer_to(said["open"])) + "\n")
            client.stdin.flush()
    raise AssertionError(f"{' '.join(command)} ended with {client.returncode}")
