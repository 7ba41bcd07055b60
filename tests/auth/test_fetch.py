"""Fetches of URLs that clients register: hosts, and limits of size, time, and number (RFC 9101 section 10.4.1)."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rolecall import clock, events, gunicorn_conf
from rolecall_auth.outbound import fetcher as fetch
from rolecall_auth.outbound import policy
from rolecall_auth.outbound.cache import Fetched
from rolecall_auth.outbound.fetcher import MAX_BODY, Fetcher
from rolecall_auth.outbound.policy import FetchError, is_public
from rolecall_auth.services import build
from support.auth_server import make_settings
from support.sites import OK, Site, answer, running_sites


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    with running_sites() as start:
        yield start


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(lab=True)


def get(fetcher: Fetcher, url: str, **kwargs: Any) -> Fetched:
    return fetcher.get(url, accept="application/json", **kwargs)


def test_what_is_there_comes_back(fetcher: Fetcher, site: Callable[..., Site]) -> None:
    there = site(answer(b"{}", "Content-Type: application/json; charset=utf-8", "Set-Cookie: a=b"))
    assert get(fetcher, there.url("/keys?a=b#part")) == Fetched(b"{}", "application/json; charset=utf-8")
    line, *headers = there.asked[0].strip().split("\r\n")
    assert line == "GET /keys?a=b HTTP/1.1"
    names = {header.partition(":")[0].lower() for header in headers}
    assert names == {"host", "accept", "accept-encoding", "user-agent", "traceparent"}
    assert f"Host: 127.0.0.1:{there.port}" in headers


def test_what_was_sent_is_noted(fetcher: Fetcher, site: Callable[..., Site]) -> None:
    there = site(answer(b"{}"))
    with events.watching(events.Notebook()) as notebook:
        get(fetcher, there.url())
        get(fetcher, there.url())
        with pytest.raises(FetchError):
            get(fetcher, "http://127.0.0.1:1/")
    first, second = notebook.notes
    assert (first["kind"], first["url"], first["response"].status, first["failure"]) == ("sent", there.url(), 200, None)
    assert first["headers"]["traceparent"] in there.asked[0]
    assert second["response"] is None
    assert second["failure"]


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "404 Not Found",
                                    "204 No Content", "500 Oops", "206 Partial Content"])  # fmt: skip
def test_only_200_counts_and_redirects_lead_nowhere(fetcher: Fetcher, site: Callable[..., Site], status: str) -> None:
    other = site(answer(b"{}"))
    there = site(answer(b"", f"Location: {other.url()}", status=status))
    with pytest.raises(FetchError, match=f"status {status[:3]}"):
        get(fetcher, there.url())
    assert not other.asked


def drip(connection: socket.socket, first: bytes, each: bytes, stopped: threading.Event) -> None:
    connection.sendall(first)
    while not stopped.wait(0.05):
        connection.sendall(each)


SLOW: dict[str, tuple[bytes, bytes]] = {
    "says nothing": (b"", b""),
    "drips its headers": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "drips header lines": (OK, b"X-A: b\r\n" * 1),
    "drips its body": (OK + b"Content-Length: 60000\r\n\r\n", b"x"),
    "drips chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "drips without an end": (OK + b"Connection: close\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("how", SLOW)
def test_time_is_for_all_of_it(
    fetcher: Fetcher, site: Callable[..., Site], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT", 0.5)
    first, each = SLOW[how]
    there = site(lambda connection: drip(connection, first, each, there.stopped))
    with pytest.raises(FetchError, match=r"took longer|no HTTP response"):
        get(fetcher, there.url())
    if each:
        assert there.gone.wait(60), "the connection was left open"
    _until(lambda: fetcher._running._hosts.total() == 0, "a thread was left behind")


def test_a_resolver_that_never_answers_holds_nobody_up(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        never.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(fetch.socket, "getaddrinfo", getaddrinfo)
    try:
        for number in range(fetch.MAX_CONCURRENT):
            with pytest.raises(FetchError, match="took longer"):
                get(fetcher, f"https://slow{number}.test/")
        with pytest.raises(fetch.FetchBusy, match="fetches are in progress"):
            get(fetcher, "https://another.test/")
    finally:
        never.set()


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail(otherwise)


@pytest.fixture
def held(fetcher: Fetcher, site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Start this many fetches from a host that does not respond yet, each of a different path or all of the same."""
    monkeypatch.setattr(fetch, "TIMEOUT", 20.0)
    names = _with_literals(resolver(["127.0.0.1"]), socket.getaddrinfo)
    monkeypatch.setattr(fetch.socket, "getaddrinfo", names)
    go = threading.Event()
    with ThreadPoolExecutor(32) as pool:

        def hold(host: str, many: int, path: str = "/{}") -> Site:
            there = site(lambda connection: (go.wait(60), connection.sendall(answer(b"{}"))))
            before = fetcher._waiting._hosts.total()
            for number in range(many):
                pool.submit(get, fetcher, there.url(path.format(number), host=host))
            _until(lambda: fetcher._waiting._hosts.total() == before + many, "they do not wait")
            return there

        yield hold
        go.set()


