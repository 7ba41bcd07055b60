"""Compare the HTTP servers that the Flask services could run under.

    python benchmarks/http_workers.py [--rounds 3] [--seconds 5] [--only NAME]

Prints Markdown tables: speed (rounds are interleaved; ratios to REFERENCE in the same round), behaviour (keep-alive,
server-sent events, stopping, a killed worker) and limits. Candidates that cannot be imported are skipped. The server has
one core and the load generator (wrk) another, so a figure is what one core does. All traffic stays on 127.0.0.1, every
wait is bounded, and only processes started here are ended. This file is also the application that the servers load.
"""

import argparse
import contextlib
import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from flask import Flask, Response, jsonify, request

app = Flask(__name__)

REFERENCE = "gunicorn gthread 4"
GRACE = 5  # seconds a stopping server may take for what is under way
STREAMS = 8
FORM = "grant_type=authorization_code&code=SplxlOBeZQQYbYS6WxSbIA&client_id=tally&code_verifier=" + "v" * 43
FORM_TYPE = "application/x-www-form-urlencoded"


@app.get("/json")
def small() -> Response:
    return jsonify(active=True, pid=os.getpid())


@app.post("/form")
def form() -> Response:
    return jsonify(grant_type=request.form.get("grant_type"))


@app.get("/slow")
def slow() -> Response:
    time.sleep(1)
    return jsonify(done=True)


@app.get("/events")
def events() -> Response:
    def stream() -> Iterator[str]:
        for number in range(200):
            yield f"data: {number}\n\n"
            time.sleep(0.2)

    return Response(stream(), mimetype="text/event-stream")


@dataclass(frozen=True)
class Candidate:
    name: str
    module: str
    options: tuple[str, ...]

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-m", self.module, *(o.format(port=port) for o in self.options), "http_workers:app"]


def gunicorn(name: str, kind: str, workers: int = 1, threads: int = 1, parser: str = "auto") -> Candidate:
    options = f"--bind 127.0.0.1:{{port}} --worker-class {kind} --workers {workers} --threads {threads} --keep-alive 5"
    options += f" --graceful-timeout {GRACE} --no-control-socket --log-level warning --http-parser {parser}"
    return Candidate(name, "gunicorn", tuple(options.split()))


GRANIAN = f"--port {{port}} --interface wsgi --blocking-threads 16 --respawn-failed-workers --workers-kill-timeout {GRACE}"
CANDIDATES = [
    gunicorn("gunicorn sync", "sync"),
    gunicorn("gunicorn gthread 1", "gthread", threads=1),
    gunicorn(REFERENCE, "gthread", threads=4),
    gunicorn(f"{REFERENCE}, Python parser", "gthread", threads=4, parser="python"),
    gunicorn("gunicorn gthread 16", "gthread", threads=16),
    gunicorn("gunicorn gthread 2 x 4", "gthread", workers=2, threads=4),
    gunicorn("gunicorn gthread 2 x 16", "gthread", workers=2, threads=16),
    gunicorn("gunicorn gevent", "gevent"),
    Candidate("granian 16", "granian", tuple(GRANIAN.split())),
    Candidate("waitress 16", "waitress", ("--listen=127.0.0.1:{port}", "--threads=16")),
    Candidate("cheroot 16", "cheroot", ("--bind=127.0.0.1:{port}", "--threads=16")),
]


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    pids = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                pids += tree(int(child))
    return pids


