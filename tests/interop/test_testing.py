"""The example tests of docs/testing, run with pytest as the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.foreign import INTEROP, configuration
from support.python_programs import ENVIRON
from support.stack import Stack

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("name", "passed"), [("client_tests.py", 4), ("api_tests.py", 6)])
def test_the_examples(lab: Stack, tmp_path: Path, name: str, passed: int) -> None:
    """RFC 6749 sections 4.1, 4.4, and 6, RFC 7009 section 2, and RFC 9068 section 4."""
    for file in (INTEROP / "testing").glob("*.py"):
        (tmp_path / file.name).write_text(configuration(file.read_text(), lab))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", name],
        cwd=tmp_path,
        env={**os.environ, **ENVIRON, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"{passed} passed" in done.stdout, done.stdout[-3000:]
