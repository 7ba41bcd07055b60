from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests
from flask import Flask, jsonify

from rolecall import clock, events
from rolecall.web.routes import Route
from rolecall_lab.control import api
from rolecall_lab.control import clock as clock_push
from rolecall_lab.recording.recorder import STREAM
from rolecall_lab.wrap import Lab
from support.servers import free_port
from support.small_services import KEY, flask_app

ROOT = Path(__file__).resolve().parents[2]

SERVED = """
import os
from flask import Flask, jsonify
from rolecall import clock
from rolecall_lab.settings import LabSettings
from rolecall_lab.wrap import wrap

app = Flask(__name__)
app.add_url_rule("/seen", "seen", lambda: jsonify(pid=os.getpid(), offset=clock.offset()))
wrap(app, LabSettings.from_environ(os.environ, role=os.environ["ROLE"]))
"""


def toy() -> Flask:
    def view() -> Any:
        events.note("identity", value="tally")
        return jsonify(ok=True)

    return flask_app("auth", Route("x", "/x", ("GET",), view, "api", "test"))


@pytest.fixture
def app(in_lab: Callable[..., Lab]) -> Flask:
    app = toy()
    in_lab(app)
    return app


def wait_for(condition: Callable[[], bool]) -> None:
    until = clock.monotonic() + 60
    while not condition():
        assert clock.monotonic() < until, "the condition did not become true in time"
        threading.Event().wait(0.02)


def test_the_clock_is_read_and_turned(app: Flask) -> None:
    browser = app.test_client()
    assert browser.get("/_lab/clock").json["offset"] == 0
    answer = browser.put("/_lab/clock", json={"offset": 100.5})
    assert (answer.status_code, answer.json["offset"], answer.json["workers"]) == (200, 100.5, 1)
    assert clock.offset() == 100.5
    assert browser.put("/_lab/clock", json={"advance": -0.25}).json["offset"] == 100.25
    seen = browser.get("/_lab/clock").json
    assert (seen["offset"], seen["workers"]) == (100.25, 1)
    assert browser.put("/_lab/clock", json={"now": 2_000_000_000}).status_code == 200
    assert abs(clock.now() - 2_000_000_000) < 60
    assert browser.delete("/_lab/clock").json["offset"] == 0
    assert clock.offset() == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "exactly one"),
        (b"{", "not JSON"),
        (b"[" * 1000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "exactly one"),
        (b"{}", "exactly one"),
        (b'{"offset": 1, "advance": 1}', "exactly one"),
        (b'{"ofset": 1}', "exactly one"),
        (b'{"offset": "1"}', "offset must be a number"),
        (b'{"offset": true}', "offset must be a number"),
        (b'{"offset": null}', "offset must be a number"),
        (b'{"offset": NaN}', "offset is out of range"),
        (b'{"offset": 1e999}', "offset is out of range"),
        (b'{"now": ' + b"9" * 500 + b"}", "now is out of range"),
        (b'{"offset": 315360001}', "ten years"),
        (b'{"offset": -315360001}', "ten years"),
        (b'{"now": 0}', "ten years"),
        (b'{"offset": 1' + b" " * 2000 + b"}", "1024 bytes"),
    ],
)
def test_a_bad_time_is_refused_with_the_reason(body: bytes, says: str, app: Flask) -> None:
    answer = app.test_client().put("/_lab/clock", data=body)
    assert answer.status_code == 400
    assert says in answer.json["error"]
    assert clock.offset() == 0


def test_advancing_stops_at_the_limit_as_well(app: Flask) -> None:
    browser = app.test_client()
    assert browser.put("/_lab/clock", json={"offset": clock_push.MAX_OFFSET}).status_code == 200
    assert browser.put("/_lab/clock", json={"advance": 1}).status_code == 400
    assert clock.offset() == clock_push.MAX_OFFSET


def test_a_worker_that_does_not_answer_is_reported(
    app: Flask, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_push, "PATIENCE", 0.3)
    app.test_client().get("/x")
    with store.pubsub() as deaf:
        deaf.subscribe(clock_push.CHANNEL)
        assert deaf.get_message(timeout=60) is not None
        answer = app.test_client().put("/_lab/clock", json={"offset": 5})
    assert answer.status_code == 504
    assert "only 1 of 2 workers" in answer.json["error"]


