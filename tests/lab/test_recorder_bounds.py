"""The recorder's limits for the size and the number of messages, and the IDs of its processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import jsonify, request

from rolecall.web.routes import Route
from rolecall_lab.recording import recorder
from rolecall_lab.recording.event import Exchange
from rolecall_lab.recording.flows import read_events
from rolecall_lab.recording.recorder import STREAM
from rolecall_lab.wrap import Lab
from support.small_services import flask_app, toy


def raw(store: redis.Redis) -> str:
    """Return all events in Redis as text."""
    entries: Any = store.xrange(STREAM)
    return "\n".join(fields[b"event"].decode() for _, fields in entries)


def test_of_an_event_that_is_very_long_the_longest_members_are_left_out_and_it_says_which(
    in_lab: Callable[..., Lab], store: redis.Redis
) -> None:
    app = toy(**{f"member_{number}": "x" * 900 for number in range(17)})
    lab = in_lab(app)
    query = "&".join(f"scope={'y' * 600}" for _ in range(40))
    assert app.test_client().get(f"/token?{query}", headers={"User-Agent": "a browser"}).status_code == 200
    lab.recorder.flush()
    [event] = read_events(store)
    assert (event["query"], event["cut"]) == ({}, ["query"])
    assert len(event["body"]) == 17
    assert event["request_headers"]["user-agent"] == "a browser"
    assert len(raw(store)) <= recorder.MAX_EVENT


def test_a_body_of_json_that_a_client_sends_is_in_the_event(in_lab: Callable[..., Lab], store: redis.Redis) -> None:
    """RFC 7591 section 3.1; the recorder does not read anything that the application does not read."""

    def register() -> Any:
        return jsonify(client_id="made", **request.get_json()), 201

    app = flask_app("auth", Route("register", "/register", ("POST",), register, "api", "test"))
    lab = in_lab(app)
    app.test_client().post("/register", json={"client_name": "Tally", "client_secret": "wonderland-secret"})
    lab.recorder.flush()
    [event] = read_events(store)
    assert event["json"] == {"client_name": "Tally", "client_secret": {"hidden": True}}
    assert event["body"]["client_name"] == "Tally"
    assert "wonderland" not in raw(store)


def test_what_waits_is_bounded_by_its_bytes(
    in_lab: Callable[..., Lab], own_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is full while Redis does not respond; after it has been written, there is room again."""
    monkeypatch.setattr(recorder, "MAX_WAITING_BYTES", 300_000)
    lab = in_lab(toy())
    writing, go_on = threading.Event(), threading.Event()
    write = lab.recorder._write

    def wait(client: redis.Redis, exchanges: list[Exchange]) -> None:
        writing.set()
        assert go_on.wait(60)
        write(client, exchanges)

    monkeypatch.setattr(lab.recorder, "_write", wait)
    large = [Exchange("received", "GET", "/", {}, 1, request_body=b"x" * 60_000) for _ in range(10)]
    lab.recorder.record(large[0])
    assert writing.wait(60)
    for exchange in large[1:]:
        lab.recorder.record(exchange)
    assert lab.recorder._dropped == 6, "there is room for four of ten exchanges"
    go_on.set()
    assert lab.recorder.flush(20)
    lab.recorder.record(large[0])
    assert lab.recorder.flush(20)
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.xlen(STREAM) == 5
    assert lab.recorder._dropped == 6


def test_the_stream_is_bounded_by_its_bytes(
    in_lab: Callable[..., Lab], store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small events precede large ones here, so that an average size would be misleading."""
    monkeypatch.setattr(recorder, "MAX_STREAM", 1_000_000)
    monkeypatch.setattr(recorder, "WEIGH_AFTER", 10)
    for _ in range(500):
        store.xadd(STREAM, {"event": "{}"})
    lab = in_lab(toy())
    for number in range(100):
        query = "&".join(f"scope={'y' * 1000}" for _ in range(25))
        lab.recorder.record(Exchange("received", "GET", f"/{number}?{query}", {}, 1))
        assert lab.recorder.flush(20)
    assert int(store.memory_usage(STREAM, samples=0) or 0) < 1_500_000
    assert store.xlen(STREAM) > 20
    assert '"/99"' in raw(store), "the newest events are kept"


def test_a_process_is_told_from_one_that_had_its_id_before(in_lab: Callable[..., Lab], store: redis.Redis) -> None:
    """The first process of every container has the same process ID."""
    for _ in range(2):
        lab = in_lab(toy())
        lab.recorder.record(Exchange("received", "GET", "/", {}, 1))
        assert lab.recorder.flush(20)
    assert len({event["process"] for event in read_events(store)}) == 2
