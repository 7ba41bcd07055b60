"""The fuzz tests: short and the same each time in `make test`, long and different with FUZZ_REQUESTS set."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

import witness
from auth.conftest import closed, server
from client.conftest import tally
from resource_support import Api, an_api

__all__ = ["closed", "server", "tally"]

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "rolecall-hypothesis")
hypothesis.settings.register_profile(
    "rolecall",
    database=None,
    deadline=None,
    derandomize="FUZZ_REQUESTS" not in os.environ,
    suppress_health_check=list(hypothesis.HealthCheck),
    print_blob=True,
)
hypothesis.settings.load_profile("rolecall")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """The Invoices API with nothing in it but its schema."""
    with an_api(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def _values_of_no_meaning() -> Iterator[None]:
    """What is made up here as a secret may be any word of a log; what the services make is recognised by its form."""
    before = {*witness.seen}
    yield
    witness.seen.clear()
    witness.seen.update(before)
