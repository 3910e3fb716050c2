"""What a controller answers over HTTP: /healthz, /readyz and /metrics, from a thread of its own.

It takes no key and tells no secret, and reads values that the controller's thread sets.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.cli.watching import Ended, Result, Watcher

_STOP_SECONDS = 5.0


@dataclass(slots=True)
class Standing(Watcher):
    """How the controller stands, as of its last round; `rounds` is how many have ended."""

    result: str = ""
    leads: bool = False
    failures: int = 0
    commit: str = ""
    rounds: int = 0

    def ended(self, ended: Ended) -> None:
        """Take the end of a round."""
        self.result, self.leads = ended.result.value, ended.leads
        self.failures, self.commit = ended.failures, ended.commit
        self.rounds += 1

    @property
    def ready(self) -> bool:
        """Whether a round has ended, and the last one did not fail."""
        return self.rounds > 0 and self.result != Result.FAILED


def application(standing: Standing, metrics: Callable[[], bytes], content_type: str) -> Starlette:
    """Return what answers."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"} | asdict(standing))

    async def readyz(_request: Request) -> Response:
        word, code = ("ready", 200) if standing.ready else ("not-ready", 503)
        return JSONResponse({"status": word} | asdict(standing), code)

    async def scrape(_request: Request) -> Response:
        return Response(metrics(), headers={"content-type": content_type})

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", scrape)],
    )


@contextmanager
def served(app: Starlette, host: str, port: int) -> Iterator[str]:
    """Serve for the length of a `with` block, and give the URL. Raises OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        bound = listener.getsockname()[1]
        config = uvicorn.Config(
            app, ws="none", lifespan="off", access_log=False, log_config=None, server_header=False, loop="asyncio"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="http", daemon=True)
        thread.start()
        try:
            yield f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
        finally:
            server.should_exit = True
            thread.join(_STOP_SECONDS)
