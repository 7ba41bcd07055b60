"""The one way to what is fetched on a client's word: its keys, request objects, logo (RFC 9101 section 10.4.1).

Whoever may name a URL may make the server ask there. So: https and public addresses only, no redirects, no
credentials, no proxy, little time, few bytes, and not again until the answer is old.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import SplitResult, urldefrag, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from rolecall import clock, events, trace
from rolecall.http import Answer
from rolecall.settings import is_container, is_loopback

TIMEOUT: Final = 2.0
"""Seconds for all of it: name, connection, TLS, headers, body."""

MAX_BODY: Final = 64 * 1024
"""Bytes after decompression."""

FLOOR: Final = 5.0
"""Seconds in which a URL is asked twice at most, the second time because what came did not do; failures count."""

UNSTATED: Final = 300.0
"""Seconds that an answer is kept which does not say how long."""

DAY: Final = 86400.0
"""Seconds that an answer is kept at most."""

MAX_KEPT: Final = 256
MAX_AT_ONCE: Final = 16
MAX_ADDRESSES: Final = 4
"""Of one name, that are tried."""

_URL: Final = re.compile(r"[!-\[\]-~]{1,2000}")

_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's own, though it is of a public network
            "192.0.0.0/24",  # protocol assignments, and Oracle's metadata
            "192.88.99.0/24",  # relays from 6to4, which lead anywhere
            "2001::/23",  # protocol assignments, among them Teredo
            "2002::/16",  # 6to4 holds an IPv4 address
            "2001:db8::/32",
            "3fff::/20",
        ),
    )
)
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""All else is local or holds an IPv4 address, as that of NAT64 does (64:ff9b::/96)."""


class FetchError(Exception):
    """Nothing usable came; the text says why, for logs."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The `body` (bytes) of an answer with status 200, and its `content_type` as it was sent, maybe empty."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class _Kept:
    asked_at: float
    until: float
    outcome: Fetched | str
    renewed: bool = False


class Fetcher:
    """Fetches and keeps what it fetched; one for the life of a process, safe for threads.

    Args:
        lab: http on loopback and to containers, and private addresses, are allowed.
        ca_file: holds certificate authorities that are trusted besides the system's.
    """

    def __init__(self, *, lab: bool, ca_file: str | None = None) -> None:
        self._lab = lab
        self._context = ssl.create_default_context()
        if ca_file:
            self._context.load_verify_locations(ca_file)
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._under_way: dict[tuple[str, str], Future[_Kept]] = {}
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_AT_ONCE)

    def get(self, url: str, *, accept: str, renew: bool = False) -> Fetched:
        """What is there now, or was there not long ago (RFC 9111 section 4.2).

        Args:
            url: a fragment is not sent.
            accept: media types, for the header of that name.
            renew: what is kept does not do; it is fetched anew, but not again within `FLOOR`.

        Raises:
            FetchError: there is nothing usable, now or within the last seconds.
        """
        key = (urldefrag(url).url, accept)
        with self._lock:
            now = clock.cache_time()
            kept = self._kept.get(key)
            renew = renew and kept is not None and not isinstance(kept.outcome, str)
            if kept is not None and now < (kept.until if not renew else kept.asked_at + FLOOR * kept.renewed):
                return _usable(kept)
            others = self._under_way.get(key)
            mine: Future[_Kept] = Future()
            if others is None:
                if not self._room.acquire(blocking=False):
                    raise FetchError("too many fetches are under way")
                self._under_way[key] = mine
        if others is not None:
            try:
                return _usable(others.result(2 * TIMEOUT))
            except TimeoutError as error:
                raise FetchError("somebody else's fetch took too long") from error
        try:
            new = self._keep(key, replace(self._fetch(*key), renewed=renew))
            mine.set_result(new)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        return _usable(new)

    def _keep(self, key: tuple[str, str], new: _Kept) -> _Kept:
        with self._lock:
            old, kept = self._kept.get(key), new
            if isinstance(new.outcome, str) and old is not None and new.asked_at < old.until:
                # what is still good outlives a failure to renew it, else a wrong `kid` could shut a client out
                kept = replace(new, until=old.until, outcome=old.outcome)
            self._kept[key] = kept
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return new

    def _fetch(self, url: str, accept: str) -> _Kept:
        headers = {"Accept": accept, "Accept-Encoding": "gzip", "traceparent": trace.outgoing()}
        headers["User-Agent"] = "Rolecall"
        asked_at, answer, failure, content = clock.cache_time(), None, None, Fetched(b"", "")
        try:
            answer = self._within_time(url, headers)
            content = _content(answer)
        except FetchError as error:
            failure = str(error)
        events.sent({"method": "GET", "url": url, "headers": headers, "body": None, "answer": answer}
                    | {"failure": None if answer else failure})  # fmt: skip
        if answer is None or failure is not None:
            return _Kept(asked_at, asked_at + FLOOR, failure or "")
        return _Kept(asked_at, asked_at + _lifetime(answer.headers), content)

    def _within_time(self, url: str, headers: Mapping[str, str]) -> Answer:
        """A thread of its own may be left behind: no resolver, and no server that drips, holds up who is waiting."""
        outcome: Future[Answer] = Future()
        attempt = _Attempt(self._lab, self._context)

        def work() -> None:
            try:
                outcome.set_result(attempt.answer(url, headers))
            except Exception as error:
                outcome.set_exception(error)
            finally:
                self._room.release()

        try:
            threading.Thread(target=work, name="fetch", daemon=True).start()
        except RuntimeError as error:
            self._room.release()
            raise FetchError("no thread to fetch with") from error
        try:
            return outcome.result(TIMEOUT)
        except TimeoutError as error:
            attempt.abandon()
            raise FetchError(f"it took longer than {TIMEOUT:g} seconds") from error
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise FetchError(f"no HTTP answer ({type(error).__name__})") from error


class _Attempt:
    """One request, on a connection of its own."""

    def __init__(self, lab: bool, context: ssl.SSLContext) -> None:
        self._lab = lab
        self._context = context
        self._started = clock.monotonic()
        self._socket: socket.socket | None = None

    def abandon(self) -> None:
        """Called when time is over: whatever still reads, reads no more."""
        if self._socket is not None:
            with suppress(OSError):
                # not TLS's own shutdown, which the reading thread would stumble over
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def answer(self, url: str, headers: Mapping[str, str]) -> Answer:
        """The answer, whatever its status, with a body of up to `MAX_BODY`.

        Raises:
            FetchError: the URL or an address of its host is not allowed, or the answer too large.
            Exception: many, when there is no answer.
        """
        parts = _allowed(url, self._lab)
        with closing(self._connected(parts)) as connection:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"Host": parts.netloc, **headers}, preload_content=False)
            with closing(connection.getresponse()) as response:
                encoding = response.headers.get("content-encoding", "identity").strip().lower()
                if encoding not in {"identity", "gzip"}:
                    raise FetchError("an encoding that was not asked for")
                # urllib3 unpacks no more than it is asked for
                body = response.read(MAX_BODY + 1, decode_content=True)
        if len(body) > MAX_BODY:
            raise FetchError(f"larger than {MAX_BODY} bytes")
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, names, body, (clock.monotonic() - self._started) * 1000)

    def _connected(self, parts: SplitResult) -> HTTPConnection:
        """A connection to an address that was judged: the name is looked up once, and never again."""
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        failure: Exception = FetchError("the name has no address")
        for address in _addresses(host, port, self._lab)[:MAX_ADDRESSES]:
            connection = HTTPConnection(address, port, timeout=self._left())
            if parts.scheme == "https":
                connection = HTTPSConnection(
                    address, port, timeout=self._left(), server_hostname=host, ssl_context=self._context
                )
            try:
                connection.connect()
                self._socket = connection.sock
                connection.timeout = self._left()
                return connection
            except (HTTPError, OSError) as error:
                connection.close()
                failure = error
        raise failure

    def _left(self) -> float:
        left = self._started + TIMEOUT - clock.monotonic()
        if left <= 0:
            raise FetchError("time is over")
        return left


def is_secure(url: str, *, lab: bool) -> bool:
    """Whether a URL is https; in the lab also http on loopback, or to a container by its name.

    Raises:
        ValueError: it is no URL.
    """
    scheme = urlsplit(url).scheme
    return scheme == "https" or (scheme == "http" and lab and (is_loopback(url) or is_container(url)))


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to somebody on the Internet, and to nobody's own network (RFC 6890, RFC 6052)."""
    if any(address in network for network in _NOT_PUBLIC):
        return False
    if address.version == 6:
        return address in _GLOBAL_UNICAST and address.is_global
    return address.is_global and not address.is_multicast and not address.is_reserved


