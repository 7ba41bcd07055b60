"""The common style of the pages is defined in one place, and its copies match it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STYLE = (ROOT / "shared" / "rolecall" / "static" / "rolecall.css").read_text()
DECLARATION = re.compile(r"--([\w-]+):\s*([^;]+);")


def test_the_fronts_page_has_the_colours_of_the_style_sheet() -> None:
    """It is shown when the services are unavailable, and with them their style sheet."""
    named = DECLARATION.findall(STYLE)
    for page in ("front-away.html", "front-refused.html"):
        ours = DECLARATION.findall((ROOT / "compose" / "front" / page).read_text())
        assert len(ours) > 15
        assert not [each for each in ours if each not in named], page


def test_a_picture_that_is_taken_away_has_the_colours_of_the_style_sheet() -> None:
    """Outside of the page, the picture falls back on a copy of the colors."""
    folder = ROOT / "lab" / "rolecall_lab" / "observer" / "static"
    text = "".join((folder / name).read_text() for name in ("colors.css", "picture.css"))
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
    """A custom property that refers to itself or is not defined has no effect."""
    named = dict(DECLARATION.findall(STYLE))
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE))
    assert len(used) > 40
    assert not used - named.keys()
    assert not [name for name, value in DECLARATION.findall(STYLE) if f"--{name})" in value]


def test_spaces_and_sizes_of_type_stand_in_the_style_sheet_once_and_by_name() -> None:
    rules = re.sub(r"(?s)/\*.*?\*/", "", STYLE)
    spaced = re.findall(r"(?<![\w-])((?:margin|padding|gap|row-gap|inset|font-size)[\w-]*): ([^;}]+)", rules)
    assert len(spaced) > 100
    # a drawing has its own units
    drawn = re.findall(r"\.diagram [^{]+\{[^}]*(font-size): ([^;}]+)", rules)
    raw = [f"{name}: {value}" for name, value in spaced if re.search(r"\d(rem|px)\b", value)]
    assert sorted(raw) == sorted(f"{name}: {value}" for name, value in drawn)
