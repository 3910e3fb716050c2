"""The way to the remote over real sockets: proxies, certificates, and servers that never come to an end."""

from __future__ import annotations

import base64
import http.client
import logging
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import httpx
import pytest

from reconciler.calls.compile import compile_calls
from reconciler.calls.context import SourceRef, WireContext
from reconciler.planning.change import Action, Change
from reconciler.problems import UsageError
from reconciler.pushapi.client import PushClient
from reconciler.pushapi.failures import CallFailed
from reconciler.pushapi.http import Http, Network, NoReply, Timeouts
from reconciler.pushapi.retry import RetryPolicy
from reconciler.pushapi.session import Progress, Session
from tests.builders import KEY, ORGANIZATION, SHARED_ID, Remote, item
from tests.conftest import ON_CI

FILES = f"/push/v1/organizations/{ORGANIZATION}/files"
ONCE = RetryPolicy(attempts=1)


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what some of these tests are about."""


@contextmanager
def serving(server: Tcp) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- proxies ---------------------------------------------------------------------------------------


class Proxy:
    """An HTTP proxy that writes down what it sees; `routes` says where the names of hosts lead."""

    def __init__(self, routes: dict[str, int] | None = None, credentials: str = "") -> None:
        self.routes = routes or {}
        self.credentials = credentials
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        proxy = self

        class Handler(Quiet):
            def admitted(self) -> bool:
                headers = {name.lower(): value for name, value in self.headers.items()}
                proxy.seen.append((self.command, self.path, headers))
                wanted = base64.b64encode(proxy.credentials.encode()).decode()
                if not proxy.credentials or headers.get("proxy-authorization") == f"Basic {wanted}":
                    return True
                self.send_response(407)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return False

            def do_CONNECT(self) -> None:
                if not self.admitted():
                    return
                host, _, port = self.path.rpartition(":")
                with socket.create_connection(("127.0.0.1", proxy.routes.get(host, int(port)))) as there:
                    self.send_response(200)
                    self.end_headers()
                    back = threading.Thread(target=pump, args=(there, self.connection))
                    back.start()
                    pump(self.connection, there)
                    back.join()
                self.close_connection = True

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if not self.admitted():
                    return
                parts = urlsplit(self.path)
                port = proxy.routes.get(parts.hostname or "", parts.port or 80)
                there = http.client.HTTPConnection("127.0.0.1", port)
                headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
                there.request(self.command, self.path.partition(parts.netloc)[2], body, headers)
                answer = there.getresponse()
                content = answer.read()
                there.close()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                self.forward()

            def do_PUT(self) -> None:
                self.forward()

        self.server = Tcp(("127.0.0.1", 0), Handler)

    @contextmanager
    def running(self) -> Iterator[str]:
        with serving(self.server) as port:
            yield f"http://127.0.0.1:{port}"


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def session(network: Network | None = None, **options: Any) -> Session:
    return Session(KEY, user_agent="reconciler/test", network=network, **{"policy": ONCE, **options})


def asked(session: Session, url: str) -> Any:
    """Ask for a file container, and return it."""
    progress = Progress("call 1")
    return session.run(lambda: session.exchange(progress, "container", "POST", url), progress).json()


def test_everything_goes_through_the_projects_proxy_and_storage_never_sees_the_key(remote: Remote) -> None:
    proxy = Proxy()
    with proxy.running() as address:
        network = Network(proxy=address)
        api, storage = session(network), Http(headers={}, network=network)
        container = asked(api, remote.url + FILES)
        reply = storage.exchange("PUT", container["uploadUri"], headers=container["requiredHeaders"], content=b"{}")
        api.close()
        storage.close()
    assert reply.status == 200
    (_, first, api_headers), (_, second, storage_headers) = proxy.seen
    assert first == remote.url + FILES
    assert api_headers["authorization"] == f"Bearer {KEY}"
    # Every byte of a signed address arrives as it was (push-api.md 8).
    assert second == container["uploadUri"]
    assert storage_headers.keys().isdisjoint({"authorization", "proxy-authorization"})
    assert [entry["status"] for entry in remote.requests()] == [201, 200]


def test_a_batch_goes_through_the_proxy_step_by_step(remote: Remote) -> None:
    context = WireContext(ORGANIZATION, {"blog": SourceRef(SHARED_ID, None)}, {})
    made = [item(f"https://x/{number}", source="blog", title="t") for number in range(3)]
    changes = [Change(resource.address, Action.CREATE, "new", None, resource) for resource in made]
    [call] = compile_calls(changes, context).calls
    by_address = {resource.address: resource for resource in made}
    proxy = Proxy()
    with (
        proxy.running() as address,
        PushClient(f"{remote.url}/push/v1", KEY, network=Network(proxy=address)) as client,
    ):
        client.send(
            call,
            ordering_id=1_700_000_000_000,
            resources=[by_address[covered.address] for covered in call.covers],
            bodies=mock.Mock(spec=()),
            context=context,
        )
    keys = [headers.get("authorization") for _, _, headers in proxy.seen]
    assert keys == [f"Bearer {KEY}", None, f"Bearer {KEY}"]
    assert len(remote.contents()["items"][SHARED_ID]) == 3


@pytest.mark.parametrize("proxied", [False, True])
def test_an_address_travels_byte_by_byte(proxied: bool) -> None:
    """A signature covers them all (push-api.md 8), and httpx would write some in its own way."""
    path = '/a%2fb/[1]?sig=a|b^c%2f"&x='
    heads: list[bytes] = []

    def answers(connection: socket.socket) -> None:
        heads.append(connection.recv(65536))
        connection.sendall(ANSWER)

    with server(answers) as url:
        address = f"{url.rstrip('/')}{path}"
        http = Http(headers={}, network=Network(proxy=url) if proxied else None)
        http.exchange("PUT", address)
        http.close()
    assert heads[0].split(b" ")[1].decode() == (address if proxied else path)


def test_the_environments_proxy_is_for_other_machines(monkeypatch: pytest.MonkeyPatch, remote: Remote) -> None:
    port = urlsplit(remote.url).port
    assert port is not None
    proxy = Proxy({"remote.example": port, "left.out.example": port}, credentials="me:pa55word")
    with proxy.running() as address:
        monkeypatch.setenv("HTTP_PROXY", address.replace("//", "//me:pa55word@"))
        monkeypatch.setenv("NO_PROXY", "out.example")
        api = session()
        assert asked(api, f"http://remote.example{FILES}")["fileId"]
        # This machine is never asked for by a proxy, which would take its addresses for its own.
        assert asked(api, remote.url + FILES)["fileId"]
        api.close()
        assert [path for _, path, _ in proxy.seen] == [f"http://remote.example{FILES}"]

        network = Network()
        assert network.proxy_for(httpx.URL("http://remote.example")) is not None
        assert network.proxy_for(httpx.URL("http://left.out.example")) is None
        assert network.proxy_for(httpx.URL("https://remote.example")) is None
        monkeypatch.setenv("NO_PROXY", "*")
        assert network.proxy_for(httpx.URL("http://remote.example")) is None


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxys_password_is_shown_by_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    caplog.set_level(logging.DEBUG)
    proxy = Proxy(credentials="me:other")
    monkeypatch.delenv("NO_PROXY")
    with proxy.running() as address:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", address.replace("//", "//me:pa55word@"))
        api = session(policy=RetryPolicy())
        with pytest.raises(CallFailed) as caught:
            asked(api, f"{scheme}://remote.example{FILES}")
        api.close()
    (problem,) = caught.value.problems
    [(method, path, headers)] = proxy.seen
    assert problem.code == "proxy-refused"
    if scheme == "https":
        assert "the proxy refuses: 407 Proxy Authentication Required" in problem.what
        assert (method, path, "authorization" in headers) == ("CONNECT", "remote.example:443", False)
    shown = "".join(traceback.format_exception(caught.value)) + repr(problem) + caplog.text + repr(api)
    assert "pa55word" not in shown
    assert base64.b64encode(b"me:pa55word").decode() not in shown


@pytest.mark.parametrize("proxy", ["socks5://me:pa55word@127.0.0.1:1", "ftp://127.0.0.1", "http://", "http://[::1"])
def test_a_proxy_that_speaks_no_http_is_told_unseen(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UsageError) as caught:
        Network().check("https://remote.example/push/v1")
    assert caught.value.problems[0].code == "proxy-unusable"
    assert "pa55word" not in "".join(traceback.format_exception(caught.value))


# -- certificates ----------------------------------------------------------------------------------


def openssl(*arguments: str, folder: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ca.pem`, and `server.pem` that it signed for localhost and remote.example."""
    if shutil.which("openssl") is None and not os.environ.get(ON_CI):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*new, "-x509", "-subj", "/CN=Test CA", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", folder=folder)
    openssl(*new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr", folder=folder)
    (folder / "names").write_text("subjectAltName=DNS:localhost,DNS:remote.example,IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.crt", folder=folder)
    text = (folder / "server.key").read_text() + (folder / "server.crt").read_text()
    (folder / "server.pem").write_text(text)
    return folder


@pytest.fixture
def secure_port(certificates: Path) -> Iterator[int]:
    """The port of an https server that answers every POST with a file container."""

    class Handler(Quiet):
        def do_POST(self) -> None:
            self.send_response(201)
            self.send_header("Content-Length", "16")
            self.end_headers()
            self.wfile.write(b'{"fileId": "f1"}')

    class Server(Tcp):
        def finish_request(self, request: Any, client_address: Any) -> None:
            with context.wrap_socket(request, server_side=True) as wrapped:
                self.RequestHandlerClass(wrapped, client_address, self)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    with serving(Server(("127.0.0.1", 0), Handler)) as port:
        yield port


def test_the_projects_certificates_are_trusted_through_a_tunnel_too(certificates: Path, secure_port: int) -> None:
    ca_file = str(certificates / "ca.pem")
    proxy = Proxy({"remote.example": secure_port})
    with proxy.running() as address:
        direct, tunnelled = session(Network(ca_file=ca_file)), session(Network(proxy=address, ca_file=ca_file))
        assert asked(direct, f"https://localhost:{secure_port}/files") == {"fileId": "f1"}
        assert asked(tunnelled, "https://remote.example/files") == {"fileId": "f1"}
        direct.close()
        tunnelled.close()
    [(method, path, headers)] = proxy.seen
    assert (method, path, "authorization" in headers) == ("CONNECT", "remote.example:443", False)


def test_the_environments_certificates_are_trusted(
    monkeypatch: pytest.MonkeyPatch, certificates: Path, secure_port: int
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    api = session()
    assert asked(api, f"https://127.0.0.1:{secure_port}/files") == {"fileId": "f1"}
    api.close()


def test_an_unknown_certificate_is_refused_at_once(secure_port: int) -> None:
    waits: list[float] = []
    api = session(policy=RetryPolicy(), sleep=waits.append)
    with pytest.raises(CallFailed) as caught:
        asked(api, f"https://localhost:{secure_port}/files")
    api.close()
    (problem,) = caught.value.problems
    assert (problem.code, caught.value.outcome, waits) == ("remote-untrusted", "refused", [])
    assert "caFile" in problem.fix


@pytest.mark.parametrize("content", [None, "", "no certificate\n", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
@pytest.mark.parametrize("by", ["file", "environment"])
def test_certificates_that_are_none_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, by: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    if by == "environment":
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    network = Network(ca_file=str(path) if by == "file" else None)
    with pytest.raises(UsageError) as caught:
        network.check("https://remote.example")
    (problem,) = caught.value.problems
    assert problem.code == "ca-file-unusable"
    assert ("ca.pem" if by == "file" else "SSL_CERT_FILE") in problem.what


def test_certificates_are_loaded_once_and_only_for_https(monkeypatch: pytest.MonkeyPatch, remote: Remote) -> None:
    loaded: list[object] = []
    original = ssl.create_default_context

    def counted(*arguments: Any, **options: Any) -> ssl.SSLContext:
        loaded.append(options)
        return original(*arguments, **options)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    # Another environment than that of other tests, which may have loaded theirs already.
    monkeypatch.setenv("SSL_CERT_DIR", str(Path(__file__).parent))
    api = session()
    assert asked(api, remote.url + FILES)["fileId"]
    api.close()
    Network().check(remote.url)
    assert loaded == []
    assert Network().trust() is Network().trust()
    Network().check("https://remote.example")
    assert len(loaded) == 1


# -- servers without an end ------------------------------------------------------------------------

HEAD = b"HTTP/1.1 201 Created\r\n"
ANSWER = HEAD + b"Content-Length: 2\r\n\r\n{}"


def endless(connection: socket.socket, piece: bytes) -> None:
    """Send the piece again and again."""
    pause = threading.Event()
    with suppress(OSError):
        while True:
            connection.sendall(piece)
            pause.wait(0.01)


def drips_headers(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(HEAD + b"X: ")
    endless(connection, b"x")


def drips_after_an_answer(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(ANSWER)
    drips_headers(connection)


def is_never_quite_ready(connection: socket.socket) -> None:
    connection.recv(65536)
    endless(connection, b"HTTP/1.1 102 Processing\r\n\r\n")


def drips_a_body(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    endless(connection, b"1\r\nx\r\n")


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            behave(self.request)

    with serving(Tcp(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize("behave", [drips_headers, is_never_quite_ready, drips_a_body])
def test_a_reply_that_never_ends_is_given_up(behave: Callable[[socket.socket], None]) -> None:
    http = Http(headers={}, timeouts=Timeouts(reply=0.2))
    with server(behave) as url:
        with pytest.raises(NoReply) as caught:
            http.exchange("GET", url)
        http.close()
    assert (caught.value.kind, caught.value.sent) == ("timeout", True)


def test_so_it_is_on_a_connection_that_served_before() -> None:
    http = Http(headers={}, timeouts=Timeouts(reply=1.0))
    with server(drips_after_an_answer) as url:
        assert http.exchange("GET", url).status == 201
        with pytest.raises(NoReply) as caught:
            http.exchange("GET", url)
        http.close()
    assert caught.value.kind == "timeout"


def test_a_request_that_nobody_reads_is_given_up() -> None:
    over = threading.Event()
    http = Http(headers={}, timeouts=Timeouts(request=0.2))
    with server(lambda _: over.wait(30) and None) as url:
        with pytest.raises(NoReply) as caught:
            http.exchange("PUT", url, headers={"Content-Length": str(64 << 20)}, content=bytes(64 << 20))
        over.set()
        http.close()
    assert (caught.value.kind, caught.value.sent) == ("timeout", True)


def test_a_connection_is_used_again() -> None:
    connections: list[int] = []

    def answers(connection: socket.socket) -> None:
        connections.append(1)
        while connection.recv(65536):
            connection.sendall(ANSWER)

    http = Http(headers={})
    with server(answers) as url:
        for _ in range(3):
            assert http.exchange("GET", url).body == b"{}"
        http.close()
    assert len(connections) == 1
