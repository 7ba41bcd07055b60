"""What the pages have in common stands in one place, and what repeats it agrees."""

from __future__ import annotations

import re
from pathlib import Path

from rolecall import checks
from rolecall_client.told import SENTENCES, distance, moment, told

ROOT = Path(__file__).parents[2]
STYLE = (ROOT / "shared" / "rolecall" / "static" / "rolecall.css").read_text()
DECLARATION = re.compile(r"--([\w-]+):\s*([^;]+);")


def test_the_fronts_page_has_the_colours_of_the_style_sheet() -> None:
    """It comes when the services are away, and their style sheet with them."""
    named = DECLARATION.findall(STYLE)
    for page in ("front-away.html", "front-refused.html"):
        ours = DECLARATION.findall((ROOT / "compose" / "front" / page).read_text())
        assert len(ours) > 15
        assert not [each for each in ours if each not in named], page


def test_a_picture_that_is_taken_away_has_the_colours_of_the_style_sheet() -> None:
    """Without the page around it the picture has a copy of them to fall back on."""
    text = (ROOT / "lab" / "rolecall_lab" / "observer" / "static" / "picture.css").read_text()
    copied = [(name, _long(value)) for name, value in re.findall(r"var\(--(?!p-)([\w-]+), (#[0-9a-f]+)\)", text)]
    assert len(copied) > 11
    light = {}
    for name, value in DECLARATION.findall(STYLE):
        light.setdefault(name, _long(value))
    assert not [each for each in copied if light[each[0]] != each[1]]


def _long(colour: str) -> str:
    return "#" + "".join(digit * 2 for digit in colour[1:]) if re.fullmatch("#[0-9a-f]{3}", colour) else colour


def test_colours_stand_in_the_style_sheet_once_and_by_name() -> None:
    rules = re.sub(r"(?s)/\*.*?\*/", "", STYLE)
    used = [line for line in rules.splitlines() if not DECLARATION.search(line)]
    assert not [line for line in used if re.search(r"#[0-9a-f]{3,8}\b|rgb\(|hsl\(", line)]


def test_every_name_that_is_used_has_a_value() -> None:
    """One that stands for itself, or for nothing, is no space at all."""
    named = dict(DECLARATION.findall(STYLE))
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE))
    assert len(used) > 40
    assert not used - named.keys()
    assert not [name for name, value in DECLARATION.findall(STYLE) if f"--{name})" in value]


def test_spaces_and_sizes_of_type_stand_in_the_style_sheet_once_and_by_name() -> None:
    rules = re.sub(r"(?s)/\*.*?\*/", "", STYLE)
    spaced = re.findall(r"(?<![\w-])((?:margin|padding|gap|row-gap|inset|font-size)[\w-]*): ([^;}]+)", rules)
    assert len(spaced) > 100
    # a drawing has units of its own
    drawn = re.findall(r"\.diagram [^{]+\{[^}]*(font-size): ([^;}]+)", rules)
    raw = [f"{name}: {value}" for name, value in spaced if re.search(r"\d(rem|px)\b", value)]
    assert sorted(raw) == sorted(f"{name}: {value}" for name, value in drawn)


def test_every_check_of_the_resource_server_is_told_in_a_sentence() -> None:
    import rolecall_resource  # noqa: F401

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
    folder = ROOT / "resource-service" / "rolecall_resource"
    return any(f'"{name}"' in path.read_text() for path in folder.rglob("*.py"))
