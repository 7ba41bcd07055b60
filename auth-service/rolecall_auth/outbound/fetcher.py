"""The fetcher of documents that a client refers to: keys, request objects, and logos (RFC 9101 section 10.4.1).

A client that supplies a URL can make this server send a request anywhere. Therefore a fetch uses https and public
addresses only, follows no redirects, sends no credentials, uses no proxy, is limited in time and size, and is not
repeated until the response has expired.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import replace
from typing import Final
from urllib.parse import SplitResult, urldefrag, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from rolecall import clock, events, trace
from rolecall.errors import OAuthError
from rolecall.http import HttpResponse, trust
from rolecall_auth.outbound import policy
from rolecall_auth.outbound.cache import MIN_LIFETIME, CacheEntry, Fetched, freshness_lifetime
from rolecall_auth.outbound.policy import FetchError

TIMEOUT: Final = 2.0
"""Seconds for the whole fetch: name resolution, connection, TLS, headers, and body."""

MAX_BODY: Final = 64 * 1024
"""Maximum size of a body after decompression, in bytes."""

MAX_ENTRIES: Final = 256
"""Maximum number of outcomes in the cache of a process."""

MAX_CONCURRENT: Final = 16
"""Maximum number of fetches in progress, including timed-out ones whose threads are still running."""

MAX_WAITING: Final = 8
"""Maximum number of threads that wait for a fetch: half of those of a process, so that the rest can serve requests."""

MAX_PER_HOST: Final = 4
"""The share of `MAX_CONCURRENT` and of `MAX_WAITING` for one host, so that a slow host delays only its own clients."""

MAX_ADDRESSES: Final = 4
"""Maximum number of addresses that are tried per host."""


class FetchBusy(FetchError):
    """No request was sent, because too many fetches are in progress. A later attempt may succeed."""

    def refusal(self) -> OAuthError:
        """Return the error for a request that needs the content: 503 with `Retry-After`."""
        description = "Too many documents of clients are being fetched. Try again in a few seconds."
        return OAuthError("temporarily_unavailable", description, detail=str(self), status=503, retry_after=2)


class _Slots:
    """A thread-safe semaphore with a limit in total and a limit per host."""

    def __init__(self, limit: int, limit_per_host: int) -> None:
        self._limit, self._limit_per_host = limit, limit_per_host
        self._hosts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def acquire(self, host: str) -> None:
        """Take a slot; the caller must `release` it.

        Raises:
            FetchBusy: all slots are taken.
        """
        with self._lock:
            if self._hosts[host] >= self._limit_per_host:
                raise FetchBusy("too many fetches from this host are in progress")
            if self._hosts.total() >= self._limit:
                raise FetchBusy("too many fetches are in progress")
            self._hosts[host] += 1

    def release(self, host: str) -> None:
        with self._lock:
            self._hosts -= Counter([host])


class Fetcher:
    """A fetcher of URLs, which caches the outcomes. One instance per process; thread-safe.

    Args:
        lab: allow private addresses, and http on loopback and to containers.
        ca_file: certificate authorities to trust in addition to the system's.
    """

    def __init__(self, *, lab: bool, ca_file: str | None = None) -> None:
        self._lab = lab
        self._context = trust(ca_file)
        self._entries: OrderedDict[tuple[str, str], CacheEntry] = OrderedDict()
        self._pending: dict[tuple[str, str], Future[CacheEntry]] = {}
        self._lock = threading.Lock()
        self._running = _Slots(MAX_CONCURRENT, MAX_PER_HOST)
        self._waiting = _Slots(MAX_WAITING, MAX_PER_HOST)

    def has(self, url: str, *, accept: str) -> bool:
        """Return whether `get` would use the cache (content or a failure) instead of sending a request."""
        with self._lock:
            entry = self._entries.get((urldefrag(url).url, accept))
        return entry is not None and clock.cache_time() < entry.expires_at

    def get(self, url: str, *, accept: str, renew: bool = False) -> Fetched:
        """Return the content of `url`, from the cache if it is fresh (RFC 9111 section 4.2).

        Args:
            url: its fragment is not sent.
            accept: media types for the `Accept` header.
            renew: fetch again because the cached content does not fit, but not more than once in `MIN_LIFETIME`.

        Raises:
            FetchError: the fetch failed, now or within the last seconds; `FetchBusy` if no request was sent.
        """
        key = (urldefrag(url).url, accept)
        host = _host(url)
        with self._lock:
            now = clock.cache_time()
            entry = self._entries.get(key)
            renew = renew and entry is not None and not isinstance(entry.outcome, str)
            if entry is not None:
                reusable_until = entry.fetched_at + MIN_LIFETIME * entry.renewed if renew else entry.expires_at
                if now < reusable_until:
                    return entry.content()
            self._waiting.acquire(host)
            other = self._pending.get(key)
            outcome: Future[CacheEntry] = Future()
            if other is None:
                self._pending[key] = outcome
        try:
            return (self._await(other) if other is not None else self._fetch_and_store(key, outcome, renew)).content()
        finally:
            self._waiting.release(host)

    @staticmethod
    def _await(outcome: Future[CacheEntry]) -> CacheEntry:
        try:
            return outcome.result(TIMEOUT + 1)
        except TimeoutError as error:
            raise FetchError("another thread's fetch took too long") from error

    def _fetch_and_store(self, key: tuple[str, str], outcome: Future[CacheEntry], renew: bool) -> CacheEntry:
        try:
            entry = replace(self._fetch(*key), renewed=renew)
            self._store(key, entry)
            outcome.set_result(entry)
        except BaseException as error:
            outcome.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._pending[key]
        return entry

    def _store(self, key: tuple[str, str], entry: CacheEntry) -> None:
        with self._lock:
            old = self._entries.get(key)
            if isinstance(entry.outcome, str) and old is not None and entry.fetched_at < old.expires_at:
                # fresh content survives a failed renewal; otherwise an unknown `kid` could lock a client out
                entry = replace(entry, expires_at=old.expires_at, outcome=old.outcome)
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)

    def _fetch(self, url: str, accept: str) -> CacheEntry:
        headers = {"Accept": accept, "Accept-Encoding": "gzip", "traceparent": trace.outgoing()}
        headers["User-Agent"] = "Rolecall"
        fetched_at, response, failure, content = clock.cache_time(), None, None, Fetched(b"", "")
        try:
            response = self._send(url, headers)
            content = _content(response)
        except FetchBusy:
            raise
        except FetchError as error:
            failure = str(error)
        events.sent({"method": "GET", "url": url, "headers": headers, "body": None, "response": response}
                    | {"failure": None if response else failure})  # fmt: skip
        if response is None or failure is not None:
            return CacheEntry(fetched_at, fetched_at + MIN_LIFETIME, failure or "")
        return CacheEntry(fetched_at, fetched_at + freshness_lifetime(response.headers), content)

    def _send(self, url: str, headers: Mapping[str, str]) -> HttpResponse:
        """Send the request in a new thread, which is abandoned when it exceeds `TIMEOUT`.

        Name resolution cannot be interrupted, and a server can send its response slowly, so only the wait is limited.
        """
        outcome: Future[HttpResponse] = Future()
        attempt, host = _Attempt(self._lab, self._context), _host(url)
        self._running.acquire(host)

        def work() -> None:
            try:
                outcome.set_result(attempt.send(url, headers))
            except Exception as error:
                outcome.set_exception(error)
            finally:
                self._running.release(host)

        try:
            threading.Thread(target=work, name="fetch", daemon=True).start()
        except RuntimeError as error:
            self._running.release(host)
            raise FetchBusy("cannot start a thread for the fetch") from error
        try:
            return outcome.result(TIMEOUT)
        except TimeoutError as error:
            attempt.abandon()
            raise FetchError(f"the fetch took longer than {TIMEOUT:g} seconds") from error
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise FetchError(f"no HTTP response ({type(error).__name__})") from error


class _Attempt:
    """One request on a new connection."""

    def __init__(self, lab: bool, context: ssl.SSLContext) -> None:
        self._lab = lab
        self._context = context
        self._started = clock.monotonic()
        self._socket: socket.socket | None = None

    def abandon(self) -> None:
        """Shut the connection down, so that the thread that reads from it ends."""
        if self._socket is not None:
            with suppress(OSError):
                # TLS's own shutdown would interfere with the thread that is reading
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def send(self, url: str, headers: Mapping[str, str]) -> HttpResponse:
        """Return the response, whatever its status, with a body of at most `MAX_BODY` bytes.

        Raises:
            FetchError: the URL or an address of its host is not allowed, or the response is too large.
            Exception: any other error of the connection.
        """
        parts = policy.parse_url(url, lab=self._lab)
        with closing(self._connect(parts)) as connection:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"Host": parts.netloc, **headers}, preload_content=False)
            with closing(connection.getresponse()) as response:
                encoding = response.headers.get("content-encoding", "identity").strip().lower()
                if encoding not in {"identity", "gzip"}:
                    raise FetchError("the response has an encoding that was not requested")
                # urllib3 decompresses no more than this many bytes
                body = response.read(MAX_BODY + 1, decode_content=True)
        if len(body) > MAX_BODY:
            raise FetchError(f"the response is larger than {MAX_BODY} bytes")
        names = {name.lower(): value for name, value in response.headers.items()}
        return HttpResponse(response.status, names, body, (clock.monotonic() - self._started) * 1000)

    def _connect(self, parts: SplitResult) -> HTTPConnection:
        """Connect to an address that passed the policy; the name is resolved only once (DNS rebinding)."""
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        failure: Exception = FetchError("the host has no address")
        for address in policy.resolve(host, port, lab=self._lab)[:MAX_ADDRESSES]:
            connection = HTTPConnection(address, port, timeout=self._remaining())
            if parts.scheme == "https":
                connection = HTTPSConnection(
                    address, port, timeout=self._remaining(), server_hostname=host, ssl_context=self._context
                )
            try:
                connection.connect()
                self._socket = connection.sock
                connection.timeout = self._remaining()
                return connection
            except (HTTPError, OSError) as error:
                connection.close()
                failure = error
        raise failure

    def _remaining(self) -> float:
        remaining = self._started + TIMEOUT - clock.monotonic()
        if remaining <= 0:
            raise FetchError(f"the fetch took longer than {TIMEOUT:g} seconds")
        return remaining


def _host(url: str) -> str:
    """Return the host that a fetch is counted for; an invalid URL is rejected later."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _content(response: HttpResponse) -> Fetched:
    if response.status != 200:
        raise FetchError(f"status {response.status}")
    return Fetched(response.body, response.headers.get("content-type", ""))
