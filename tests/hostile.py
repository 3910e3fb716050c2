"""A server that reads requests as it should and answers in raw bytes whatever a test wants, right or wrong."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

Answer = bytes | Callable[[socket.socket], None]
"""What is sent, or what does the sending; the connection is then kept for the next request."""

MOST_SENT = 256 * 1024 * 1024
"""Where an endless answer ends after all, so that a client which takes everything fails and does not hang."""


class Request(NamedTuple):
    """A request as it came; `kind` is the step of a call that it is: files, upload, batch, call, or read."""

    kind: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Hostile:
    """Answers each kind of request with its answer in `answers`, or else as a Push API would."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self.sent = 0

    @property
    def kinds(self) -> list[str]:
        """What was asked for, in order."""
        return [request.kind for request in self.requests]

    def endless(self, piece: bytes, head: bytes = b"") -> Answer:
        """Send the piece again and again until the client hangs up; `sent` counts the bytes."""

        def send(connection: socket.socket) -> None:
            self.sent = 0
            connection.sendall(head)
            block = piece * max(1, 65536 // len(piece))
            while self.sent < MOST_SENT:
                connection.sendall(block)
                self.sent += len(block)

        return send

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request."""
        usual = {
            "files": json_answer(container(f"{self.url}/upload/file-1"), 201),
            "upload": http_answer(b"", 200),
        }
        return self.answers.get(request.kind) or usual.get(request.kind) or json_answer({}, 202)


def container(upload_uri: str, **changes: object) -> dict[str, object]:
    """Return a file container (push-api.md 2.2)."""
    required = {"x-amz-server-side-encryption": "AES256", "Content-Type": "application/octet-stream"}
    return {"uploadUri": upload_uri, "fileId": "file-1", "requiredHeaders": required} | changes


def http_answer(body: bytes, status: int = 200, kind: str = "", **headers: str) -> bytes:
    """Return an answer that is right, whatever its body; `__` in names of headers stands for a dash."""
    lines = [f"{name.replace('__', '-')}: {value}" for name, value in headers.items()]
    if kind:
        lines.append(f"Content-Type: {kind}")
    head = "\r\n".join([f"HTTP/1.1 {status} Whatever", *lines, f"Content-Length: {len(body)}"])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def json_answer(value: object, status: int) -> bytes:
    """Return an answer with a JSON body."""
    return http_answer(json.dumps(value).encode(), status, "application/json")


def closing(sent: bytes) -> Answer:
    """Send this and close the connection."""

    def send(connection: socket.socket) -> None:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_RDWR)

    return send


def dripping(sent: bytes) -> Answer:
    """Send this, and then a space every now and then."""

    def send(connection: socket.socket) -> None:
        connection.sendall(sent)
        pause = threading.Event()
        while True:
            connection.sendall(b" ")
            pause.wait(0.02)

    return send


@contextmanager
def hostile() -> Iterator[Hostile]:
    """Serve on a free loopback port for the length of a `with` block."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while request := _request(self.rfile):
                    remote.requests.append(request)
                    answer = remote.answer(request)
                    if callable(answer):
                        answer(self.connection)
                    else:
                        self.connection.sendall(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        remote = Hostile(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield remote
        finally:
            server.shutdown()
            thread.join()


def _request(stream: BinaryIO) -> Request | None:
    line = stream.readline().decode("latin-1").split()
    if len(line) < 2:
        return None
    headers = {}
    while (head := stream.readline().decode("latin-1").strip()) != "":
        name, _, value = head.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return Request(_kind(line[0], line[1]), line[0], line[1], headers, body)


def _kind(method: str, target: str) -> str:
    path = target.partition("?")[0]
    if path.startswith("/upload/"):
        return "upload"
    last = path.rsplit("/", 1)[1]
    if last in ("files", "batch"):
        return last
    return "call" if path.startswith("/push/v1/") and (method != "POST" or last == "status") else "read"