def test_parallel_advances_are_all_counted(app: Flask) -> None:
    app.test_client().get("/x")
    threads = [
        threading.Thread(target=lambda: app.test_client().put("/_lab/clock", json={"advance": 10})) for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert app.test_client().get("/_lab/clock").json["offset"] == clock.offset() == 80


def test_the_clock_comes_back_with_redis(app: Flask, own_redis: Any) -> None:
    browser = app.test_client()
    browser.put("/_lab/clock", json={"offset": 50})
    own_redis.stop()
    answer = browser.put("/_lab/clock", json={"offset": 60})
    assert (answer.status_code, "Redis" in answer.json["error"]) == (503, True)
    assert browser.get("/x").json == {"ok": True}
    assert clock.offset() == 50
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        client.hset(clock_push.KEY, mapping={"offset": "70", "sequence": "1"})
    wait_for(lambda: clock.offset() == 70)
    assert browser.put("/_lab/clock", json={"advance": 5}).json["offset"] == 75
    assert clock.offset() == 75


def test_the_clock_is_turned_though_redis_was_emptied(app: Flask, store: redis.Redis) -> None:
    """The sequence numbers, which identify late messages, then start again."""
    browser = app.test_client()
    for _ in range(3):
        browser.put("/_lab/clock", json={"advance": 10})
    store.flushall()
    wait_for(lambda: clock.offset() == 0)
    assert browser.put("/_lab/clock", json={"advance": 5}).json["offset"] == 5
    assert clock.offset() == 5


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "clock"), ("DELETE", "clock"), ("GET", "events"), ("GET", "flows"), ("DELETE", "events")],
)
def test_without_redis_the_lab_says_so(method: str, path: str, app: Flask, own_redis: Any) -> None:
    own_redis.stop()
    answer = app.test_client().open(f"/_lab/{path}", method=method)
    assert answer.status_code == 503
    assert "Redis does not respond" in answer.json["error"]


