import pytest
import requests

ISSUER = "http://localhost:8001"


@pytest.fixture
def clock():
    """Move the clock of the lab by some seconds; it is reset after the test."""

    def move(seconds):
        requests.put(f"{ISSUER}/_lab/clock", json={"advance": seconds}, timeout=30).raise_for_status()

    yield move
    requests.delete(f"{ISSUER}/_lab/clock", timeout=30).raise_for_status()
