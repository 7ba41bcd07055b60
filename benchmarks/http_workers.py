"""Compare the HTTP servers that the Flask services could run under.

    python benchmarks/http_workers.py [ROUNDS] [SECONDS] [PART OF A NAME]

Prints Markdown tables: speed (rounds are interleaved; ratios to REFERENCE of the same round), behaviour (keep-alive,
server-sent events, stopping, a killed worker, silent clients) and limits. Candidates that cannot be imported are
skipped. Needs wrk, which has one core; the server has another, so a figure is what one core does. All traffic stays on
127.0.0.1, every wait is bounded, only processes started here are ended. The servers load this file as application.
"""

import contextlib
import http.client
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Self

from flask import Flask, Response, jsonify, request

app = Flask(__name__)

REFERENCE = "gunicorn gthread 4"
GRACE = 3  # seconds a stopping server may take for what is under way
STREAMS, SILENT = 8, 32  # clients
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
    def event(number: int) -> str:
        time.sleep(0.2)
        return f"data: {number}\n\n"

    return Response(map(event, range(200)), mimetype="text/event-stream")


def gunicorn(kind: str, workers: int = 1, threads: int = 1, parser: str = "auto") -> str:
    settings = f"--workers {workers} --worker-class {kind} --threads {threads} --keep-alive 5 --http-parser {parser}"
    return f"gunicorn --bind 127.0.0.1:PORT {settings} --graceful-timeout {GRACE} --no-control-socket"


CANDIDATES = {
    "gunicorn sync": gunicorn("sync"),
    **{f"gunicorn gthread {n}": gunicorn("gthread", 1, n) for n in (1, 4, 16)},
    f"{REFERENCE}, Python parser": gunicorn("gthread", 1, 4, parser="python"),
    **{f"gunicorn gthread 2 x {n}": gunicorn("gthread", 2, n) for n in (4, 16)},
    "gunicorn gevent": gunicorn("gevent"),
    "granian 16": "granian --port PORT --interface wsgi --blocking-threads 16 --respawn-failed-workers"
    f" --workers-kill-timeout {GRACE}",
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
        self.process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        os.sched_setaffinity(self.process.pid, CORES[-1:])

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 10
        while self.get("/json", 1) is None and time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        pids = tree(self.process.pid)
        for pid in pids if self.stop() is None else []:
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
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read() if response.status == 200 else None
        return None

    def raw(self, head: str, body: str = "") -> str:
        """Send text as it is; the status that comes back, or what happened instead."""
        answer, otherwise = b"", "closed"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(f"{head}\r\nHost: a\r\nConnection: close\r\n\r\n{body}".encode())
                while len(answer) < 65536 and (part := connection.recv(65536)):
                    answer += part
        except OSError as error:
            otherwise = "no answer" if isinstance(error, TimeoutError) else "reset"
        status = answer.split()[1].decode() if answer.startswith(b"HTTP/") else otherwise
        return status + (" (read)" if b"authorization_code" in answer else "")


def load(server: Server, seconds: int, script: str, path: str) -> list[float]:
    """Requests/s, the server's processor time for each (us), p50 and p99 (ms), failures, its PSS (MiB) after."""

    def proc(name: str) -> list[str]:
        return [Path(f"/proc/{pid}/{name}").read_text() for pid in tree(server.process.pid)]

    def cpu() -> float:
        stats = [text.rsplit(")", 1)[1].split() for text in proc("stat")]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    before = cpu()
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", "-s", script]
    command.append(f"http://127.0.0.1:{server.port}{path}")
    out = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20, check=True).stdout
    found = re.findall(r"(?:50|99)%\s+([\d.]+)(us|ms|s)\b", out)
    p50, p99 = (float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit] for value, unit in found)
    count, rate = int(re.findall(r"(\d+) requests in", out)[0]), float(re.findall(r"Requests/sec:\s+([\d.]+)", out)[0])
    failed = sum(int(n) for n in re.findall(r"(?:3xx responses:|connect|read|write|timeout) (\d+)", out))
    pss = sum(int(re.findall(r"^Pss:\s+(\d+)", text, re.M)[0]) for text in proc("smaps_rollup")) / 1024
    return [rate, (cpu() - before) / max(count, 1) * 1e6, p50, p99, failed, pss]


def keep_alive(server: Server) -> str:
    used = set()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=2)) as connection:
        for _ in range(2):
            connection.request("GET", "/json")
            used.add(connection.sock)  # a new one when the server has said that it will close
            connection.getresponse().read()
    return "yes" if len(used) == 1 else "no"


