"""The upper bounds of this machine: the signatures and Redis round trips of one core, without any server."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from stores import redis_server

from rolecall.storage import connect

MESSAGE = b"x" * 500


def ceilings() -> list[tuple[str, float]]:
    """Return how many times per second each step can run, by name."""
    ecdsa = ec.generate_private_key(ec.SECP256R1())
    pkcs1 = rsa.generate_private_key(65537, 2048)
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        store = connect(url)
        return [
            ("ES256 signatures", per_second(lambda: ecdsa.sign(MESSAGE, ec.ECDSA(hashes.SHA256())))),
            ("RS256 signatures", per_second(lambda: pkcs1.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256()))),
            ("Redis round trips, one after another", per_second(lambda: store.get("x"), time.monotonic)),
        ]


def per_second(step: Callable[[], object], watch: Callable[[], float] = time.process_time) -> float:
    """Return how many times per second a step can run; the best of five attempts."""
    best = 0.0
    for _ in range(5):
        began = watch()
        for _ in range(200):
            step()
        best = max(best, 200 / (watch() - began))
    return best