@pytest.mark.parametrize("path", ["/{}", "/one"])
def test_a_slow_host_holds_up_its_own_and_nobody_elses(
    fetcher: Fetcher, site: Callable[..., Site], held: Callable[..., Site], path: str
) -> None:
    """RFC 9101 section 10.4.1: a request that waits for the fetch of another one holds a thread too, and counts."""
    slow = held("slow.test", fetch.MAX_PER_HOST, path)
    for more in ("/one", "/more"):
        with pytest.raises(fetch.FetchBusy, match="from this host"):
            get(fetcher, slow.url(more, host="slow.test"))
    assert get(fetcher, site(answer(b"good")).url()).body == b"good"


def test_half_of_what_a_process_serves_at_once_goes_on(
    fetcher: Fetcher, site: Callable[..., Site], held: Callable[..., Site]
) -> None:
    """Many slow hosts of one attacker block only new fetches: cached responses are still returned."""
    there = site(answer(b"good"))
    get(fetcher, there.url())
    held("one.test", fetch.MAX_PER_HOST)
    held("two.test", fetch.MAX_WAITING - fetch.MAX_PER_HOST)
    with pytest.raises(fetch.FetchBusy, match="fetches are in progress"):
        get(fetcher, there.url("/other"))
    assert get(fetcher, there.url()).body == b"good"
    assert gunicorn_conf.threads >= 2 * fetch.MAX_WAITING


def test_a_host_that_answers_has_its_places_back(fetcher: Fetcher, site: Callable[..., Site]) -> None:
    there = site(answer(b"{}"))
    for number in range(3 * fetch.MAX_WAITING):
        get(fetcher, there.url(f"/{number}"))
        with pytest.raises(FetchError):
            get(fetcher, f"http://127.0.0.1:1/{number}")
    assert not fetcher._waiting._hosts
    _until(lambda: not fetcher._running._hosts, "a place was kept")


HUGE: dict[str, bytes] = {
    "stated": answer(b"x" * (MAX_BODY + 1)),
    "endless chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + 30 * (b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"),
    "until the end": OK + b"Connection: close\r\n\r\n" + b"x" * (MAX_BODY + 1),
    "bomb": answer(gzip.compress(b"\0" * 60_000_000), "Content-Encoding: gzip"),
    "bomb of bombs": answer(gzip.compress(gzip.compress(b"\0" * 9_000_000)), "Content-Encoding: gzip, gzip"),
    "other encoding": answer(b"x", "Content-Encoding: br"),
    "deflate": answer(b"x", "Content-Encoding: deflate"),
    "no gzip": answer(b"x" * 20, "Content-Encoding: gzip"),
    "shorter than stated": OK + b"Content-Length: 50\r\n\r\nshort",
    "no HTTP": b"SSH-2.0-OpenSSH_9.9\r\n",
    "nothing": b"",
    "many headers": OK + b"X-A: b\r\n" * 200 + b"\r\n",
    "endless header": OK + b"X-A: " + b"b" * 70000 + b"\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("how", HUGE)
