"""Requests that HTTP/1.1 forbids, or that this server cannot serve, get an answer that says what would work."""

import logging
from collections.abc import Iterator

import pytest

from models.bundle import Bundle
from tests.service.conftest import picture
from tests.service.server.live import Address, Client, answers_to, live

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/feedback HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
MALFORMED = "malformed_request"


@pytest.fixture(scope="module")
def address(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with live(tiny_bundle, tmp_path_factory.mktemp("live"), max_head_kb=8) as (address, _):
        yield address


def head(target: bytes = b"/livez", *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version, b"".join(b"%b\r\n" % line for line in lines))


REFUSED = {
    "no Host": (head(), 400, MALFORMED, "no Host header"),
    "two Hosts": (head(b"/livez", b"Host: a", b"Host: b"), 400, MALFORMED, "2 Host headers"),
    "two Hosts, HTTP/1.0": (head(b"/livez", b"Host: a", b"Host: a", version=b"1.0"), 400, MALFORMED, "2 Host"),
    "a Host with a space": (head(b"/livez", b"Host: a b"), 400, MALFORMED, "'a b'"),
    "a Host with a path": (head(b"/livez", b"Host: a/b"), 400, MALFORMED, "'a/b'"),
    "a Host with a user": (head(b"/livez", b"Host: me@a"), 400, MALFORMED, "'me@a'"),
    "a Host with a scheme": (head(b"/livez", b"Host: http://a"), 400, MALFORMED, "'http://a'"),
    "a Host with a bad port": (head(b"/livez", b"Host: a:http"), 400, MALFORMED, "'a:http'"),
    "a Host list": (head(b"/livez", b"Host: a, b"), 400, MALFORMED, "'a, b'"),
    "a Host in UTF-8": (head(b"/livez", "Host: füchse".encode()), 400, MALFORMED, "'füchse'"),
    "a Host in open brackets": (head(b"/livez", b"Host: [::1"), 400, MALFORMED, "'[::1'"),
    "UTF-8 in the path": (head("/v1/models/Füchse".encode(), b"Host: x"), 400, MALFORMED, "as %C3%BC"),
    "UTF-8 in the query": (head("/v1/models?a=日本".encode(), b"Host: x"), 400, MALFORMED, "as %E6%97%A5%E6%9C%AC"),
    "Latin-1 in the path": (head("/v1/models/Füchse".encode("latin-1"), b"Host: x"), 400, MALFORMED, "0xfc"),
    "UTF-8 after a host": (head("http://x/v1/models/ü".encode(), b"Host: x"), 400, MALFORMED, "%C3%BC"),
    "a space in the path": (head(b"/v1/models/a b", b"Host: x"), 400, MALFORMED, "%20"),
    "a tab in the path": (head(b"/v1/models/a\tb", b"Host: x"), 400, MALFORMED, "%09"),
    "a broken escape": (head(b"/v1/models/%zz", b"Host: x"), 400, MALFORMED, "%25"),
    "half an escape": (head(b"/v1/models/100%", b"Host: x"), 400, MALFORMED, "%25"),
    "an escape that is not UTF-8": (head(b"/v1/models/F%FCchse", b"Host: x"), 400, MALFORMED, "%FC"),
    "the same in the query": (head(b"/v1/models?a=%FC", b"Host: x"), 400, MALFORMED, "%FC"),
    "a fragment": (head(b"/livez#top", b"Host: x"), 400, MALFORMED, "%23"),
    "a path without a slash": (head(b"livez", b"Host: x"), 400, MALFORMED, "begin with /"),
    "an asterisk with GET": (head(b"*", b"Host: x"), 400, MALFORMED, "'*'"),
    "another scheme": (head(b"ftp://x/livez", b"Host: x"), 400, MALFORMED, "'ftp://x/livez'"),
    "a method in small letters": (head(method=b"get"), 400, MALFORMED, "in capitals"),
    "an unknown method": (head(method=b"FETCH"), 400, MALFORMED, "a method such as GET"),
    "a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, MALFORMED, "http://"),
    "a header without a colon": (head(b"/livez", b"Host: x", b"nothing"), 400, MALFORMED, "Invalid header token"),
    "a space before the colon": (head(b"/livez", b"Host : x"), 400, MALFORMED, "Invalid header token"),
    "a folded header": (head(b"/livez", b"Host: x", b"A: b", b" c"), 400, MALFORMED, "whitespace"),
    "line feeds alone": (b"GET /livez HTTP/1.1\nHost: x\n\n", 400, MALFORMED, "CRLF"),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, MALFORMED, "Content-Length"),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400, MALFORMED, "Content-Length"),
    "a length and chunks": (
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400, MALFORMED, "Transfer-Encoding",
    ),
    "a broken chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, MALFORMED, "chunk size"),
    "a compressed transfer": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "not_supported", "'gzip, ch"),
    "CONNECT": (head(b"x:443", b"Host: x:443", method=b"CONNECT"), 501, "not_supported", "CONNECT"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported", "HTTP/1.1"),
    "HTTP/2.0 as text": (head(b"/livez", b"Host: x", version=b"2.0"), 505, "http_version_not_supported", "HTTP/2.0"),
    "HTTP/3.0": (head(b"/livez", b"Host: x", version=b"3.0"), 505, "http_version_not_supported", "HTTP/1.1"),
    "an expectation": (POST + b"Expect: gold\r\nContent-Length: 2\r\n\r\n", 417, "expectation_failed", "'gold'"),
    "a long head": (head(b"/livez?" + b"a" * 9000, b"Host: x"), 431, "head_too_large", "8 kB"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_be_served_is_told_what_would_work(address: Address, name: str) -> None:
    request, status, code, text = REFUSED[name]
    (answer,) = answers_to(address, request)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert text in answer.error["message"]
    assert answer.error["request_id"] == answer.headers["x-request-id"]
    assert answer.headers.keys() == {
        "date", "connection", "content-length", "content-type", "x-request-id", "x-content-type-options",
        "referrer-policy", "cross-origin-resource-policy", "content-security-policy", "cache-control",
    }  # fmt: skip
    assert answer.headers["connection"] == "close"


ACCEPTED = {
    "no Host, HTTP/1.0": head(version=b"1.0"),
    "an empty Host": head(b"/livez", b"Host:", b"Connection: close"),
    "a port": head(b"/livez", b"Host: example.com:8000", b"Connection: close"),
    "an empty port": head(b"/livez", b"Host: example.com:", b"Connection: close"),
    "an IPv6 address": head(b"/livez", b"Host: [::1]:80", b"Connection: close"),
    "an IPv6 zone": head(b"/livez", b"Host: [fe80::1%25eth0]", b"Connection: close"),
    "an underscore": head(b"/livez", b"Host: longtail_cpu_1", b"Connection: close"),
    "blanks around it": head(b"/livez", b"Host: \t x \t", b"Connection: close"),
    "an absolute address": head(b"http://example.com/livez", b"Host: example.com", b"Connection: close"),
    "empty lines before": b"\r\n\r\n" + LAST,
    "an escaped letter": head(b"/live%7A", b"Host: x", b"Connection: close"),
    "a percent sign in the query": head(b"/livez?share=100%", b"Host: x", b"Connection: close"),
    "an expectation without a body": head(b"/livez", b"Host: x", b"Expect: 100-Continue", b"Connection: close"),
    "close and keep-alive": head(b"/livez", b"Host: x", b"Connection: close, keep-alive"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_request_that_the_standard_allows_is_answered(address: Address, name: str) -> None:
    (answer,) = answers_to(address, ACCEPTED[name])
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
    assert answer.headers["connection"] == "close"
    assert "keep-alive" not in answer.headers


def test_a_host_in_the_address_replaces_the_header(address: Address) -> None:
    """Loading a model without a key is only for clients that call the server by a loopback name."""
    target = b"http://evil.example/v2/repository/models/tiny/unload"
    (answer,) = answers_to(address, head(target, b"Host: localhost", b"Connection: close", method=b"POST"))
    assert answer.status == 403


def test_a_refusal_under_v2_has_the_form_of_its_protocol(address: Address) -> None:
    (answer,) = answers_to(address, "GET /v2/models/Füchse HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.status == 400
    assert b"%C3%BC" in answer.body
    assert answer.body.startswith(b'{"error":"')


def test_a_refusal_keeps_the_clients_request_id(address: Address) -> None:
    (answer,) = answers_to(address, b"GET /livez HTTP/1.1\r\nX-Request-ID: mine-7\r\n\r\n")
    assert answer.headers["x-request-id"] == answer.error["request_id"] == "mine-7"


def test_a_refusal_of_head_has_no_body(address: Address) -> None:
    with Client(address) as client:
        client.send(b"HEAD /livez HTTP/1.1\r\n\r\n")
        answer = client.answer(body=False)
        assert answer is not None
        assert (answer.status, int(answer.headers["content-length"]) > 100) == (400, True)
        assert client.rest() == b""


@pytest.mark.parametrize("last", [b"hello\r\n\r\n", head(), head("/ü".encode()), head(b"/livez?" + b"a" * 9000)])
def test_requests_before_one_that_is_refused_are_answered(address: Address, last: bytes) -> None:
    *earlier, refused = answers_to(address, GET * 3 + last)
    assert [answer.status for answer in earlier] == [200] * 3
    assert refused.status in {400, 431}
    assert refused.headers["connection"] == "close"


def test_a_broken_body_behind_other_requests_is_refused_after_them(address: Address) -> None:
    first, second, refused = answers_to(address, GET * 2 + POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert (first.status, second.status, refused.status) == (200, 200, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 2\r\n\r\n[]",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTrailer: Host\r\n\r\n2\r\n[]\r\n0\r\nHost: y\r\n\r\n",
    ],
    ids=["length", "chunks", "trailers"],
)
@pytest.mark.parametrize(
    "upgrade",
    [
        b"",
        UPGRADE,
        b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n",
        b"Connection: keep-alive, upgrade\r\nUpgrade: a/1, b/2\r\n",
        b"Upgrade: h2c\r\n",
    ],
    ids=["none", "h2c", "TLS", "websocket", "several", "without Connection"],
)
def test_a_wish_to_upgrade_is_ignored_and_the_body_read(address: Address, upgrade: bytes, body: bytes) -> None:
    with Client(address) as client:
        for part in (POST + upgrade + body, GET, POST + upgrade + body + LAST):
            client.send(part)
        answers = list(iter(client.answer, None))
    assert [answer.status for answer in answers] == [200, 200, 200, 200]
    assert [answer.body for answer in answers[::2]] == [b'{"results":[]}'] * 2
    assert all("upgrade" not in answer.headers for answer in answers)


def test_the_body_of_an_upgrading_request_may_come_in_pieces(address: Address) -> None:
    data = picture(1)
    request = (
        b"POST /v1/models/tiny/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n%b\r\n"
    )
    whole = request % (len(data), UPGRADE) + data
    with Client(address) as client:
        for start in range(0, len(whole), 50):
            client.send(whole[start : start + 50])
        first = client.answer()
        client.send(whole.replace(UPGRADE, b""))
        second = client.answer()
    assert [each and each.status for each in (first, second)] == [200, 200]


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0", b"foo"])
def test_neither_an_upgrade_nor_a_refusal_is_a_warning_in_the_log(
    address: Address, caplog: pytest.LogCaptureFixture, upgrade: bytes
) -> None:
    request = head(b"/livez", b"Host: x", b"Connection: Upgrade", b"Upgrade: " + upgrade)
    assert [answer.status for answer in answers_to(address, request + GET + b"hello\r\n\r\n")] == [200, 200, 400]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_request_to_continue_is_answered_before_the_body_is_sent(address: Address) -> None:
    with Client(address) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        invited = client.answer()
        client.send(b"[]")
        answer = client.answer()
    assert [each and each.status for each in (invited, answer)] == [100, 200]
