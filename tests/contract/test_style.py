"""What the pages have in common stands in one place, and what repeats it agrees."""

from __future__ import annotations

import re
from pathlib import Path

from client_webapp.told import SENTENCES, distance, moment, told
from rolecall import checks

ROOT = Path(__file__).parents[2]
STYLE = (ROOT / "shared" / "rolecall" / "static" / "rolecall.css").read_text()
DECLARATION = re.compile(r"--([\w-]+):\s*([^;]+);")


def test_the_fronts_page_has_the_colours_of_the_style_sheet() -> None:
    """It comes when the services are away, and their style sheet with them."""
    text = (ROOT / "compose" / "front" / "front-away.html").read_text()
    ours = [(name, value) for name, value in DECLARATION.findall(text)]
    assert len(ours) > 15
    named = DECLARATION.findall(STYLE)
    assert not [each for each in ours if each not in named]


def test_colours_stand_in_the_style_sheet_once_and_by_name() -> None:
    rules = re.sub(r"(?s)/\*.*?\*/", "", STYLE)
    used = [line for line in rules.splitlines() if not DECLARATION.search(line)]
    assert not [line for line in used if re.search(r"#[0-9a-f]{3,8}\b|rgb\(|hsl\(", line)]


def test_every_check_of_the_resource_server_is_told_in_a_sentence() -> None:
    import resource_service  # noqa: F401

    here = [name for name in checks.registry if _is_of_resource_server(name)]
    assert len(here) > 12
    assert not set(here) - SENTENCES.keys()
    for name in here:
        for passed in (True, False):
            said = told({"name": name, "passed": passed, "actual": "a", "expected": "e", "clause": "RFC 1"}, 0.0)
            assert said.sentence.endswith(".")
            assert "{" not in said.sentence


def test_times_are_told_as_times() -> None:
    now = 1_795_417_200.0  # 2026-11-23 07:00:00 UTC
    expiry = told({"name": "token.exp", "passed": True, "actual": now + 299, "clause": ""}, now).sentence
    assert expiry.replace("\u00a0", " ") == "It is good until 07:04:59 UTC, in 4 min 59 s."
    assert moment(now - 86400, now).replace("\u00a0", " ") == "22 Nov 2026, 07:00:00 UTC, 1 day ago"
    assert distance(0.2) == "now"
    assert distance(-7261).replace("\u00a0", " ") == "2 h 1 min ago"
    assert told({"name": "token.exp", "passed": False, "actual": "x" * 9}, now).sentence == "It expired at xxxxxxxxx."
    assert told({"name": "new", "actual": None}, now).sentence == "new: not told"


def _is_of_resource_server(name: str) -> bool:
    folder = ROOT / "resource-service" / "resource_service"
    return any(f'"{name}"' in path.read_text() for path in folder.rglob("*.py"))