def test_what_is_too_large_or_none_is_refused(fetcher: Fetcher, site: Callable[..., Site], how: str) -> None:
    there = site(HUGE[how])
    with pytest.raises(FetchError):
        get(fetcher, there.url())


def test_a_bomb_is_not_unpacked(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is rejected as early as any large response: the decoder never returns more than the maximum."""
    import urllib3.response

    unpacked = []
    decompress = urllib3.response.GzipDecoder.decompress

    def counting(self: Any, data: bytes, max_length: int = -1) -> bytes:
        unpacked.append(len(out := decompress(self, data, max_length)))
        return out

    monkeypatch.setattr(urllib3.response.GzipDecoder, "decompress", counting)
    with pytest.raises(FetchError, match="larger than"):
        get(Fetcher(lab=True), site(HUGE["bomb"]).url())
    assert 0 < sum(unpacked) <= MAX_BODY + 1


def test_the_largest_that_is_allowed_and_gzip_come_whole(fetcher: Fetcher, site: Callable[..., Site]) -> None:
    body = bytes(range(256)) * (MAX_BODY // 256)
    assert get(fetcher, site(answer(body)).url()).body == body
    assert get(fetcher, site(answer(gzip.compress(body), "Content-Encoding: gzip")).url()).body == body


NOT_PUBLIC = """
    0.0.0.0 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.9.9.9 168.63.129.16 169.254.169.254 169.254.170.2
    172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1
    224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1
    2001:db8::1 2002:7f00:1::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%1 fec0::1 ff02::1
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450::8a"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def resolver(*answers: list[str]) -> Callable[..., Any]:
    """Return a resolver that returns these answers in order, then repeats the last; `asked` has an item per call."""
    asked = []

    def getaddrinfo(_host: str, port: int, **_: Any) -> Any:
        asked.append(1)
        each = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in each]

    getaddrinfo.asked = asked  # type: ignore[attr-defined]
    return getaddrinfo


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}/", "https://[::ffff:127.0.0.1]:{port}/", "https://2130706433:{port}/",
                                 "https://127.1:{port}/", "https://0x7f000001:{port}/", "https://localhost:{port}/",
                                 "https://0:{port}/"])  # fmt: skip
def test_production_asks_nobody_on_its_own_network(site: Callable[..., Site], url: str) -> None:
    there = site(answer(b"{}"))
    accepted = threading.Event()
    there.serve = lambda _: accepted.set()
    with pytest.raises(FetchError, match=r"not public|no HTTP response"):
        get(Fetcher(lab=False), url.format(port=there.port))
    assert not there.asked
    assert not accepted.is_set()


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.socket, "getaddrinfo", resolver(["8.8.8.8", "10.0.0.1"]))
    with pytest.raises(FetchError, match="not public"):
        get(Fetcher(lab=False), "https://mixed.example/")


