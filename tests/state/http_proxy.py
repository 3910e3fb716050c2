"""Between a client and an HTTP server: loses requests and answers, as a network and a busy server do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

PASS = "pass"
CUT_BEFORE = "cut before the server sees it"
CUT_AFTER = "cut after the server did it"
BUSY_BEFORE = "503 before the server sees it"
BUSY_AFTER = "503 after the server did it"
SLOW = "an answer that comes late"
CONFLICT = "409 before the server sees it"
LATE = "cut, and the server sees it when it is let go"

_NO_BODY = b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable" + _NO_BODY
_CONFLICT = b"HTTP/1.1 409 Conflict" + _NO_BODY

Rule = Callable[[str, str], str]


class HttpProxy:
    """Passes requests on, each over a connection of its own; `rule` is asked about each, by method and path."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.rule: Rule = lambda _method, _path: PASS
        self.seen: list[tuple[str, str, str]] = []
        self.slow_seconds = 0.0
        self._late: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def once(self, method: str, part: str, what: str) -> None:
        """Do that to the next request of a method whose path has a part."""
        left = [what]

        def rule(found: str, path: str) -> str:
            return left.pop() if left and found == method and part in path else PASS

        self.rule = rule

    def let_go(self) -> int:
        """Let the server see what was held back; return how many requests that were."""
        late, self._late = self._late, []
        for request in late:
            self._ask(request)
        return len(late)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            request = _request(client)
            if not request:
                return
            method, path = request.split(b" ", 2)[:2]
            what = self.rule(method.decode(), path.decode())
            self.seen.append((method.decode(), path.decode(), what))
            if what == LATE:
                self._late.append(request)
            if what in (PASS, SLOW, CUT_AFTER, BUSY_AFTER):
                answer = self._ask(request)
                if what == SLOW:
                    time.sleep(self.slow_seconds)
                if what in (PASS, SLOW):
                    client.sendall(answer)
            if what in (BUSY_BEFORE, BUSY_AFTER, CONFLICT):
                client.sendall(_CONFLICT if what == CONFLICT else _BUSY)

    def _ask(self, request: bytes) -> bytes:
        head, separator, body = request.partition(b"\r\n\r\n")
        with socket.create_connection(self._server) as server:
            server.sendall(head + b"\r\nConnection: close" + separator + body)
            answer = b""
            while data := server.recv(1 << 16):
                answer += data
        return answer


def _request(client: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        data = client.recv(1 << 16)
        if not data:
            return b""
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        data = client.recv(1 << 16)
        if not data:
            return b""
        request, body = request + data, body + data
    return request
