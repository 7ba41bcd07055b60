"""Compare the HTTP servers that the Flask services could run under.

    python benchmarks/http_workers.py [ROUNDS] [SECONDS] [PART OF A NAME]

Prints Markdown tables: speed (rounds are interleaved; ratios to REFERENCE of the same round), behaviour (keep-alive,
server-sent events, stopping, a killed worker) and limits. Candidates that cannot be imported are skipped. The server
has one core and the load generator (wrk) another, so a figure is what one core does. All traffic stays on 127.0.0.1,
every wait is bounded, only processes started here are ended. This file is also the application that the servers load.
"""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from flask import Flask, Response, jsonify, request

app = Flask(__name__)

REFERENCE = "gunicorn gthread 4"
GRACE = 5  # seconds a stopping server may take for what is under way
STREAMS = 8
SILENT = 32
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


def gunicorn(kind: str, workers: int = 1, threads: int = 1, parser: str = "auto") -> str:
    settings = f"--workers {workers} --worker-class {kind} --threads {threads} --keep-alive 5 --http-parser {parser}"
    return f"gunicorn --bind 127.0.0.1:PORT {settings} --graceful-timeout {GRACE} --no-control-socket"


GRANIAN = "granian --port PORT --interface wsgi --blocking-threads"
CANDIDATES = {
    "gunicorn sync": gunicorn("sync"),
    "gunicorn gthread 1": gunicorn("gthread", threads=1),
    REFERENCE: gunicorn("gthread", threads=4),
    f"{REFERENCE}, Python parser": gunicorn("gthread", threads=4, parser="python"),
    "gunicorn gthread 16": gunicorn("gthread", threads=16),
    "gunicorn gthread 2 x 4": gunicorn("gthread", workers=2, threads=4),
    "gunicorn gthread 2 x 16": gunicorn("gthread", workers=2, threads=16),
    "gunicorn gevent": gunicorn("gevent"),
    "granian 16": f"{GRANIAN} 16 --respawn-failed-workers --workers-kill-timeout {GRACE}",
    "waitress 16": "waitress --listen=127.0.0.1:PORT --threads=16",
    "cheroot 16": "cheroot --bind=127.0.0.1:PORT --threads=16",
}


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    pids = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += [one for child in (task / "children").read_text().split() for one in tree(int(child))]
    return pids


class Server:
    """A candidate, running on the last core."""

    def __init__(self, command: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        arguments = [sys.executable, "-m", *command.replace("PORT", str(self.port)).split(), "http_workers:app"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        ours = os.sched_getaffinity(0)
        os.sched_setaffinity(0, CORES[-1:])  # inherited
        self.process = subprocess.Popen(arguments, env=environment, stdout=-3, stderr=-3)  # -3: DEVNULL
        os.sched_setaffinity(0, ours)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 10
        while self.get("/json", 1) is None and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        pids = tree(self.process.pid)
        if self.stop() is None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(5)

    def stop(self) -> float | None:
        """Send SIGTERM; the seconds until the exit, None if it takes far too long."""
        begin = time.monotonic()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE + 4)
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

    def raw(self, head: str, body: str = "") -> str:
        """Send text as it is; the status that comes back, or what happened instead."""
        answer, otherwise = b"", "closed"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(f"{head}\r\nHost: a\r\nConnection: close\r\n\r\n{body}".encode())
                while len(answer) < 65536 and (part := connection.recv(65536)):
                    answer += part
        except TimeoutError:
            otherwise = "no answer"
        except OSError:
            otherwise = "reset"
        status = answer.split()[1].decode() if answer.startswith(b"HTTP/") else otherwise
        return status + (" (read)" if b"authorization_code" in answer else "")


def load(server: Server, seconds: float, script: Path, path: str) -> tuple[float, ...]:
    """Requests a second, microseconds of the server's processor time each, p50 and p99 in ms, and failures."""

    def cpu() -> float:
        stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in tree(server.process.pid)]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    before = cpu()
    command = ["wrk", "-t1", "-c16", f"-d{seconds:g}s", "--latency", "-s", str(script)]
    command.append(f"http://127.0.0.1:{server.port}{path}")
    out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20, check=True).stdout
    used = cpu() - before
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    p50, p99 = (float(value) * unit[u] for value, u in re.findall(r"(?:50|99)%\s+([\d.]+)(us|ms|s)\b", out))
    count, rate = int(re.findall(r"(\d+) requests in", out)[0]), float(re.findall(r"Requests/sec:\s+([\d.]+)", out)[0])
    failed = sum(int(n) for n in re.findall(r"(?:3xx responses:|connect|read|write|timeout) (\d+)", out))
    return rate, used / max(count, 1) * 1e6, p50, p99, failed


