"""Downloads over https: from public addresses only, without a proxy, up to a size.

An address in a config may name a host of a private network that this machine can reach and the config's author cannot
(SSRF). So a name is resolved once, all its addresses must be public, and the connection goes to one of these addresses:
a name that resolves differently a moment later (DNS rebinding) changes nothing. Each redirect is checked the same way.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterable
from http.client import HTTPMessage
from typing import IO, Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from pipeline.errors import WeightsError

IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_SECONDS: Final = 60
_CHUNK: Final = 1 << 20
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64: an IPv4 address inside an IPv6 address


def download(url: str, target: IO[bytes], limit: int, *, allowed: Callable[[IP], bool] | None = None) -> None:
    """Copy the bytes at an https: address into `target`, at most `limit`. allowed: tells whether an IP address may be
    connected to, by default `is_public`. Raises WeightsError, OSError or HTTPException."""
    opener = urllib.request.OpenerDirector()  # bare: no http, ftp, file or data, no proxy that would resolve names
    for handler in (
        _Https(allowed or is_public),
        _Redirect(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    with opener.open(url, timeout=_SECONDS) as answer:
        copy(answer, target, limit, url)


def is_public(ip: IP) -> bool:
    """Return False for loopback, private, link-local, shared, reserved and multicast addresses, also inside an IPv6
    address."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return is_public(ip.ipv4_mapped)
        if ip.sixtofour or ip.teredo or ip in _TRANSLATED or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class Readable(Protocol):
    def read(self, n: int, /) -> bytes: ...


def copy(source: Readable, target: IO[bytes], limit: int, what: str) -> None:
    """Copy a stream. Raises WeightsError when it has more bytes than `limit`. what: names the source in messages."""
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise WeightsError(f"{what}: larger than {limit} bytes, not fetched further")
        target.write(chunk)


class _Connection(http.client.HTTPSConnection):
    def __init__(self, host: str, timeout: float, context: ssl.SSLContext, allowed: Callable[[IP], bool]) -> None:
        super().__init__(host, timeout=timeout, context=context)
        self._trusted = context
        self._allowed = allowed

    def connect(self) -> None:
        answers = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        addresses = [str(answer[4][0]) for answer in answers]
        for address in addresses:
            if not self._allowed(ipaddress.ip_address(address.partition("%")[0])):
                raise WeightsError(f"https://{self.host}: {address} is no public address; use file: for your own")
        plain = _first((address, self.port) for address in addresses)
        plain.settimeout(self.timeout)
        self.sock = self._trusted.wrap_socket(plain, server_hostname=self.host)


def _first(places: Iterable[tuple[str, int]]) -> socket.socket:
    """Connect to the first address that answers. `places` are IP addresses, so nothing is resolved again."""
    failure = OSError("the name has no address")
    for place in places:
        try:
            return socket.create_connection(place, timeout=_SECONDS)
        except OSError as error:
            failure = error
    raise failure


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, allowed: Callable[[IP], bool]) -> None:
        self._trusted = ssl.create_default_context()
        super().__init__(context=self._trusted)
        self._allowed = allowed

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connection(host: str, *, timeout: float) -> _Connection:
            return _Connection(host, timeout, self._trusted, self._allowed)

        return self.do_open(connection, req)  # type: ignore[arg-type]  # urllib passes these two only


class _Redirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise WeightsError(f"{req.full_url}: redirects to another scheme than https; name the final address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
