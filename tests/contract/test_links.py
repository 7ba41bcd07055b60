"""Links in the documents lead to pages and headings that exist; external ones are valid URLs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.guides import ROOT

DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if "_site" not in path.parts and path.name != "specifications.md"
)
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and MyST form it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return frozenset(slug(heading) for heading in _HEADING.findall(text))


def broken(page: Path, text: str) -> list[str]:
    """Return the links of a page's text that lead nowhere."""
    result = []
    for target in _LINK.findall(_CODE.sub("", text)):
        url = urlsplit(target)
        if url.scheme:
            is_valid = url.scheme in {"http", "https"} and re.fullmatch(r"[\w.-]+(:\d+)?", url.netloc) is not None
        else:
            file = (page.parent / url.path).resolve() if url.path else page
            is_valid = file.exists() and (not url.fragment or url.fragment in anchors(file))
        if not is_valid:
            result.append(target)
    return result


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert broken(document, document.read_text(encoding="utf-8")) == []


def test_broken_links_are_found() -> None:
    page = ROOT / "docs" / "production.md"
    links = ("settings.md", "#operate", "settings.md#auth-service", "https://example.org/x", "../LICENSE")
    assert broken(page, " ".join(f"[x]({link})" for link in links)) == []
    for link in ("none.md", "#none", "settings.md#none", "https:///x", "ftp://example.org", "http://a%20b/"):
        assert broken(page, f"[x]({link})") == [link]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_page_is_short(document: Path) -> None:
    assert len(document.read_text(encoding="utf-8").splitlines()) <= (130 if document == ROOT / "README.md" else 250)