def test_events_and_flows_are_read_and_emptied(app: Flask, store: redis.Redis) -> None:
    browser = app.test_client()
    browser.get("/x?state=the-first-state&client_id=tally")
    browser.get("/x?state=the-second-state")
    browser.get("/x")
    events = browser.get("/_lab/events").json
    assert (events["schema"], len(events["events"])) == (3, 3)
    second, first = browser.get("/_lab/flows").json["flows"]
    assert (first["client_id"], second["client_id"]) == ("tally", None)
    [event] = browser.get(f"/_lab/events?flow={first['id']}").json["events"]
    assert event["query"]["state"]["value"] == "the-first-state"
    assert len(browser.get("/_lab/events?limit=1").json["events"]) == 1
    assert browser.get("/_lab/events?flow=unknown").json["events"] == []
    assert browser.get(f"/_lab/events?after={events['last']}").json == {**events, "events": []}
    browser.get("/x?state=the-third-state")
    later = browser.get(f"/_lab/events?after={events['last']}").json
    assert [event["query"]["state"]["value"] for event in later["events"]] == ["the-third-state"]
    assert later["last"] > events["last"]
    assert browser.get("/_lab/events?after=x").status_code == 400
    assert browser.delete("/_lab/events").json == {"deleted": 4}
    assert browser.get("/_lab/events").json["events"] == []
    assert store.exists(STREAM) == 0


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "5001", "٣", "1" * 5000])
def test_a_bad_limit_is_refused(limit: str, app: Flask) -> None:
    answer = app.test_client().get("/_lab/events", query_string={"limit": limit})
    assert (answer.status_code, "limit must be" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_lab", 404),
        ("GET", "/_lab/", 404),
        ("GET", "/_lab/other", 404),
        ("POST", "/_lab/clock", 405),
        ("OPTIONS", "/_lab/clock", 405),
        ("PUT", "/_lab/events", 405),
    ],
)
def test_what_is_not_there_is_refused_in_json(method: str, path: str, status: int, app: Flask) -> None:
    answer = app.test_client().open(path, method=method)
    assert answer.status_code == status
    assert answer.json["error"]
    assert ("Allow" in answer.headers) == (status == 405)  # RFC 9110 section 15.5.6
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:8001", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8001"}, 403),
        ({"Host": "[bad"}, 403),
        ({"Host": "auth.localhost:8001"}, 200),
    ],
)
def test_other_sites_change_nothing(headers: dict[str, str], status: int, app: Flask) -> None:
    answer = app.test_client().put("/_lab/clock", json={"offset": 9}, headers=headers)
    assert answer.status_code == status
    assert clock.offset() == (9 if status == 200 else 0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_other_sites_read_nothing(
    headers: dict[str, str], method: str, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a full stream takes seconds, although the other site cannot see the response."""
    monkeypatch.setattr(api, "read_after", lambda *_: pytest.fail("the stream was read"))
    assert app.test_client().open("/_lab/events", method=method, headers=headers).status_code == 403


@pytest.fixture
def services(own_redis: Any, tmp_path: Path) -> Iterator[list[str]]:
    """Two services under gunicorn with two workers each."""
    (tmp_path / "served.py").write_text(SERVED)
    sockets = [tmp_path / f"{role}.port" for role in ("client", "authorization_server")]
    processes, urls = [], []
    for name in sockets:
        port = free_port()
        urls.append(f"http://127.0.0.1:{port}")
        environ = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}/shared:{ROOT}/lab:{tmp_path}",
            "ROLE": name.stem,
            "LAB_KEY": KEY,
            "LAB_REDIS_URL": own_redis.url,
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "python:rolecall_lab.gunicorn_conf", "served:app"]
        command += ["-w", "2", "-k", "gthread", "--threads", "2", "-b", f"127.0.0.1:{port}", "--no-control-socket"]
        processes.append(subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.DEVNULL))
    yield urls
    for each in processes:
        each.terminate()
    for each in processes:
        each.wait(60)


def _workers(store: redis.Redis) -> int:
    return clock_push.workers(store)


def test_every_worker_of_every_service_gets_the_time(services: list[str], store: redis.Redis) -> None:
    wait_for(lambda: _workers(store) == 4)
    answer = requests.put(f"{services[0]}/_lab/clock", json={"offset": 1000}, timeout=60)
    assert (answer.status_code, answer.json()["workers"]) == (200, 4)
    seen: dict[int, float] = {}
    for url in services * 40:
        report = requests.get(f"{url}/seen", timeout=60).json()
        seen[report["pid"]] = report["offset"]
        assert report["offset"] == 1000
    assert len(seen) >= 3, "both services have responded, one of them with both workers"
    # a worker that replaces a killed worker has the lab's time from its first request
    victim = next(iter(seen))
    killed = psutil.Process(victim)
    parent = killed.parent()
    assert parent is not None
    killed.kill()
    # gunicorn may start the replacement before the missing worker is noticed
    wait_for(lambda: len({child.pid for child in parent.children()} - {victim}) == 2 and _workers(store) == 4)
    for url in services * 40:
        report = requests.get(f"{url}/seen", timeout=60).json()
        assert report["pid"] != victim
        assert report["offset"] == 1000
    assert requests.delete(f"{services[1]}/_lab/clock", timeout=60).json()["workers"] == 4
    assert {requests.get(f"{url}/seen", timeout=60).json()["offset"] for url in services * 10} == {0}


def test_what_waits_is_written_when_a_worker_ends(services: list[str], store: redis.Redis) -> None:
    wait_for(lambda: _workers(store) == 4)
    requests.get(f"{services[0]}/seen?state=written-at-the-end", timeout=60)
    [parent] = {psutil.Process(requests.get(f"{services[0]}/seen", timeout=60).json()["pid"]).ppid()}
    psutil.Process(parent).terminate()
    wait_for(lambda: _workers(store) == 2)
    entries: Any = store.xrange(STREAM)
    paths = [json.loads(fields[b"event"])["query"] for _, fields in entries]
    assert [query["state"]["value"] for query in paths if query] == ["written-at-the-end"]
