"""Known advisories against the pinned packages: `pip-audit` over every lock, where a source of advisories answers.

Exit codes: 0 nothing is known, or nobody could be asked; 1 there are advisories; 2 pip-audit is not installed.
"""

# ruff: noqa: T201  what it finds is told on the terminal

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCKS: Final = (*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "tests/compose/foreign/requirements.txt")
SOURCES: Final = ("pypi", "osv")
"""As pip-audit names them; it knows where they are."""

TOTAL: Final = 60.0
FIRST_LOOK: Final = 10.0
"""Seconds for everything, and for finding out whether a source answers at all."""

_PIN: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")

Package = dict[str, Any]
"""What pip-audit says of one: `name`, and `version` and `vulns`, or a `skip_reason`."""


def main() -> int:
    """Ask the first source that answers; gives the exit code."""
    if importlib.util.find_spec("pip_audit") is None:
        print("advisories: pip-audit is not installed; `make audit` installs it", file=sys.stderr)
        return 2
    ends = time.monotonic() + TOTAL
    every = pins(LOCKS)
    for source in SOURCES:
        # an index without advisories answers too, and says that it has never heard of the package
        first = audit(source, every[0][:1], min(FIRST_LOOK, ends - time.monotonic()))
        if not first or "skip_reason" in first[0]:
            continue
        found: list[Package] = []
        for batch in every:
            told = audit(source, batch, ends - time.monotonic())
            if told is None:
                print(f"advisories: {source} stopped answering")
                break
            found += told
        else:
            return tell(source, found)
    print("advisories: no advisory source could be reached; the locks were not audited")
    return 0


def pins(locks: Iterable[Path]) -> list[list[str]]:
    """Every pinned package, for every platform; a second version of one is in a second list, as pip-audit wants."""
    versions: dict[str, list[str]] = {}
    for lock in locks:
        for name, version in (match.groups() for match in map(_PIN.match, lock.read_text().splitlines()) if match):
            known = versions.setdefault(name.lower(), [])
            known += [] if version in known else [version]
    count = max(map(len, versions.values()))
    return [[f"{name}=={all_[n]}" for name, all_ in versions.items() if n < len(all_)] for n in range(count)]


def audit(source: str, packages: list[str], seconds: float) -> list[Package] | None:
    """What the source knows of the packages; None when it does not answer in time."""
    options = ["--vulnerability-service", source, "--disable-pip", "--no-deps", "--timeout", "5"]
    options += ["--format", "json", "--desc", "off", "--aliases", "on", "--progress-spinner", "off"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "packages.txt"
        file.write_text("\n".join(packages))
        command = [sys.executable, "-m", "pip_audit", *options, "--requirement", str(file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(seconds, 0.1), check=False)  # noqa: S603
            answer: dict[str, list[Package]] = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None
    return answer["dependencies"]


def tell(source: str, packages: list[Package]) -> int:
    """Print each advisory on a line, and how many packages were looked at; 1 when there is any."""
    unknown = sorted(package["name"] for package in packages if "skip_reason" in package)
    lines = [
        f"{package['name']} {package['version']}: {' '.join([advisory['id'], *advisory['aliases']])}"
        f" (mended in {', '.join(advisory['fix_versions']) or 'no version yet'})"
        for package in packages
        for advisory in package.get("vulns", ())
    ]
    print(*lines, f"advisories: {len(lines)} in {len(packages) - len(unknown)} packages, by {source}", sep="\n")
    if unknown:
        print(f"advisories: {source} does not know {', '.join(unknown)}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
