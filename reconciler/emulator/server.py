"""The front door of the emulator: an application, a server for a terminal, and one for a `with` block.

It listens on the loopback interface unless told otherwise: its control endpoints take no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import FrameType, TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from reconciler.emulator.clock import Clock, Pauses
from reconciler.emulator.connection import Protocol
from reconciler.emulator.door import Exchange, Hooks, record
from reconciler.emulator.engine import Engine
from reconciler.emulator.openapi.document import openapi_routes
from reconciler.emulator.options import Doubts, EmulatorOptions, ProviderOptions, SourceOptions
from reconciler.emulator.pages.routes import page_routes
from reconciler.emulator.replies import Refusal
from reconciler.emulator.routes.client import client_routes
from reconciler.emulator.routes.control import control_routes
from reconciler.emulator.routes.fields import field_routes
from reconciler.emulator.routes.limits import limit_routes
from reconciler.emulator.routes.providers import provider_routes
from reconciler.emulator.routes.push import push_routes
from reconciler.emulator.routes.read import read_routes
from reconciler.emulator.routes.search import search_routes
from reconciler.emulator.routes.security import security_routes
from reconciler.emulator.routes.storage import storage_routes
from reconciler.emulator.routes.streams import stream_routes

__all__ = [
    "BackgroundEmulator",
    "Clock",
    "Doubts",
    "EmulatorOptions",
    "ProviderOptions",
    "SourceOptions",
    "create_app",
    "serve",
]

LOOPBACK = "127.0.0.1"


def create_app(options: EmulatorOptions, clock: Clock | None = None, hooks: Hooks | None = None) -> Starlette:
    """Return an application that plays the remote; its `state.engine` is what holds everything.

    Raises BadRule when a fault of the options cannot be read or is for a path that does not exist.
    """
    engine = Engine(options, clock)
    hooks = hooks or Hooks()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        yield
        engine.close()

    async def no_such_endpoint(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(status, "INTERNAL_SERVER_ERROR")
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        record(Exchange(engine, request), status, code)
        return Refusal(status, code, f"No endpoint {request.method} {request.url.path}.", headers).response()

    async def internal_error(request: Request, error: Exception) -> Response:
        del error
        record(Exchange(engine, request), 500, "INTERNAL_SERVER_ERROR")
        text = "Failed to process request due to an internal error."
        return Refusal(500, "INTERNAL_SERVER_ERROR", text).response()

    remote = [
        *push_routes(engine, hooks),
        *stream_routes(engine, hooks),
        *storage_routes(engine, hooks),
        *search_routes(engine, hooks),
        *read_routes(engine, hooks),
        *field_routes(engine, hooks),
        *security_routes(engine, hooks),
        *provider_routes(engine, hooks),
        *limit_routes(engine, hooks),
        *client_routes(engine, hooks),
    ]
    engine.faults.know(route.path for route in remote)
    app = Starlette(
        routes=[*remote, *control_routes(engine), *openapi_routes(), *page_routes(engine)],
        exception_handlers={404: no_such_endpoint, 405: no_such_endpoint, Exception: internal_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.engine = engine
    return app


class _Server(uvicorn.Server):
    """A uvicorn server that tells when it listens, and stops at once and in peace."""

    def __init__(self, app: Starlette, on_started: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=75,
        )
        super().__init__(config)
        self._on_started = on_started
        self._pauses: Pauses = app.state.engine.pauses
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._on_started()

    async def main_loop(self) -> None:
        # The original looks every 100 ms whether it should stop; this one is told.
        seconds = 0
        while not self.should_exit:
            await self.on_tick(seconds * 10)
            seconds += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._pauses.end()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for _ in range(200):
            if not self.server_state.connections and not self.server_state.tasks:
                break
            await asyncio.sleep(0.01)
        for task in list(self.server_state.tasks):
            task.cancel()
        await self.lifespan.shutdown()

    def stop(self) -> None:
        """Ask for the end; may be called from any thread or signal handler."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Turn SIGTERM and SIGINT into a stop; unlike the original's, it leaves the process to end with 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            del number, frame
            self.stop()

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix" and sys.platform != "cygwin":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except BaseException:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    options: EmulatorOptions,
    host: str = LOOPBACK,
    port: int = 0,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` gets the URL once requests are answered.

    Raises OSError when the address is taken, UnreadableDatabase when the data directory is not ours.
    """
    listener = _listen(host, port)
    try:
        url = _url(listener)
        server = _Server(create_app(options), lambda: ready(url) if ready else None)
        server.run(sockets=[listener])
    finally:
        listener.close()


class BackgroundEmulator:
    """An emulator on a free loopback port of this process, for the length of a `with` block."""

    def __init__(
        self, options: EmulatorOptions, clock: Clock | None = None, hooks: Hooks | None = None, port: int = 0
    ) -> None:
        self.options = options
        self.api_key = options.api_key
        self.url = ""
        self._clock = clock
        self._hooks = hooks
        self._port = port
        self._started = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def start(self) -> BackgroundEmulator:
        """Listen, and return once requests are answered."""
        app = create_app(self.options, self._clock, self._hooks)
        listener = _listen(LOOPBACK, self._port)
        self.url = _url(listener)
        self._server = _Server(app, self._started.set)
        self._thread = threading.Thread(target=self._run, args=(listener,), name="emulator", daemon=True)
        self._thread.start()
        self._started.wait(30)
        if self._failure is not None or not self._started.is_set():
            raise RuntimeError("the emulator did not start") from self._failure
        return self

    def _run(self, listener: socket.socket) -> None:
        try:
            if self._server is not None:
                self._server.run(sockets=[listener])
        except BaseException as error:
            self._failure = error
        finally:
            listener.close()
            self._started.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server has ended and say whether it has."""
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End the server; what was pushed into a data directory is there for the next one."""
        if self._server is not None:
            self._server.stop()
        self.wait(10)

    def __enter__(self) -> BackgroundEmulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
