"""The way to the remote: a proxy or none, the certificates to trust, and limits of time that hold.

[io] httpx limits the time between two pieces of a transfer, so that a server which drips its headers is
listened to for ever, and it makes the certificates ready for each client anew, which takes longer than
many a run. So this is a transport of our own over httpcore's pools: their streams end a request that
takes too long, certificates are loaded once per process and only when something goes by https.
"""

from __future__ import annotations

import functools
import logging
import os
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpcore
import httpx

from reconciler.problems import Problem, UsageError
from reconciler.pushapi.hosts import is_loopback

# At DEBUG httpcore logs the headers of replies, and a remote may put into them what it was sent.
for _name in ("connection", "http11", "http2", "proxy"):
    logging.getLogger(f"httpcore.{_name}").addFilter(lambda record: record.levelno >= logging.WARNING)

_MAX_CONNECTIONS = 100
_MAX_IDLE = 20
_IDLE_SECONDS = 5.0
# Of one reply, its head and the framing of its body included; `http.MAX_REPLY` of the body are used.
MAX_READ = 2 * 1024 * 1024
# What is written at once: a buffer of megabytes would be one step, and time is looked at between steps.
_PIECE = 64 * 1024

# The nearest first: a connection that timed out is a timeout, too.
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.TimeoutException, httpx.ReadTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ProxyError, httpx.ProxyError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.NetworkError, httpx.ReadError),
    (httpcore.ProtocolError, httpx.RemoteProtocolError),
)

_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, between two pieces of a transfer, for a whole request and for a whole reply.

    A request may take as long as a container lives, which is what an upload is for (push-api.md 2.2).
    """

    connect: float = 10.0
    transfer: float = 60.0
    reply: float = 120.0
    request: float = 3600.0


@dataclass(frozen=True, slots=True)
class Network:
    """What a project says of the way out; what it does not say is as the environment has it.

    `proxy` is the URL of an HTTP proxy that everything goes through. Without it HTTPS_PROXY, HTTP_PROXY,
    ALL_PROXY and NO_PROXY count, but never for addresses of this machine. `ca_file` is the path of
    certificates (PEM) to trust in place of SSL_CERT_FILE, SSL_CERT_DIR and those that come with httpx;
    `ca_name` is how messages call it. `upload_hosts` are those that content may be uploaded to, hosts below them
    included; without them it is as `pushapi.containers` says.
    """

    proxy: str | None = None
    ca_file: str | None = None
    ca_name: str = ""
    upload_hosts: tuple[str, ...] = ()

    def check(self, url: str) -> None:
        """Make ready what a request to `url` will need. Raises UsageError for what cannot be used."""
        where = httpx.URL(url)
        proxy = self.proxy_for(where)
        if where.scheme == "https" or (proxy is not None and proxy.url.scheme == "https"):
            self.trust()

    def proxy_for(self, url: httpx.URL) -> httpx.Proxy | None:
        """Return the proxy of a request to `url`, if any. Raises UsageError for one that is no HTTP proxy."""
        found = self.proxy or _environment_proxy(url)
        if found is None:
            return None
        try:
            proxy = httpx.Proxy(found)
            usable = proxy.url.scheme in ("http", "https") and bool(proxy.url.host)
        except (ValueError, httpx.InvalidURL):
            usable = False
        if not usable:
            # Its text may hold a password.
            raise UsageError(
                Problem(
                    "proxy-unusable",
                    f"the proxy for {url.scheme} addresses is not an HTTP proxy's URL",
                    why="only proxies of the form http://HOST:PORT or https://HOST:PORT can be used.",
                    fix="correct `proxy` of the environment in reconciler.yaml; without it, correct the variables "
                    "HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or name the host in NO_PROXY.",
                )
            )
        return proxy

    def trust(self) -> ssl.SSLContext:
        """Return the certificates to trust, the same for all who ask. Raises UsageError when they are unusable."""
        try:
            with _LOADING:
                return _trusted(self.ca_file, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        except (OSError, ValueError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        named = f'"{self.ca_name or self.ca_file}"' if self.ca_file else "that SSL_CERT_FILE or SSL_CERT_DIR names"
        raise UsageError(
            Problem(
                "ca-file-unusable",
                f"the certificates {named} cannot be used: {reason}",
                why="without them nobody can tell whether the remote is who it says it is.",
                fix="name a file of PEM certificates: lines from BEGIN CERTIFICATE to END CERTIFICATE.",
            )
        )


@functools.cache
def _trusted(ca_file: str | None, _file: str | None, _folder: str | None) -> ssl.SSLContext:
    # The last two are what `create_ssl_context` reads from the environment.
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()


def _environment_proxy(url: httpx.URL) -> str | None:
    # A proxy on another machine takes the addresses of this one for its own.
    if is_loopback(url.host):
        return None
    proxies = urllib.request.getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    if not found or urllib.request.proxy_bypass(url.host):
        return None
    return found if "://" in found else f"http://{found}"


class Transport(httpx.BaseTransport):
    """Connections by way of a `Network`, within `Timeouts`; safe to use from several threads."""

    def __init__(self, network: Network, timeouts: Timeouts) -> None:
        self._network = network
        self._backend = _Backend(timeouts)
        self._pools: dict[tuple[str, str], httpcore.ConnectionPool] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Transport()"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, its path and query as the extension `target` spells them. Raises httpx.TransportError."""
        url = request.url
        assert isinstance(request.stream, httpx.SyncByteStream)
        # The extension itself stays here: httpcore would give it to a proxy in place of the address.
        target = request.extensions.get("target", url.raw_path)
        with _httpx_errors():
            answer = self._pool(url).handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions={"timeout": request.extensions.get("timeout", {})},
                )
            )
        assert isinstance(answer.stream, Iterable)
        connection = answer.extensions.get("network_stream")
        if isinstance(connection, _Stream) and not connection.reads:
            # What stood behind the answer before: whoever sent it had not seen this request.
            answer.close()
            connection.close()
            raise httpx.RemoteProtocolError("an answer came before its request")
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.close()

    def _pool(self, url: httpx.URL) -> httpcore.ConnectionPool:
        key = (url.scheme, url.host)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._made(url)
            return self._pools[key]

    def _made(self, url: httpx.URL) -> httpcore.ConnectionPool:
        proxy = self._network.proxy_for(url)
        trust = self._network.trust() if url.scheme == "https" else None
        if proxy is None:
            return httpcore.ConnectionPool(
                ssl_context=trust,
                max_connections=_MAX_CONNECTIONS,
                max_keepalive_connections=_MAX_IDLE,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=self._backend,
            )
        return httpcore.HTTPProxy(
            proxy_url=httpcore.URL(
                scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=b"/"
            ),
            proxy_auth=proxy.raw_auth,
            ssl_context=trust,
            proxy_ssl_context=self._network.trust() if proxy.url.scheme == "https" else None,
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._backend,
        )


