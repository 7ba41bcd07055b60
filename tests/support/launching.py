"""The folder that the launcher works in."""

from __future__ import annotations

from pathlib import Path


def lab_folder(path: Path) -> Path:
    """Create the folders that the launcher creates at its start."""
    for name in ("run", "logs"):
        (path / name).mkdir(parents=True)
    return path
