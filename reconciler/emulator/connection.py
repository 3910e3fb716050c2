"""Answers that break off: connections closed before or within a reply, and replies that take their time.

A reply can only be broken below the application's interface, so the server's protocol hands the application
its transport, as an extension of the request's scope. Without a socket such an answer raises BrokenConnection.
"""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reconciler.emulator.clock import Pauses

_TRANSPORT = "emulator.transport"
_PIECES = 20
_MISSING = 16  # bytes that the length of an empty reply promises in vain


class BrokenConnection(Exception):
    """The connection would be closed here, if there were one."""


class Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, with a way to the connection below."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}


def _transport(scope: Scope) -> asyncio.Transport:
    extension = scope.get("extensions", {}).get(_TRANSPORT)
    if extension is None:
        raise BrokenConnection("a fault of the emulator breaks the connection")
    transport: asyncio.Transport = extension["transport"]
    return transport


async def _closed(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Broken(Response):
    """An answer in place of another one, whose background task still runs."""

    def __init__(self, instead_of: Response) -> None:
        super().__init__(bytes(instead_of.body), instead_of.status_code)
        self.raw_headers = instead_of.raw_headers
        self.background = instead_of.background

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.deliver(scope, receive, send)
        if self.background is not None:
            await self.background()

    async def deliver(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is sent of it."""
        raise NotImplementedError


class Dropped(_Broken):
    """No reply at all: the connection is closed."""

    async def deliver(self, scope: Scope, receive: Receive, send: Send) -> None:
        del send
        _transport(scope).abort()
        await _closed(receive)


class Truncated(_Broken):
    """Half a reply, then the end of the connection; its Content-Length says that more was to come."""

    async def deliver(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        length = len(self.body) or _MISSING
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        headers.append((b"content-length", str(length).encode()))
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        transport.close()
        await _closed(receive)


class Dribbled(_Broken):
    """A whole reply in small pieces over some seconds."""

    def __init__(self, instead_of: Response, seconds: float, pauses: Pauses) -> None:
        super().__init__(instead_of)
        self._seconds = seconds
        self._pauses = pauses

    async def deliver(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        body = bytes(self.body)
        size = max(1, -(-len(body) // _PIECES))
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        pause = self._seconds / (len(pieces) + 1)
        await self._pauses.wait(pause)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in pieces:
            await self._pauses.wait(pause)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