def test_a_name_that_changes_its_address_is_asked_for_once(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the connection uses the address that was checked."""
    good = site(answer(b"good"))
    bad = site(answer(b"bad"), host="127.0.0.2", port=good.port)
    names = resolver(["127.0.0.1"], ["127.0.0.2"])
    monkeypatch.setattr(fetch.socket, "getaddrinfo", _with_literals(names, socket.getaddrinfo))
    monkeypatch.setattr(policy, "is_public", lambda address: str(address) == "127.0.0.1")
    fetcher = Fetcher(lab=True)
    monkeypatch.setattr(policy, "parse_url", _http_is_allowed)
    fetcher._lab = False
    assert get(fetcher, good.url(host="changing.example")).body == b"good"
    assert f"Host: changing.example:{good.port}" in good.asked[0]
    assert names.asked == [1]  # type: ignore[attr-defined]
    with pytest.raises(FetchError, match="not public"):
        get(fetcher, good.url("/again", host="changing.example"))
    assert not bad.asked


def _with_literals(names: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    """Use the real resolver for literal addresses, which urllib3 passes through it without a lookup of a name."""

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        return names(host, *args, **kwargs) if host[-1].isalpha() else real(host, *args, **kwargs)

    return getaddrinfo


def _http_is_allowed(url: str, *, lab: bool) -> Any:
    from urllib.parse import urlsplit

    return urlsplit(url)


@pytest.mark.parametrize("url", ["http://example.com/", "ftp://localhost/", "file:///etc/passwd", "gopher://localhost/",
                                 "https://user@localhost/", "https://user:secret@localhost/", "https:///keys", "https://",
                                 "", "keys", "//localhost/", "https://[::1/", "https://localhost:99999/",
                                 "https://a b/",
                                 "https://a\r\nHost: b/", "https://a\\b/", "https://é.test/", "https://\ud800/",
                                 "https://" + "a" * 64 + ".test/", "https://" + "a" * 2000, "http://10.0.0.1/",
                                 "http://169.254.169.254/latest/meta-data", "https://169.254.169.254/"])  # fmt: skip
def test_what_may_not_be_fetched_in_the_lab_either(fetcher: Fetcher, url: str) -> None:
    with pytest.raises(FetchError):
        get(fetcher, url)


@pytest.mark.parametrize("address", ["169.254.169.254", "224.0.0.1", "168.63.129.16", "[fe80::1]", "[ff02::1]",
                                     "[::ffff:169.254.169.254]", "[fd00:ec2::254]"])  # fmt: skip
def test_not_even_the_lab_asks_for_metadata(fetcher: Fetcher, address: str) -> None:
    with pytest.raises(FetchError, match="not public"):
        get(fetcher, f"https://{address}/latest/meta-data")


def test_http_on_loopback_is_for_the_lab_only(site: Callable[..., Site]) -> None:
    with pytest.raises(FetchError, match="not https"):
        get(Fetcher(lab=False), site(answer(b"{}")).url())


def test_the_lab_asks_a_container_by_its_name(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a dot cannot be on the Internet, and its address must be in a local network."""
    there = site(answer(b"{}"))
    monkeypatch.setattr(socket, "getaddrinfo", _with_literals(resolver(["127.0.0.1"]), socket.getaddrinfo))
    assert get(Fetcher(lab=True), there.url(host="my-client")).body == b"{}"
    with pytest.raises(FetchError, match="not https"):
        get(Fetcher(lab=False), there.url(host="my-client"))
    with pytest.raises(FetchError, match="not https"):
        get(Fetcher(lab=True), there.url(host="my-client.example"))
    monkeypatch.setattr(socket, "getaddrinfo", resolver(["169.254.169.254"]))
    with pytest.raises(FetchError, match="not public"):
        get(Fetcher(lab=True), "http://metadata/computeMetadata")


def test_proxies_of_the_environment_are_not_used(
    fetcher: Fetcher, site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, proxy = site(answer(b"{}")), site(answer(b"proxied"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
    assert get(fetcher, there.url()).body == b"{}"
    assert not proxy.asked


def test_https_wants_a_certificate_of_that_name(
    site: Callable[..., Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.socket, "getaddrinfo", _with_literals(resolver(["127.0.0.1"]), socket.getaddrinfo))
    context, ca_file = certificate(tmp_path, "keys.example")
    there = site(answer(b"{}"), context=context)
    trusting = Fetcher(lab=True, ca_file=ca_file)
    of_setting = build(make_settings(tmp_path, "redis://unused", ca_file=ca_file)).fetcher
    for each in (trusting, of_setting):
        assert get(each, there.url(host="keys.example", scheme="https")).body == b"{}"
    with pytest.raises(FetchError, match=r"SSL|Certificate"):
        get(trusting, there.url(host="other.example", scheme="https"))
    with pytest.raises(FetchError, match=r"SSL|Certificate"):
        get(Fetcher(lab=True), there.url(host="keys.example", scheme="https"))


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.fromtimestamp(clock.now(), UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(public + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, str(pem)