class Server:
    """A candidate, running."""

    def __init__(self, candidate: Candidate, cores: list[int]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        ours = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores[-1:])
        self.process = subprocess.Popen(
            candidate.command(self.port),
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.sched_setaffinity(0, ours)

    def __enter__(self) -> "Server":
        deadline = time.monotonic() + 10
        while self.get("/json", 1) is None:
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.__exit__()
                raise RuntimeError("did not start")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        pids = tree(self.process.pid)
        if self.stop(GRACE + 3) is None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(5)

    def stop(self, limit: float) -> float | None:
        """Send SIGTERM; the seconds until the exit, or None if it has not ended by then."""
        begin = time.monotonic()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(limit)
            return time.monotonic() - begin
        return None

    def get(self, path: str, timeout: float) -> bytes | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read() if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def worker(self) -> int | None:
        found = re.search(rb'"pid": ?(\d+)', self.get("/json", 1) or b"")
        return int(found[1]) if found else None

    def cpu(self) -> float:
        """Seconds of processor time that master and workers have used."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in tree(self.process.pid)]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Proportional set size of master and workers in MiB."""
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in tree(self.process.pid)]
        return sum(int(re.findall(r"^Pss:\s+(\d+)", rollup, re.M)[0]) for rollup in rollups) / 1024

    def raw(self, head: str, body: str = "", timeout: float = 2) -> str:
        """Send bytes as they are; the status that comes back, or what happened instead."""
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(f"{head}\r\nHost: a\r\nConnection: close\r\n\r\n{body}".encode())
                while len(answer) < 65536 and (part := connection.recv(65536)):
                    answer += part
        except TimeoutError:
            return "no answer" if not answer else answer.split()[1].decode()
        except OSError:
            return "reset" if not answer else answer.split()[1].decode()
        echoed = " (read)" if b"authorization_code" in answer else ""
        return answer.split()[1].decode() + echoed if answer.startswith(b"HTTP/") else "closed"


@dataclass
class Speed:
    rate: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    failed: int = 0

    def load(self, server: Server, seconds: float, script: Path, path: str) -> None:
        before = server.cpu()
        command = ["wrk", "-t1", "-c16", f"-d{seconds:g}s", "--latency", "-s", str(script)]
        command.append(f"http://127.0.0.1:{server.port}{path}")
        out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20, check=True).stdout
        unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}
        latency = {p: float(v) * unit[u] for p, v, u in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", out)}
        count = int(re.findall(r"(\d+) requests in", out)[0])
        self.rate.append(float(re.findall(r"Requests/sec:\s+([\d.]+)", out)[0]))
        self.cost.append((server.cpu() - before) / max(count, 1) * 1e6)
        self.p50.append(latency["50"])
        self.p99.append(latency["99"])
        self.failed += sum(int(n) for n in re.findall(r"(?:Non-2xx or 3xx responses:|read|write|timeout) (\d+)", out))


def keep_alive(server: Server) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=2)
    connection.request("GET", "/json")
    connection.getresponse().read()
    kept = connection.sock is not None  # http.client drops it when the server says it will close
    connection.close()
    return "yes" if kept else "no"


def streams(server: Server) -> tuple[str, str]:
    """With open event streams: how many are fed, and how ordinary requests fare on new connections."""
    sockets = [socket.create_connection(("127.0.0.1", server.port), 2) for _ in range(STREAMS)]
    for one in sockets:
        one.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(1)
    fed = 0
    for one in sockets:
        one.setblocking(False)
        with contextlib.suppress(OSError):
            fed += b"data: 2" in one.recv(65536)
    times, sent, deadline = [], 0, time.monotonic() + 3
    while sent < 300 and time.monotonic() < deadline:
        begin = time.perf_counter()
        sent += 1
        if server.get("/json", 1) is not None:
            times.append((time.perf_counter() - begin) * 1000)
        time.sleep(0.005)
    for one in sockets:
        one.close()
    p99 = f", p99 {statistics.quantiles(times, n=100)[98]:.1f} ms" if len(times) > 1 else ""
    return f"{fed}/{STREAMS}", f"{len(times)}/{sent}{p99}"


def stopping(server: Server, path: str) -> str:
    """SIGTERM while a request is under way: was it finished, and how long until the exit?"""
    answers: list[bytes | None] = []
    client = threading.Thread(target=lambda: answers.append(server.get(path, GRACE + 5)), daemon=True)
    client.start()
    time.sleep(0.4)
    seconds = server.stop(GRACE + 4)
    client.join(2)
    finished = "finished" if answers and answers[0] else "cut off"
    return f"{finished}, " + (f"{seconds:.1f} s" if seconds is not None else f"not ended in {GRACE + 4} s")


def killed(server: Server) -> str:
    """SIGKILL for the worker that answered last: seconds until requests are answered again."""
    victim = server.worker()
    if victim is None or victim == server.process.pid:
        return "no (one process)"
    os.kill(victim, signal.SIGKILL)
    begin = time.monotonic()
    while time.monotonic() - begin < 8:
        if server.get("/json", 1) is not None:
            return f"yes, {time.monotonic() - begin:.1f} s"
        time.sleep(0.02)
    return "no"