def beside(server: Server, clients: int, sent: bytes) -> tuple[str, str]:
    """Clients that stay connected: how many get events, and how ordinary requests on new connections fare meanwhile."""
    times: list[float] = []
    asked = fed = 0
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 2)) for _ in range(clients)]
        for one in sockets:
            one.sendall(sent)
            one.setblocking(False)
        time.sleep(1)
        for one in sockets:
            with contextlib.suppress(OSError):
                fed += b"data: 2" in one.recv(65536)
        deadline = time.monotonic() + 2
        while asked < 200 and time.monotonic() < deadline:
            asked, begin = asked + 1, time.perf_counter()
            if server.get("/json", 1) is not None:
                times.append((time.perf_counter() - begin) * 1000)
            time.sleep(0.005)
    p99 = f", p99 {statistics.quantiles(times, n=100)[98]:.1f} ms" if len(times) > 1 else ""
    return f"{fed} of {clients}", f"{len(times)} of {asked}{p99}"


def stopping(server: Server, path: str) -> str:
    """SIGTERM while a request is under way: was it finished, and how long until the exit?"""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.get, path, GRACE + 5)
        time.sleep(0.4)
        seconds = server.stop()
    return f"{'finished' if answer.result() else 'cut off'}, " + (f"{seconds:.1f} s" if seconds else "did not end")


def killed(server: Server) -> str:
    """SIGKILL for the worker that answered last: seconds until requests are answered again."""
    found = re.search(rb'"pid": ?(\d+)', server.get("/json", 10) or b"")
    if found is None or int(found[1]) == server.process.pid:
        return "no (one process)" if found else "did not answer"
    os.kill(int(found[1]), signal.SIGKILL)
    begin = time.monotonic()
    while server.get("/json", 1) is None:
        if time.monotonic() - begin > 8:
            return "no"
        time.sleep(0.02)
    return f"yes, {time.monotonic() - begin:.1f} s"


def limits(server: Server) -> list[str]:
    def largest(head: str) -> str:
        for size in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
            if (status := server.raw(head.format("a" * (size * 1024 - 100)))) != "200":
                return f"{size // 2} KiB, then {status}"
        return "1 MiB or more"

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


def main(rounds: int = 3, seconds: int = 5, part: str = "") -> None:
    packages = {"flask", "gunicorn", "gunicorn_h1c", "gevent", "granian", "waitress", "cheroot"}
    print(*sorted({f"{one.name} {one.version}" for one in distributions() if one.name.lower() in packages}), sep="\n")
    results: dict[str, list[list[float]]] = {}  # a list a round: GET, then POST
    for name, command in CANDIDATES.items():
        with Server(command) as server:
            if server.process.poll() is not None:
                print(f"{name}: skipped, cannot be imported or does not start")
            elif part in name:
                results[name] = []
    with NamedTemporaryFile(suffix=".lua") as post:
        Path(post.name).write_text(f'wrk.method="POST" wrk.body="{FORM}" wrk.headers["Content-Type"]="{FORM_TYPE}"')
        for _, name in [(n, name) for n in range(rounds) for name in results]:
            with Server(CANDIDATES[name]) as server:
                load(server, 1, os.devnull, "/json")  # warm
                routes = ((os.devnull, "/json"), (post.name, "/form"))
                results[name].append([value for one in routes for value in load(server, seconds, *one)])
    speed, behaviour, bounds = [], [], []
    for name, own in results.items():
        row = [name]
        for n in (0, 6):
            rate, cost, p50, p99 = (statistics.median(one[n + k] for one in own) for k in range(4))
            pairs = zip(own, results.get(REFERENCE, own), strict=True)
            ratio = statistics.median(one[n] / reference[n] for one, reference in pairs)
            row += [f"**{ratio:.2f}**", f"{rate:,.0f}", f"{cost:.0f}", f"{p50:.1f} / {p99:.1f}"]
        failed, pss = sum(one[4] + one[10] for one in own), statistics.median(one[11] for one in own)
        speed.append([*row, f"{failed:.0f}", f"{pss:.0f}"])
    one = "ratio|req/s|CPU us|p50 / p99 ms"
    table(f"server|GET {one}|POST {one}|failed|PSS MiB", speed)
    for name in results:
        with Server(CANDIDATES[name]) as server:
            bounds.append([name, *limits(server)])
            row = [name, keep_alive(server), *beside(server, STREAMS, b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")]
            row.append(killed(server))
        for path in ("/slow", "/events"):
            with Server(CANDIDATES[name]) as server:
                row.append(stopping(server, path))
        for sent in (b"", b"GET /json HT"):
            with Server(CANDIDATES[name]) as server:
                row.append(beside(server, SILENT, sent)[1])
        behaviour.append(row)
    asked = f"of {STREAMS} streams fed|answered beside them|worker killed: recovers|SIGTERM in a 1 s request"
    asked += f"|SIGTERM with a stream open|answered beside {SILENT} idle|beside {SILENT} half-sent"
    table(f"server|keep-alive|{asked}", behaviour)
    table("server|request line|header|1,000 headers|bad line|two lengths|length and chunked|chunked", bounds)


CORES = sorted(os.sched_getaffinity(0))
if __name__ == "__main__":
    os.sched_setaffinity(0, CORES[:1])
    main(*[kind(value) for kind, value in zip((int, int, str), sys.argv[1:], strict=False)])
