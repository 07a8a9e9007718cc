"""Over https a file comes whole, within its limit, and from no address inside the network."""

import functools
import http.server
import io
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline.errors import WeightsError
from pipeline.models.download import IP, download, is_public
from pipeline.models.weights import Weights

PRIVATE = "a file over https never comes from an address inside the network"

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []
    """At which of our addresses a client came."""

    def do_GET(self) -> None:
        self.asked.append(self.connection.getsockname()[0])
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:127.0.0.2"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", names, "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def port(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A folder behind TLS on every loopback address, with a certificate that this process trusts."""
    (tmp_path / "model.safetensors").write_bytes(b"from afar")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), functools.partial(Handler, directory=str(tmp_path)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Handler.asked.clear()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def only(*addresses: str) -> Callable[[IP], bool]:
    """Stands for the public addresses, of which a test has none."""
    return lambda ip: str(ip) in addresses


def fetched(url: str, allowed: Callable[[IP], bool] | None = None, limit: int = 100) -> bytes:
    target = io.BytesIO()
    download(url, target, limit, allowed=allowed)
    return target.getvalue()


def test_a_file_comes_whole_also_after_a_redirect(port: int) -> None:
    place = f"https://localhost:{port}"
    allowed = only("127.0.0.1", "::1")
    assert fetched(f"{place}/model.safetensors", allowed) == b"from afar"
    assert fetched(f"{place}/to//model.safetensors", allowed) == b"from afar"
    with pytest.raises(OSError, match="404"):
        fetched(f"{place}/other.safetensors", allowed)
    with pytest.raises(OSError, match="redirect"):
        fetched(f"{place}/to//to//to//to//to//to//to//to//to//to//to//to//to//to/", allowed)


def test_more_bytes_than_the_limit_are_not_fetched(port: int) -> None:
    with pytest.raises(WeightsError, match="larger than 5 bytes, not fetched further"):
        fetched(f"https://localhost:{port}/model.safetensors", only("127.0.0.1", "::1"), limit=5)


def test_a_certificate_that_nobody_vouches_for_is_an_error(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        fetched(f"https://localhost:{port}/model.safetensors", only("127.0.0.1", "::1"))


@pytest.mark.promise(PRIVATE)
@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.0.0.2", "2130706433", "0x7f.1", "0", "[::ffff:127.0.0.1]"]
)
def test_loopback_is_refused_before_a_byte_is_sent(host: str, port: int, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no public address"):
        fetched(f"https://{host}:{port}/model.safetensors")
    with pytest.raises(WeightsError, match="no public address"):
        Weights(uri=f"https://{host}:{port}/model.safetensors", sha256="0" * 64, licence="MIT").fetch()
    assert Handler.asked == []


@pytest.mark.promise(PRIVATE)
@pytest.mark.parametrize(
    "target", ["https://127.0.0.2:{port}/model.safetensors", "//127.0.0.2:{port}/model.safetensors"]
)
def test_a_redirect_is_a_new_address(target: str, port: int) -> None:
    with pytest.raises(WeightsError, match=r"127\.0\.0\.2 is no public address"):
        fetched(f"https://127.0.0.1:{port}/to/{target.format(port=port)}", only("127.0.0.1"))
    assert len(Handler.asked) == 1


@pytest.mark.promise(PRIVATE)
@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x"])
def test_a_redirect_away_from_https_is_refused(target: str, port: int) -> None:
    with pytest.raises((WeightsError, OSError), match=r"(?i)redirect"):
        fetched(f"https://127.0.0.1:{port}/to/{target.format(port=port)}", only("127.0.0.1"))
    assert len(Handler.asked) == 1


class Rebinding:
    """A name server: the first answer is public, all later ones are not."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, *arguments: Any, **named: Any) -> list[Any]:
        self.asked += 1
        address = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return REAL(host if host.replace(".", "").isdigit() else address, port, *arguments, **named)


REAL = socket.getaddrinfo


@pytest.mark.promise(PRIVATE)
def test_a_name_that_changes_its_address_is_held_to_the_one_that_was_checked(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Rebinding("127.0.0.1", "127.0.0.2"))
    reached: list[str] = []

    def allowed(ip: IP) -> bool:
        reached.append(str(ip))
        return str(ip) == "127.0.0.1"

    assert fetched(f"https://localhost:{port}/model.safetensors", allowed) == b"from afar"
    assert reached == ["127.0.0.1"]
    with pytest.raises(WeightsError, match=r"127\.0\.0\.2 is no public address"):  # the next one is checked anew
        fetched(f"https://localhost:{port}/model.safetensors", allowed)
    assert Handler.asked == ["127.0.0.1"]


@pytest.mark.promise(PRIVATE)
def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, **_: object) -> list[Any]:
        return [*REAL("8.8.8.8", port, type=socket.SOCK_STREAM), *REAL("10.0.0.1", port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(WeightsError, match=r"10\.0\.0\.1 is no public address"):
        fetched("https://both.example/model.onnx")


@pytest.mark.promise(PRIVATE)
def test_no_proxy_resolves_the_name_for_us(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    with pytest.raises(WeightsError, match="no public address"):
        fetched("https://10.0.0.1/model.onnx")
    assert Handler.asked == []


@pytest.mark.promise(PRIVATE)
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.255.255.254", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
     "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "240.0.0.1", "192.0.2.1",
     "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
     "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::a00:1",
     "64:ff9b::169.254.169.254", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
)  # fmt: skip
def test_addresses_inside_a_network_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.0.223", "2a04:4e42::223", "::ffff:8.8.8.8"])
def test_others_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
