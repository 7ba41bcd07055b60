"""A client in a separate process, and the browser of the person who uses it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rolecall_lab.walker import Walker


def answer_to(url: str) -> dict[str, Any]:
    """Open an authorization request, sign in as Alice, and allow it.

    Returns:
        `url`: the URL that the browser is redirected to; `post`: the form that it posts to the client; or `refused`:
        the status of an error page.
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
    """Run a client, open the URLs that it prints as its user's browser, and return its result.

    For each URL, the client prints a line of JSON, `{"open": url}`, and reads a line with the result of `answer_to`.
    Its last line is its result.

    Raises:
        AssertionError: the client ended without a result; its stderr, which the test shows, has the reason.
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
