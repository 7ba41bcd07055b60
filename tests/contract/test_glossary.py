"""Texts use the words of the glossary, and not the words that it replaces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import prose

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
FOLDERS = ("shared/rolecall", "auth-service", "resource-service", "client-webapp", "lab", "compose")
MAX_LINES = 60


def replaced() -> dict[str, str]:
    """Return the words to avoid, with the terms that replace them."""
    words = {}
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        if line.startswith("| **"):
            term, _, others = (cell.strip() for cell in line.strip("|").split("|"))
            words.update(dict.fromkeys(re.findall("`([^`]+)`", others), term))
    return words


WORDS = replaced()
REPLACED = re.compile(rf"\b(?:{'|'.join(map(re.escape, WORDS))})\b", re.IGNORECASE)


def test_the_glossary_is_short_and_has_the_terms() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_LINES
    terms = (
        "sign in, sign up, sign out, username, account, app, allow, deny, connect, disconnect, revoke, refresh, "
        "request, response, endpoint, expected, actual, export"
    )
    assert {each for each in terms.split(", ") if f"**{each}**" not in text} == set()
    assert WORDS["log in"] == "**sign in**"
    assert WORDS["take back"] == "**disconnect**"


@pytest.mark.parametrize("folder", FOLDERS)
def test_pages_and_explanations_use_the_words_of_the_glossary(folder: str) -> None:
    wrong = [
        f"{path}:{line}: {match[0]}; use {WORDS[match[0].lower()]}"
        for path in sorted((ROOT / folder).rglob("*"))
        for kind, line, text in prose.file_texts(path)
        if kind in {"templates", "YAML", "strings"}
        for match in REPLACED.finditer(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_documents_use_the_words_of_the_glossary() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}; use {WORDS[match[0].lower()]}"
        for path in sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
        if path != GLOSSARY
        for _, line, text in prose.file_texts(path)
        for match in REPLACED.finditer(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_replaced_word_is_found() -> None:
    assert [match[0] for match in REPLACED.finditer("Make an account, then log in.")] == ["Make an account", "log in"]
    assert not REPLACED.search("Sign in to the blog in the catalog.")
