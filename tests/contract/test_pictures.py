"""The pictures of the documents show the current pages."""

from __future__ import annotations

import re

import pytest

from support.browser.pictures import FOLDER, MAX_SIZE, PICTURES, hash_file
from support.guides import ROOT

_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_current(name: str) -> None:
    assert hash_file(name).read_text().strip() == PICTURES[name].hash(), f"run `make screenshots`: {name}.png is old"
    assert (FOLDER / f"{name}.png").stat().st_size <= MAX_SIZE


def test_documents_show_these_pictures_only() -> None:
    shown = set()
    for page in (*ROOT.glob("*.md"), *(path for path in (ROOT / "docs").rglob("*.md") if "_site" not in path.parts)):
        shown |= {(page.parent / target).resolve() for target in _IMAGE.findall(page.read_text(encoding="utf-8"))}
    assert shown == {FOLDER / f"{name}.png" for name in PICTURES}
    names = {path.stem for path in FOLDER.iterdir()}
    assert names == set(PICTURES)
