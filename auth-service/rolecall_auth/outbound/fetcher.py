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
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from email.utils import formatdate, parsedate_to_datetime
from typing import Final
from urllib.parse import SplitResult, urldefrag, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from rolecall import clock, events, trace
from rolecall.errors import OAuthError
from rolecall.http import HttpResponse, trust
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
"""Fetches under way, among them those that nobody waits for any more."""

MAX_WAITING: Final = 8
"""Requests of others that wait here, half of what a process serves at once: the other half goes on."""

MAX_OF_HOST: Final = 4
"""Of each of these, for one host: whoever is slow holds up his own."""

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

_METADATA: Final = ipaddress.ip_network("fd00:ec2::/32")
"""Amazon's own, though it looks like anybody's private network."""


class FetchError(Exception):
    """Nothing usable came; the text says why, for logs."""


class Busy(FetchError):
    """Nothing was asked: too much is under way. Another time it may come."""

    def refusal(self) -> OAuthError:
        """For who cannot be answered without it: 503 with `Retry-After`."""
        told = "Too much is being fetched from clients. Try again in a few seconds."
        return OAuthError("temporarily_unavailable", told, detail=str(self), status=503, retry_after=2)


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


class _Room:
    """So many at once, and so many of one host; safe for threads."""

    def __init__(self, most: int, most_of_host: int) -> None:
        self._most, self._most_of_host = most, most_of_host
        self._hosts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, host: str) -> None:
        """Take a place, which somebody has to `leave`.

        Raises:
            Busy: there is none.
        """
        with self._lock:
            if self._hosts[host] >= self._most_of_host:
                raise Busy("too many fetches from this host are under way")
            if self._hosts.total() >= self._most:
                raise Busy("too many fetches are under way")
            self._hosts[host] += 1

    def leave(self, host: str) -> None:
        """Give the place back."""
        with self._lock:
            self._hosts -= Counter([host])


class Fetcher:
    """Fetches and keeps what it fetched; one for the life of a process, safe for threads.

    Args:
        lab: http on loopback and to containers, and private addresses, are allowed.
        ca_file: holds certificate authorities that are trusted besides the system's.
    """

    def __init__(self, *, lab: bool, ca_file: str | None = None) -> None:
        self._lab = lab
        self._context = trust(ca_file)
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._under_way: dict[tuple[str, str], Future[_Kept]] = {}
        self._lock = threading.Lock()
        self._under_way_at = _Room(MAX_AT_ONCE, MAX_OF_HOST)
        self._waiting_for = _Room(MAX_WAITING, MAX_OF_HOST)

    def has(self, url: str, *, accept: str) -> bool:
        """Whether `get` asks nobody: what was there, or was not there, is kept."""
        with self._lock:
            kept = self._kept.get((urldefrag(url).url, accept))
        return kept is not None and clock.cache_time() < kept.until

    def get(self, url: str, *, accept: str, renew: bool = False) -> Fetched:
        """What is there now, or was there not long ago (RFC 9111 section 4.2).

        Args:
            url: a fragment is not sent.
            accept: media types, for the header of that name.
            renew: what is kept does not do; it is fetched anew, but not again within `FLOOR`.

        Raises:
            FetchError: there is nothing usable, now or within the last seconds; `Busy` when nobody was asked.
        """
        key = (urldefrag(url).url, accept)
        host = _host(url)
        with self._lock:
            now = clock.cache_time()
            kept = self._kept.get(key)
            renew = renew and kept is not None and not isinstance(kept.outcome, str)
            if kept is not None and now < (kept.until if not renew else kept.asked_at + FLOOR * kept.renewed):
                return _usable(kept)
            self._waiting_for.enter(host)
            others = self._under_way.get(key)
            mine: Future[_Kept] = Future()
            if others is None:
                self._under_way[key] = mine
        try:
            return _usable(self._of_others(others) if others is not None else self._own(key, mine, renew))
        finally:
            self._waiting_for.leave(host)

    @staticmethod
    def _of_others(outcome: Future[_Kept]) -> _Kept:
        try:
            return outcome.result(TIMEOUT + 1)
        except TimeoutError as error:
            raise FetchError("somebody else's fetch took too long") from error

    def _own(self, key: tuple[str, str], outcome: Future[_Kept], renew: bool) -> _Kept:
        try:
            new = self._keep(key, replace(self._fetch(*key), renewed=renew))
            outcome.set_result(new)
        except BaseException as error:
            outcome.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        return new

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
        except Busy:
            raise
        except FetchError as error:
            failure = str(error)
        events.sent({"method": "GET", "url": url, "headers": headers, "body": None, "response": answer}
                    | {"failure": None if answer else failure})  # fmt: skip
        if answer is None or failure is not None:
            return _Kept(asked_at, asked_at + FLOOR, failure or "")
        return _Kept(asked_at, asked_at + _lifetime(answer.headers), content)

    def _within_time(self, url: str, headers: Mapping[str, str]) -> HttpResponse:
        """A thread of its own may be left behind: no resolver, and no server that drips, holds up who is waiting."""
        outcome: Future[HttpResponse] = Future()
        attempt, host = _Attempt(self._lab, self._context), _host(url)
        self._under_way_at.enter(host)

        def work() -> None:
            try:
                outcome.set_result(attempt.answer(url, headers))
            except Exception as error:
                outcome.set_exception(error)
            finally:
                self._under_way_at.leave(host)

        try:
            threading.Thread(target=work, name="fetch", daemon=True).start()
        except RuntimeError as error:
            self._under_way_at.leave(host)
            raise Busy("no thread to fetch with") from error
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

    def answer(self, url: str, headers: Mapping[str, str]) -> HttpResponse:
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
        return HttpResponse(response.status, names, body, (clock.monotonic() - self._started) * 1000)

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


