"""A bad connection to the S3 server of s3_server.py: a loopback proxy that spoils the requests of a test's choice.

It passes all others on unchanged, including the Host header, which is part of what S3 clients sign.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn

from tests.fakes.s3_server import HOST, S3

PASS: Final = ""
FAULTS: Final = ("slow_down", "reset_request", "reset_answer", "lost_answer", "truncated", "latency")
"""slow_down: 503, and the same for the next two requests. reset_request, reset_answer: the connection breaks after some
bytes of it. lost_answer: the server acts on it, but the answer never reaches the client. truncated: the connection ends
in the middle of the body. latency: 0.2 to 0.5 s. Two more exist: `forbidden` (403) and `silent` (no answer ever)."""

_BURST: Final = 3
_PIECE: Final = 1 << 16
_ANSWERS: Final = {"slow_down": ("503 Slow Down", "SlowDown"), "forbidden": ("403 Forbidden", "AccessDenied")}


@dataclass(frozen=True)
class Request:
    """number: from 0, in the order of arrival. conditional: a create that must not overwrite."""

    number: int
    method: str
    path: str
    conditional: bool


Choose = Callable[[Request], str]
"""The fault of a request, or PASS. Called by one thread, one request after another."""


def never(request: Request) -> str:
    return PASS


def seeded(seed: int, share: float = 0.05, faults: tuple[str, ...] = FAULTS) -> Choose:
    """Spoil this share of all requests, each with one of the faults."""
    dice, burst = random.Random(seed), 0

    def choose(request: Request) -> str:
        nonlocal burst
        if burst:
            burst -= 1
            return "slow_down"
        fault = dice.choice(faults) if dice.random() < share else PASS
        burst = _BURST - 1 if fault == "slow_down" else 0
        return fault

    return choose


def always(fault: str) -> Choose:
    return lambda request: fault


@dataclass
class Proxy:
    """s3: as the proxy's clients see it. choose: may be replaced at any time. spoilt: fault -> count."""

    s3: S3
    choose: Choose = never
    requests: int = 0
    spoilt: Counter[str] = field(default_factory=Counter)

    def fault(self, method: str, path: str, conditional: bool) -> str:
        fault = self.choose(Request(self.requests, method, path, conditional))
        self.requests += 1
        if fault:
            self.spoilt[fault] += 1
        return fault


@contextlib.contextmanager
def between(server: S3, choose: Choose = never) -> Iterator[Proxy]:
    """Start a proxy in front of `server` on a free port, in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy")
    thread.start()
    listener = socket.create_server((HOST, 0))
    proxy = Proxy(replace(server, endpoint=f"http://{HOST}:{listener.getsockname()[1]}"), choose)
    upstream = int(server.endpoint.rpartition(":")[2])
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _Client(proxy, upstream, reader, writer).serve()
        finally:
            clients.discard(task)
            writer.close()

    async def stop() -> None:
        listening.close()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, sock=listener), loop).result()
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Over(ConnectionError):
    """Ends this connection deliberately."""


@dataclass
class _Client:
    """One connection of a client: sequential requests, each over a new connection to the server."""

    proxy: Proxy
    upstream: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def serve(self) -> None:
        while head := await self.reader.readuntil(b"\r\n\r\n"):
            await self._one(head)
            await self.writer.drain()

    async def _one(self, head: bytes) -> None:
        method, path, _ = head.decode("latin-1").split(" ", 2)
        fault = self.proxy.fault(method, path, bool(_field(head, "if-none-match")))
        if _field(head, "expect"):  # the client waits for this before it sends its body
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(_field(head, "content-length") or 0)
        if fault == "silent":
            while await self.reader.read(_PIECE):  # until the client has had enough
                pass
            raise _Over
        if fault in _ANSWERS:
            await self._take(length)
            self.writer.write(_refusal(method, *_ANSWERS[fault]))
            return
        if fault == "latency":
            await asyncio.sleep(0.2 + 0.3 * (self.proxy.requests % 10) / 10)
        reader, writer = await asyncio.open_connection(HOST, self.upstream)
        try:
            writer.write(_without(_without(head, "expect"), "connection")[:-2] + b"Connection: close\r\n\r\n")
            if fault == "reset_request":
                await self._take(length // 2, writer)
                self._reset()
            await self._take(length, writer)
            await self._answer(reader, fault)
        finally:
            writer.close()

    async def _take(self, length: int, writer: asyncio.StreamWriter | None = None) -> None:
        """The next bytes of the request, to the server or nowhere."""
        while length:
            piece = await self.reader.read(min(length, _PIECE))
            if not piece:
                raise _Over
            length -= len(piece)
            if writer:
                writer.write(piece)
                await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, fault: str) -> None:
        """The body is what comes until the server closes, chunked or not."""
        if fault == "lost_answer":
            await reader.read(-1)
            self._reset()
        head = await reader.readuntil(b"\r\n\r\n")
        left = -1
        if fault in ("reset_answer", "truncated"):
            left = int(_field(head, "content-length") or 200) // 2
        self.writer.write(_without(head, "connection"))
        while left and (piece := await reader.read(min(left, _PIECE) if left > 0 else _PIECE)):
            left -= len(piece) if left > 0 else 0
            self.writer.write(piece)
            await self.writer.drain()
        if fault == "reset_answer":
            self._reset()
        if fault == "truncated":
            raise _Over

    def _reset(self) -> NoReturn:
        """Break a connection with a reset instead of closing it."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise _Over


def _field(head: bytes, name: str) -> str:
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return ""


def _without(head: bytes, name: str) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join([lines[0], *(x for x in lines[1:] if not x.lower().startswith(name.encode() + b":"))])


def _refusal(method: str, status: str, code: str) -> bytes:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code} on purpose</Message></Error>'
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body * (method != "HEAD")).encode()
