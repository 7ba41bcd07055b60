"""curl: the authorization code flow with PKCE, the API, refresh, and revocation."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.foreign import INTEROP, Person, configuration, require
from support.python_programs import ENVIRON
from support.stack import Stack

pytestmark = pytest.mark.integration

CALLBACK = "http://localhost:9999/callback"


def test_the_script(lab: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6749 sections 4.1 and 6, RFC 7636 section 4, RFC 6750 section 2.1, RFC 7009 section 2."""
    require("curl", "sh", "curl", "openssl")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, ENVIRON[variable])
    script = tmp_path / "flow.sh"
    script.write_text(configuration((INTEROP / "curl/flow.sh").read_text(), lab))
    with subprocess.Popen(["sh", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        url = process.stdout.readline().strip()
        page = Person(lab).visit(url, stop=lambda target: target.startswith(CALLBACK))
        output, _ = process.communicate(f"{page.location}\n", timeout=60)
    assert process.returncode == 0
    first, second, refused = (json.loads(line) for line in output.splitlines())
    assert first["invoices"]
    assert second == first
    assert refused["error"] == "invalid_grant"
