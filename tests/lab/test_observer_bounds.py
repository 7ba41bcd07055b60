"""Ten thousand flows of realistic size do not exceed the limits of Redis and of the observer's memory."""

from __future__ import annotations

import gc
import json
from itertools import permutations
from typing import Any

import psutil
import pytest
import redis

from rolecall_lab.observer.tail import Tail
from rolecall_lab.recording.flows import Flows
from rolecall_lab.recording.recorder import MAX_EVENTS, STREAM
from support.recorded_events import constant_flow, plain_flow

FLOWS = 10_000
FULL = 2_500
"""Number of flows after which memory must not grow: `MAX_EVENTS` events are kept, three for each of these flows."""

SLACK = 20
"""The normal variation of such a process's memory, in MB."""


def as_large_as_real(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events with as many headers and checks as real events have: 3 KB per event."""
    check = {"name": "token.code", "passed": True, "expected": "x" * 60, "actual": "x" * 60, "clause": "RFC 6749"}
    for each in events:
        each["checks"] = [check] * 10
        each["request_headers"] |= {"user-agent": "Mozilla/5.0 " + "x" * 100, "accept": "text/html," + "x" * 100}
    return events


@pytest.mark.long
def test_ten_thousand_flows_need_no_more_than_the_first_ones(store: redis.Redis, own_redis: Any) -> None:
    flows = Flows()
    tail = Tail(own_redis.url, flows)
    sizes: dict[int, tuple[int, int]] = {}
    first = ""
    for number in range(1, FLOWS + 1):
        pipeline = store.pipeline(transaction=False)
        _, ask, _, redeem, _, call, _ = as_large_as_real(plain_flow(f"flow-{number:05}"))
        for each in (ask, redeem, call):
            pipeline.xadd(STREAM, {"event": json.dumps(each)}, maxlen=MAX_EVENTS)
        pipeline.execute()
        if number % 100 == 0:
            while tail.read():
                pass
            first = first or flows.newest()[-1].id
        if number in {FULL, FLOWS}:
            gc.collect()
            in_redis = int(store.memory_usage(STREAM, samples=0) or 0)
            sizes[number] = (psutil.Process().memory_info().rss, in_redis)
    assert flows.count()[1] <= MAX_EVENTS
    assert sizes[FLOWS][0] < sizes[FULL][0] + SLACK * 1_000_000, "the observer's memory grows"
    assert sizes[FLOWS][1] < sizes[FULL][1] * 1.2, "the memory of Redis grows"
    newest = flows.newest(1)[0]
    found = flows.get(newest.id)
    assert found is not None
    assert len(found.events) == 3
    assert len(flows.newest(FLOWS)) < FULL
    assert flows.get(first) is None, "the oldest flow is still kept"


@pytest.mark.parametrize("order", [*permutations(range(4))], ids=str)
def test_a_verifier_of_an_example_is_used_by_two_at_once(
    order: tuple[int, ...], store: redis.Redis, own_redis: Any
) -> None:
    """An example is the verifier of RFC 7636 appendix B. Events of almost the same time may be written in any order."""
    first, second = (constant_flow(number * 20)[:4] for number in range(2))
    flows = Flows()
    tail = Tail(own_redis.url, flows)
    for each in [*first, *(second[position] for position in order)]:
        store.xadd(STREAM, {"event": json.dumps(each)})
    tail.read(500)
    assert [len(flow.events) for flow in flows.snapshot()] == [4, 4]
