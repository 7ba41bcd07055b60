"""How long a fetched response is kept, and when it is fetched again (RFC 9111)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rolecall import clock
from rolecall_auth.outbound import fetcher as fetch
from rolecall_auth.outbound.cache import DEFAULT_LIFETIME, MAX_LIFETIME, MIN_LIFETIME, Fetched
from rolecall_auth.outbound.fetcher import Fetcher
from rolecall_auth.outbound.policy import FetchError
from support.sites import Site, answer, running_sites


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    with running_sites() as start:
        yield start


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(lab=True)


def get(fetcher: Fetcher, url: str, **kwargs: Any) -> Fetched:
    return fetcher.get(url, accept="application/json", **kwargs)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["Cache-Control: max-age=100"], 100),
        (["Cache-Control: public, Max-Age=100"], 100),
        (['Cache-Control: max-age="100"'], 100),
        (["Cache-Control: max-age=100", "Age: 40"], 60),
        (["Cache-Control: max-age=0"], MIN_LIFETIME),
        (["Cache-Control: max-age=-7"], MIN_LIFETIME),
        (["Cache-Control: max-age=soon"], MIN_LIFETIME),
        (["Cache-Control: no-store, max-age=100"], MIN_LIFETIME),
        (["Cache-Control: no-cache"], MIN_LIFETIME),
        (["Cache-Control: max-age=99999999999999999999"], MAX_LIFETIME),
        (["Expires: Thu, 01 Jan 2026 00:02:00 GMT", "Date: Thu, 01 Jan 2026 00:00:00 GMT"], 120),
        (["Expires: Thu, 01 Jan 2026 00:02:00 GMT", "Date: Thu, 01 Jan 2026 00:00:00 GMT", "Age: 40"], 80),
        (["Expires: Thu, 01 Jan 2026 00:00:00 GMT"], MIN_LIFETIME),
        (["Expires: Fri, 01 Jan 2100 00:00:00 GMT"], MAX_LIFETIME),
        (["Expires: 0"], MIN_LIFETIME),
        (["Expires: Fri, 01 Jan 2100 00:00:00 GMT", "Cache-Control: public, max-age=100"], 100),
        ([], DEFAULT_LIFETIME),
    ],
)
def test_an_answer_is_kept_as_long_as_it_says(
    fetcher: Fetcher, site: Callable[..., Site], headers: list[str], seconds: float
) -> None:
    """RFC 9111 sections 5.2.2 and 5.3; the test turns the clock instead of waiting."""
    there = site(answer(b"{}", *headers))
    get(fetcher, there.url())
    clock.set_offset(seconds - 2)
    get(fetcher, there.url("/keys#part"))
    assert len(there.asked) == 1
    clock.set_offset(seconds + 1)
    get(fetcher, there.url())
    assert len(there.asked) == 2


def test_fresher_may_be_asked_for_but_not_more_often(fetcher: Fetcher, site: Callable[..., Site]) -> None:
    there = site(answer(b"{}"))
    get(fetcher, there.url())
    get(fetcher, there.url())
    assert len(there.asked) == 1
    for _ in range(3):
        get(fetcher, there.url(), renew=True)
    assert len(there.asked) == 2, "only the first renewal causes a fetch"
    clock.set_offset(MIN_LIFETIME + 1)
    get(fetcher, there.url())
    assert len(there.asked) == 2
    for _ in range(3):
        get(fetcher, there.url(), renew=True)
    assert len(there.asked) == 3


def test_a_failure_is_remembered_for_a_while(fetcher: Fetcher, site: Callable[..., Site]) -> None:
    there = site(answer(b"", status="500 Oops"))
    for _ in range(3):
        with pytest.raises(FetchError, match="status 500"):
            get(fetcher, there.url())
    assert len(there.asked) == 1
    there.serve = lambda connection: connection.sendall(answer(b"{}"))
    clock.set_offset(MIN_LIFETIME + 1)
    assert get(fetcher, there.url()).body == b"{}"


def test_what_is_still_good_outlives_a_failure_to_renew_it(fetcher: Fetcher, site: Callable[..., Site]) -> None:
    there = site(answer(b"good"))
    get(fetcher, there.url())
    there.serve = lambda connection: connection.sendall(answer(b"", status="500 Oops"))
    clock.set_offset(MIN_LIFETIME + 1)
    with pytest.raises(FetchError):
        get(fetcher, there.url(), renew=True)
    assert get(fetcher, there.url()).body == b"good"
    clock.set_offset(DEFAULT_LIFETIME + 1)
    with pytest.raises(FetchError):
        get(fetcher, there.url())


def test_many_at_once_are_one_fetch(fetcher: Fetcher, site: Callable[..., Site]) -> None:
    go = threading.Event()

    def serve(connection: socket.socket) -> None:
        go.wait(60)
        connection.sendall(answer(b"{}"))

    there = site(serve)
    with ThreadPoolExecutor(fetch.MAX_PER_HOST) as pool:
        waiting = [pool.submit(get, fetcher, there.url()) for _ in range(fetch.MAX_PER_HOST)]
        go.set()
        assert [each.result(60).body for each in waiting] == [b"{}"] * fetch.MAX_PER_HOST
    assert len(there.asked) == 1
    assert not fetcher._pending


def test_only_so_many_answers_are_kept(
    fetcher: Fetcher, site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_ENTRIES", 3)
    there = site(answer(b"{}"))
    for number in range(5):
        get(fetcher, there.url(f"/{number}"))
    assert len(fetcher._entries) == 3
    get(fetcher, there.url("/0"))
    assert len(there.asked) == 6
