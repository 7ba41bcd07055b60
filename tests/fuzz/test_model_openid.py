"""A model of an OpenID Provider's state about people and clients, compared with the server after every step.

The model keeps all sign-ins, all consents, and the registration of each client. From these it derives the result of
every authentication request (OpenID Connect Core section 3.1.2), and the claims of its tokens.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from rolecall import clock
from support.fuzz.effort import examples
from support.fuzz.machine import Where, run
from support.fuzz.openid_model.authentication import Authentication
from support.fuzz.openid_model.registration import Registration

pytestmark = pytest.mark.database

STEPS = 30


class Model(Authentication, Registration):
    """The OpenID Provider."""

    @initialize()
    def start(self) -> None:
        self.begin()

    @rule(seconds=st.sampled_from([30, 298, 300, 3600, 43_200]))
    def time_passes(self, seconds: int) -> None:
        clock.set_offset(clock.offset() + seconds)


def test_the_provider_knows_what_the_model_knows(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenID Connect Core sections 3.1.2, 3.1.3, 5.3, 8, 11 and 12, RFC 7591, RFC 7592, RFC 7523 section 3."""
    times = examples(5, 6 * STEPS)
    run(Model, Where(tmp_path, redis_url), monkeypatch, times=times, steps=STEPS)
