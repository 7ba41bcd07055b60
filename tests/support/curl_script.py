"""Exported scripts, run with a fake `curl` that only records its arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def with_fakes(tmp_path: Path, script: str) -> list[list[str]]:
    """Run a script with the fake `curl`, and return the arguments of each call."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    said, fake = tmp_path / "said", tmp_path / "bin" / "curl"
    said.write_text("")
    fake.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen({str(said)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
    )
    fake.chmod(0o755)
    file = tmp_path / "flow.sh"
    file.write_text(script, errors="replace")
    assert subprocess.run(["sh", "-n", str(file)], check=False).returncode == 0
    environ = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}/nowhere", "CLIENT_SECRET": "s3cret", "HIDDEN": "h"}
    done = subprocess.run(
        ["/bin/sh", str(file)], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in said.read_text().splitlines()]