def memory(server: Server) -> float:
    """Proportional set size of master and workers in MiB."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in tree(server.process.pid)]
    return sum(int(re.findall(r"^Pss:\s+(\d+)", rollup, re.M)[0]) for rollup in rollups) / 1024


def keep_alive(server: Server) -> str:
    """Whether the server keeps a connection for a second request."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=2)) as connection:
        used = set()
        for _ in range(2):
            connection.request("GET", "/json")
            used.add(connection.sock)  # a new one when the server has said that it will close
            connection.getresponse().read()
    return "yes" if len(used) == 1 else "no"


def beside(server: Server, clients: int, sent: bytes) -> tuple[str, str]:
    """Clients that stay connected: how many get events, and how ordinary requests on new connections fare meanwhile."""
    sockets = [socket.create_connection(("127.0.0.1", server.port), 2) for _ in range(clients)]
    for one in sockets:
        one.sendall(sent)
    time.sleep(1)
    fed = 0
    for one in sockets:
        one.setblocking(False)
        with contextlib.suppress(OSError):
            fed += b"data: 2" in one.recv(65536)
    times: list[float | None] = []
    deadline = time.monotonic() + 2.5
    while len(times) < 200 and time.monotonic() < deadline:
        begin = time.perf_counter()
        answered = server.get("/json", 1) is not None
        times.append((time.perf_counter() - begin) * 1000 if answered else None)
        time.sleep(0.005)
    for one in sockets:
        one.close()
    good = [one for one in times if one is not None]
    p99 = f", p99 {statistics.quantiles(good, n=100)[98]:.1f} ms" if len(good) > 1 else ""
    return f"{fed} of {clients}", f"{len(good)} of {len(times)}{p99}"


def stopping(server: Server, path: str) -> str:
    """SIGTERM while a request is under way: was it finished, and how long until the exit?"""
    answers: list[bytes | None] = []
    client = threading.Thread(target=lambda: answers.append(server.get(path, GRACE + 5)), daemon=True)
    client.start()
    time.sleep(0.4)
    seconds = server.stop()
    client.join(2)
    return f"{'finished' if any(answers) else 'cut off'}, " + (f"{seconds:.1f} s" if seconds else "did not end")


def killed(server: Server) -> str:
    """SIGKILL for the worker that answered last: seconds until requests are answered again."""
    found = re.search(rb'"pid": ?(\d+)', server.get("/json", 1) or b"")
    if found is None or int(found[1]) == server.process.pid:
        return "no (one process)"
    os.kill(int(found[1]), signal.SIGKILL)
    begin = time.monotonic()
    while time.monotonic() - begin < 8:
        if server.get("/json", 1) is not None:
            return f"yes, {time.monotonic() - begin:.1f} s"
        time.sleep(0.02)
    return "no"


def limits(server: Server) -> list[str]:
    def largest(head: str) -> str:
        last = "0"
        for size in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
            status = server.raw(head.format("a" * (size * 1024 - 100)))
            if status != "200":
                return f"{last} KiB, then {status}"
            last = str(size)
        return f"{last} KiB or more"

    post, chunks = f"POST /form HTTP/1.1\r\nContent-Type: {FORM_TYPE}", f"{len(FORM):x}\r\n{FORM}\r\n0\r\n\r\n"
    length, chunked = f"\r\nContent-Length: {len(FORM)}", "\r\nTransfer-Encoding: chunked"
    return [
        largest("GET /json?a={} HTTP/1.1"),
        largest("GET /json HTTP/1.1\r\nX-Long: {}"),
        server.raw("GET /json HTTP/1.1" + "".join(f"\r\nX-{n}: a" for n in range(1000))),
        server.raw("GARBAGE"),
        server.raw(f"{post}{length}\r\nContent-Length: 9", FORM),
        server.raw(f"{post}{length}{chunked}", chunks),
        server.raw(f"{post}{chunked}", chunks),
    ]


