"""Runs after all other tests: no secret that they used stands in anything that was logged."""

from __future__ import annotations

import containers
import witness


def test_a_secret_in_a_line_is_found() -> None:
    secret, password = "n0tASecretOfAnyTestButOfThisOneAlone_4321-x", "an Iron-Clad pass phrase"
    before = {*witness.seen}
    witness.take_text(f"POST /token?code={secret}&x=1")
    witness.take_text(f'{{"password": "{password}"}}')
    try:
        for line in (f"a line with {secret}.", f"a line with {password}", "one of ours: " + secret[::-1]):
            [(_, found)] = witness.leaks(iter([line, "a clean line"]))
            assert found == line
    finally:
        witness.seen.clear()
        witness.seen.update(before)


def test_no_secret_of_the_whole_run_is_in_any_log() -> None:
    """Tokens, codes, verifiers, passwords and cookies, of this process and of those that it started."""
    lines = list(witness.logged())
    if containers.asked_for():
        lines += containers.docker("compose", "logs", "--no-log-prefix").splitlines()
    assert bool(witness.seen) == bool(lines), "something is not looked at"
    found = witness.leaks(iter(lines))
    assert not found, f"{len(found)} of {len(lines)} lines, such as: {found[:20]}"