class _Body(httpx.SyncByteStream):
    """The rest of a reply, with errors as httpx tells them."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _httpx_errors():
            yield from self._stream

    def close(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


class _Backend(httpcore.SyncBackend):
    """Opens connections whose streams keep to the limits."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(host, port, timeout, local_address, socket_options), self._timeouts)


class _Stream(httpcore.NetworkStream):
    """A connection that ends an exchange when its request or its reply takes too long as a whole.

    A request is written and then its reply is read, one after the other: whoever writes after having
    read begins the next request, and the time of a reply counts from the first look at it.
    """

    def __init__(self, inner: httpcore.NetworkStream, timeouts: Timeouts) -> None:
        self._inner = inner
        self._timeouts = timeouts
        self._reading: bool | None = None
        self._until = 0.0
        self._taken = 0

    @property
    def reads(self) -> bool:
        """Whether anything was read since the last request was written."""
        return self._reading is True

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = self._left(reading=True)
        if left <= 0:
            raise httpcore.ReadTimeout("the reply takes too long")
        if self._taken >= MAX_READ:
            raise httpcore.ReadError("the reply has too much around it")
        taken = self._inner.read(max_bytes, left if timeout is None else min(left, timeout))
        self._taken += len(taken)
        return taken

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            left = self._left(reading=False)
            if left <= 0:
                raise httpcore.WriteTimeout("the request takes too long")
            piece = buffer[start : start + _PIECE]
            self._inner.write(piece, left if timeout is None else min(left, timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._timeouts)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)

    def _left(self, *, reading: bool) -> float:
        now = time.monotonic()
        if reading is not self._reading:
            self._reading = reading
            self._taken = 0
            self._until = now + (self._timeouts.reply if reading else self._timeouts.request)
        return self._until - now


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for theirs, ours in _ERRORS:
            if isinstance(error, theirs):
                raise ours(str(error)) from None
        raise