def table(columns: str, rows: list[list[str]]) -> None:
    names = columns.split("|")
    print("\n".join("| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *rows]) + "\n", flush=True)


def start(part: str) -> list[str]:
    """The names of the candidates that are there and start."""
    for name in ("flask", "gunicorn", "gunicorn_h1c", "gevent", "granian", "waitress", "cheroot"):
        with contextlib.suppress(PackageNotFoundError):
            print(f"{name} {version(name)}")
    names = []
    for name, command in CANDIDATES.items():
        needed = [command.split()[0], *re.findall("gevent", command)]
        if missing := [module for module in needed if find_spec(module) is None]:
            print(f"{name}: skipped, {missing[-1]} cannot be imported")
        elif part in name:
            with Server(command) as server:
                works = server.process.poll() is None
            names += [name] if works else []
            print(f"{name}: {'included' if works else 'skipped, does not start'}")
    return names


def main(rounds: int = 3, seconds: float = 5, part: str = "") -> None:
    results: dict[str, list[list[float]]] = {name: [] for name in start(part)}  # a row a round: GET, POST, memory
    with TemporaryDirectory() as folder:
        get, post = Path(folder, "get.lua"), Path(folder, "post.lua")
        get.write_text("")
        post.write_text(f'wrk.method="POST" wrk.body="{FORM}" wrk.headers["Content-Type"]="{FORM_TYPE}"')
        for _, name in [(n, name) for n in range(rounds) for name in results]:
            with Server(CANDIDATES[name]) as server:
                load(server, 1, get, "/json")  # warm
                speeds = load(server, seconds, get, "/json") + load(server, seconds, post, "/form")
                results[name].append([*speeds, memory(server)])
    rows = []
    for name, own in results.items():
        row = [name]
        for n in (0, 5):
            rate, cost, p50, p99 = (statistics.median(one[n + k] for one in own) for k in range(4))
            pairs = zip(own, results.get(REFERENCE, own), strict=True)
            ratio = statistics.median(one[n] / reference[n] for one, reference in pairs)
            row += [f"**{ratio:.2f}**", f"{rate:,.0f}", f"{cost:.0f}", f"{p50:.1f} / {p99:.1f}"]
        failed, size = sum(one[4] + one[9] for one in own), statistics.median(one[10] for one in own)
        rows.append([*row, f"{failed:.0f}", f"{size:.0f}"])
    one = "ratio|req/s|CPU us|p50 / p99 ms"
    table(f"server|GET {one}|POST {one}|failed|PSS MiB", rows)
    rows, bounds = [], []
    for name in results:
        with Server(CANDIDATES[name]) as server:
            row = [name, keep_alive(server), *beside(server, STREAMS, b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")]
            row.append(killed(server))
            bounds.append([name, *limits(server)])
        for path in ("/slow", "/events"):
            with Server(CANDIDATES[name]) as server:
                row.append(stopping(server, path))
        for sent in (b"", b"GET /json HT"):
            with Server(CANDIDATES[name]) as server:
                row.append(beside(server, SILENT, sent)[1])
        rows.append(row)
    asked = f"of {STREAMS} streams fed|answered beside them|worker killed: recovers|SIGTERM in a 1 s request"
    asked += f"|SIGTERM with a stream open|answered beside {SILENT} idle|beside {SILENT} half-sent"
    table(f"server|keep-alive|{asked}", rows)
    table("server|request line|header|1,000 headers|bad line|two lengths|length and chunked|chunked", bounds)


CORES = sorted(os.sched_getaffinity(0))
if __name__ == "__main__":
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed and not on the path")
    os.sched_setaffinity(0, CORES[:1])
    main(*[kind(value) for kind, value in zip((int, float, str), sys.argv[1:], strict=False)])