def limit(server: Server, head: str) -> str:
    """The largest size accepted and what the next larger one gets."""
    last = 0
    for size in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        status = server.raw(head.format("a" * (size * 1024 - 100)))
        if status not in {"200", "404"}:
            return f"{last} KiB, then {status}"
        last = size
    return f"{last} KiB or more"


def limits(server: Server) -> list[str]:
    post = f"POST /form HTTP/1.1\r\nContent-Type: {FORM_TYPE}"
    chunk, size = f"{len(FORM):x}\r\n{FORM}\r\n0\r\n\r\n", len(FORM)
    many = "GET /json HTTP/1.1" + "".join(f"\r\nX-{n}: a" for n in range(1000))
    return [
        limit(server, "GET /json?a={} HTTP/1.1"),
        limit(server, "GET /json HTTP/1.1\r\nX-Long: {}"),
        server.raw(many),
        server.raw("GARBAGE"),
        server.raw(f"{post}\r\nContent-Length: {size}\r\nContent-Length: {size - 9}", FORM),
        server.raw(f"{post}\r\nContent-Length: {size}\r\nTransfer-Encoding: chunked", chunk),
        server.raw(f"{post}\r\nTransfer-Encoding: chunked", chunk),
    ]


def table(columns: str, rows: list[list[str]]) -> None:
    names = columns.split("|")
    for row in [names, ["---"] * len(names), *rows]:
        print("| " + " | ".join(row) + " |")
    print()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--only", default="", help="only candidates whose name contains this")
    chosen = options.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed and not on the path")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])

    present = []
    for one in CANDIDATES:
        needed = {one.module} | ({"gevent"} if "gevent" in one.name else set())
        if missing := [name for name in sorted(needed) if importlib.util.find_spec(name) is None]:
            print(f"{one.name}: skipped, {', '.join(missing)} cannot be imported\n")
        elif chosen.only in one.name:
            present.append(one)
    packages = ["flask", *sorted({one.module for one in present}), "gunicorn_h1c", "gevent"]
    print(", ".join(f"{name} {version(name)}" for name in packages if importlib.util.find_spec(name)), "\n")

    gets, posts, memory, behaviour, bounds = {}, {}, {}, [], []
    with tempfile.TemporaryDirectory() as folder:
        get, post = Path(folder, "get.lua"), Path(folder, "post.lua")
        get.write_text("")
        post.write_text(f'wrk.method="POST" wrk.body="{FORM}" wrk.headers["Content-Type"]="{FORM_TYPE}"')
        for _ in range(chosen.rounds):
            for one in present:
                with Server(one, cores) as server:
                    Speed().load(server, 1, get, "/json")  # warm
                    gets.setdefault(one.name, Speed()).load(server, chosen.seconds, get, "/json")
                    posts.setdefault(one.name, Speed()).load(server, chosen.seconds, post, "/form")
                    memory.setdefault(one.name, []).append(server.memory())
    for one in present:
        with Server(one, cores) as server:
            row = [one.name, keep_alive(server), *streams(server)]
            bounds.append([one.name, *limits(server)])
            row.append(killed(server))
        for path in ("/slow", "/events"):
            with Server(one, cores) as server:
                row.append(stopping(server, path))
        behaviour.append(row)

    rows = []
    for name in gets:
        cells = [name]
        for by in (gets, posts):
            base = by.get(REFERENCE, by[name]).rate
            ratio = statistics.median(rate / other for rate, other in zip(by[name].rate, base, strict=True))
            rate, cost, p50, p99 = (statistics.median(getattr(by[name], key)) for key in ("rate", "cost", "p50", "p99"))
            cells += [f"**{ratio:.2f}**", f"{rate:,.0f}", f"{cost:.0f}", f"{p50:.1f} / {p99:.1f}"]
        rows.append([*cells, str(gets[name].failed + posts[name].failed), f"{statistics.median(memory[name]):.0f}"])
    one_route = "{0} ratio|{0} req/s|{0} us CPU|{0} p50 / p99 ms"
    table(f"server|{one_route.format('GET')}|{one_route.format('POST')}|failed|PSS MiB", rows)
    table(
        f"server|keep-alive|of {STREAMS} streams fed|answered beside them|worker killed: recovers|"
        "SIGTERM, 1 s request|SIGTERM, open stream",
        behaviour,
    )
    table(
        "server|request line|one header|1,000 headers|malformed line|two Content-Lengths|Content-Length and chunked|chunked",
        bounds,
    )


if __name__ == "__main__":
    main()
