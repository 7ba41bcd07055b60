"""The images start modules that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("service", ["auth-service", "resource-service", "client-webapp"])
def test_the_image_of_a_service_names_its_module(service: str) -> None:
    """`${SERVICE%%-*}` is the part of the name before the first hyphen."""
    [pattern] = re.findall(r"ROLECALL_WSGI=(\S+):app\(\)", (ROOT / "Dockerfile").read_text())
    module = pattern.replace("${SERVICE%%-*}", service.partition("-")[0])
    assert importlib.util.find_spec(module), module


def test_compose_names_modules_that_exist() -> None:
    for file in ("docker-compose.yml", "compose.production.yml", "docs/production.md"):
        modules = re.findall(r"(?:rolecall_\w+)(?:\.\w+)*(?=:\w*app\(\))", (ROOT / file).read_text())
        assert modules, file
        for module in modules:
            assert importlib.util.find_spec(module), f"{file}: {module}"