def _addresses(host: str, port: int, lab: bool) -> list[str]:
    """All of the name's, in the resolver's order; one that is not allowed spoils them all."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in found:
        address = ipaddress.ip_address(text)
        local = address.is_loopback or (address.is_private and not address.is_link_local)
        if not is_public(address) and not (lab and local):
            raise FetchError("an address that is not public")
    return found


def _allowed(url: str, lab: bool) -> SplitResult:
    if not _URL.fullmatch(url):
        raise FetchError("no URL")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise FetchError("no URL") from error
    if not parts.hostname or "@" in parts.netloc:
        raise FetchError("a URL without a host, or with a user")
    if not is_secure(url, lab=lab):
        raise FetchError("not https")
    return parts


def _content(answer: Answer) -> Fetched:
    if answer.status != 200:
        raise FetchError(f"status {answer.status}")
    return Fetched(answer.body, answer.headers.get("content-type", ""))


def _lifetime(headers: Mapping[str, str]) -> float:
    """Seconds that an answer may be kept, by its Cache-Control (RFC 9111 section 5.2.2)."""
    pairs = (part.strip().lower().partition("=") for part in headers.get("cache-control", "").split(","))
    stated = {name: value.strip('" ') for name, _, value in pairs}
    if stated.keys() & {"no-store", "no-cache"}:
        return FLOOR
    if "max-age" not in stated:
        return UNSTATED
    age = _number(headers.get("age", "0"))
    return min(max(_number(stated["max-age"]) - age, FLOOR), DAY)


def _number(text: str) -> int:
    """What is no number counts as none (RFC 9111 section 1.2.2)."""
    return int(text[:9]) if re.fullmatch("[0-9]+", text) else 0


def _usable(kept: _Kept) -> Fetched:
    if isinstance(kept.outcome, str):
        raise FetchError(kept.outcome)
    return kept.outcome