def _is_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is of this machine or its network, and not where a cloud tells its secrets.

    Python before 3.13 sees an IPv6 address in one that holds an IPv4 address.
    """
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_private and not address.is_link_local and address not in _METADATA


def _addresses(host: str, port: int, lab: bool) -> list[str]:
    """All of the name's, in the resolver's order; one that is not allowed spoils them all."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in found:
        if not (is_public(address := ipaddress.ip_address(text)) or (lab and _is_local(address))):
            raise FetchError("an address that is not public")
    return found


def _host(url: str) -> str:
    """Whose place a fetch takes; what is no URL is refused later."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


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


def _content(answer: HttpResponse) -> Fetched:
    if answer.status != 200:
        raise FetchError(f"status {answer.status}")
    return Fetched(answer.body, answer.headers.get("content-type", ""))


def _lifetime(headers: Mapping[str, str]) -> float:
    """Seconds that an answer may be kept, by its Cache-Control, else by Expires (RFC 9111 sections 5.2.2 and 5.3)."""
    pairs = (part.strip().lower().partition("=") for part in headers.get("cache-control", "").split(","))
    stated = {name: value.strip('" ') for name, _, value in pairs}
    if stated.keys() & {"no-store", "no-cache"}:
        return FLOOR
    age = _number(headers.get("age", "0"))
    if "max-age" in stated:
        stays: float = _number(stated["max-age"]) - age
    elif "expires" in headers:
        # their clock alone is asked: what matters is how much later than the answer it is
        stays = _date(headers["expires"]) - _date(headers.get("date", formatdate(clock.now()))) - age
    else:
        return UNSTATED
    return min(max(stays, FLOOR), DAY)


def _date(text: str) -> float:
    """Seconds since the epoch; what is no date is of the past (RFC 9111 section 5.3)."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _number(text: str) -> int:
    """What is no number counts as none (RFC 9111 section 1.2.2)."""
    return int(text[:9]) if re.fullmatch("[0-9]+", text) else 0


def _usable(kept: _Kept) -> Fetched:
    if isinstance(kept.outcome, str):
        raise FetchError(kept.outcome)
    return kept.outcome
