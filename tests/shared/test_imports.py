"""The libraries that a service loads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rolecall_lab.launcher.environment import inherited


@pytest.mark.parametrize("module", ["rolecall.web.app", "rolecall_client.wsgi", "rolecall_lab.observer.app"])
def test_a_service_without_a_database_does_not_import_sqlalchemy(module: str) -> None:
    code = f"import sys, {module}; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=inherited(os.environ), check=False).returncode == 0
