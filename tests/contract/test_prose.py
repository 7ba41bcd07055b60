"""Code, pages, explanations, and documents are in plain English, and the code is in small pieces."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import prose

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "shared/rolecall",
    "auth-service/rolecall_auth",
    "resource-service/rolecall_resource",
    "client-webapp/rolecall_client",
    "lab/rolecall_lab",
)
MAX_HITS = 3
"""Maximum number of hits per 1,000 words."""

CONFIGURATION = ("docker-compose.yml", "compose.production.yml", "compose")

DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))

MAX_FILE, MAX_CLASS, MAX_FUNCTION = 500, 200, 60
"""Maximum number of lines."""


@pytest.mark.parametrize("folder", [*PACKAGES, *CONFIGURATION])
def test_code_pages_and_explanations_are_in_plain_english(folder: str) -> None:
    counts = prose.count(ROOT / folder)
    assert counts.keys() >= ({"docstrings", "comments", "strings"} if folder in PACKAGES else set())
    _check(counts)


def test_documents_are_in_plain_english() -> None:
    _check(prose.count(*(ROOT / each for each in DOCUMENTS)))


def _check(counts: dict[str, prose.Count]) -> None:
    assert counts
    for kind, found in counts.items():
        assert found.words, f"no words in {kind}"
        assert found.per_thousand <= MAX_HITS, "\n".join([f"{found.per_thousand:.1f} in {kind}", *found.hits])


EXAMPLES = {
    "negated noun": "it is no token",
    "headless 'none'": "the second is none",
    "indefinite person": "whoever asks, and nobody else",
    "headless relative clause": "those who ask for all that was stored",
    "clause as a noun": "Done. What it wants is stored",
    "clause after a preposition": "a list of what is there",
    "passive of tell or say": "the client is told of it",
    "tell or say for show or return": "it tells what to do",
    "shall": "the server shall ask",
    "archaic": "it is written anew",
    "impersonal one": "one sees the page",
    "own": "a page of its own",
    "stand for be": "the name stands in the header",
    "come of": "a list comes of this",
    "take back": "people take it back",
    "mend": "how to mend a lab",
    "at once": "it responds at once",
    "inverted order": "here it is",
    "otherwise than": "otherwise than before",
    "nothing as a subject": "Done. Nothing is stored",
}


def test_each_phrase_is_found_and_plain_english_is_not() -> None:
    assert EXAMPLES.keys() == prose.PHRASES.keys()
    for name, text in EXAMPLES.items():
        assert re.search(prose.PHRASES[name], text, re.IGNORECASE), name
    plain = prose.Count()
    plain.add(
        "here", "Return the key set. It is not longer than 64 KB, and the client sends no cookie. Retry in 2 seconds."
    )
    assert (plain.words, plain.hits) == (19, [])


def test_docstrings_comments_and_strings_are_read() -> None:
    source = '"""It is no token."""\n# it is no token\nx = "it is no token at all"\ny = "is no token"  # noqa\n'
    assert [kind for kind, _, _ in prose.texts(source)] == ["docstrings", "strings", "comments"]


def test_only_the_prose_of_a_file_is_read(tmp_path: Path) -> None:
    sources = {
        "a.html": "<p title='it is no token'>{% if it is no token %}\n{# it is no token #}It is no token.",
        "a.md": "It is no token.\n`it is no token`\n```\nit is no token\n```\n",
        "a.yaml": "means: It is no token.\n",
        "a.css": "/* it is no token */",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    assert {kind: [hit.rpartition("/")[2] for hit in each.hits] for kind, each in prose.count(tmp_path).items()} == {
        "templates": ["a.html:2: is no token"],
        "documents": ["a.md:1: is no token"],
        "YAML": ["a.yaml:1: is no token"],
    }


def test_files_classes_and_functions_are_small() -> None:
    assert not list(_large())


def _large() -> Iterator[str]:
    folders = (*(each.partition("/")[0] for each in PACKAGES), "tests", "benchmarks")
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        name, text = path.relative_to(ROOT), path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > MAX_FILE:
            yield f"{name} has {lines} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                most = MAX_CLASS if isinstance(node, ast.ClassDef) else MAX_FUNCTION
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > most:
                    yield f"{name}:{node.lineno} {node.name} has {lines} lines"
