"""The pages of the three services have one word for one thing: docs/words.md."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("auth-service", "client-webapp", "resource-service", "shared")
DOC: Final = ROOT / "docs" / "words.md"

ROWS: Final = [
    [cell.strip() for cell in line.strip("|\n ").split(" | ")]
    for line in DOC.read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| word", "| ---"))
]
NEVER: Final = {word: row[0] for row in ROWS for word in row[1].split(", ")}


def said() -> Iterator[tuple[str, str]]:
    """Every text that a page may show, and the file that it is in."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.html"):
            # of the markup only what is read aloud: labels, and the text between the tags
            text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", path.read_text(), flags=re.DOTALL)
            labels = re.findall(r'(?:aria-label|alt|title)="([^"]*)"', text)
            yield path.name, " ".join([re.sub(r"<[^>]+>", " ", text), *labels])
        for path in (ROOT / package).rglob("*.py"):
            for text in told(path):
                yield path.name, text
    for path in (ROOT / "compose" / "front").glob("*.html"):
        yield path.name, re.sub(r"(?s)<style>.*?</style>|<[^>]+>", " ", path.read_text())


def told(path: Path) -> Iterator[str]:
    """The texts of the problems and notices that a module makes for people."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"Problem", "flash", "_form"}:
            for each in ast.walk(node):
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield each.value


def links() -> Iterator[tuple[str, str]]:
    """Label and address of the links of the error pages."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Tuple) and len(node.elts) == 2:
                    label, address = (getattr(each, "value", None) for each in node.elts)
                    if isinstance(label, str) and isinstance(address, str) and re.fullmatch("/[a-z-]*", address):
                        yield label, address


@pytest.mark.parametrize("word", NEVER)
def test_no_page_has_another_word_for_it(word: str) -> None:
    found = re.compile(rf"\b{re.escape(word)}(?:s|ed|ing)?\b", re.IGNORECASE)
    texts = list(said())
    assert len(texts) > 60
    assert not [f"{file}: {text[:80]}" for file, text in texts if found.search(text)], f"it is {NEVER[word]}"


def test_every_word_is_used() -> None:
    texts = " ".join(text for _, text in said()).lower()
    assert len(ROWS) > 10
    for row in ROWS:
        assert any(re.search(rf"\b{re.escape(word.lower())}", texts) for word in row[0].split(", ")), row[0]


def test_a_link_to_one_place_has_one_label() -> None:
    labels = defaultdict(set)
    for label, address in links():
        labels[address].add(label)
    assert labels == {
        "/": {"Back to the first page", "Start again"},
        "/apps": {"Connected apps"},
        "/sign-in": {"Sign in"},
    }
