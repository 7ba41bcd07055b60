"""The search for leaked secrets finds them, and fails the run in which they are."""

from __future__ import annotations

import sys

import pytest

from support import witness

pytest_plugins = ["pytester"]


def test_a_secret_in_a_log_line_is_found() -> None:
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


def test_public_identifiers_are_not_leaks() -> None:
    """A key ID (RFC 7638) and another provider's client ID can be as long as a secret."""
    identifier = "n0tASecretOfAnyTestButOfThisOneAlone_4321-x"
    line = f'{{"client_id": "{identifier}", "kid": "{identifier}", "kids": ["{identifier}"]}}'
    assert witness.leaks(iter([line])) == []


def test_a_run_that_logs_a_secret_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of pytest-xdist logs its own secret, and a service that another process started logs it too."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    pytester.makepyfile(
        """
        import logging
        from support import witness

        def test_sends_and_logs() -> None:
            witness.take_text("POST /token?code=n0tASecretOfAnyTestButOfThisOneAlone")
            logging.getLogger("rolecall").warning("got n0tASecretOfAnyTestButOfThisOneAlone")

        def test_starts_a_service(tmp_path) -> None:
            (tmp_path / "logs").mkdir()
            (tmp_path / "logs" / "auth-service.log").write_text("got n0tASecretOfAnyTestButOfThisOneAlone")
            witness.folders.append(tmp_path)
        """
    )
    run = pytester.runpytest_subprocess("-p", "xdist", "-p", "support.leaks", "-n2")
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(["*2 log lines contain a secret*"])
    assert run.ret == pytest.ExitCode.TESTS_FAILED
