"""The object storage that uploads go to, beside the API as the real one is (push-api.md 2.1, 8)."""

from __future__ import annotations

import os
import uuid

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator.containers import STORAGE_LIMIT, StorageRefusal, Upload
from reconciler.emulator.door import Exchange, Hooks, endpoint
from reconciler.emulator.engine import Engine

_ALL_METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]


def storage_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes of the storage; it answers every method, mostly with a refusal."""
    enter = endpoint(engine, hooks, upload, privilege=None)
    return [Route("/_storage/{organization}/{file}", enter, methods=_ALL_METHODS)]


async def upload(exchange: Exchange) -> Response:
    """Take an upload to disk piece by piece; it counts once it is whole."""
    containers = exchange.engine.containers
    file = exchange.segment("file")
    headers = exchange.request.headers
    containers.check(Upload(exchange.method, exchange.path, exchange.query_pairs, headers, file))
    if not containers.issued(file):
        raise StorageRefusal(404, "NoSuchKey", "The container was deleted.")
    target = containers.path(file)
    part = target.with_name(f"{file}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb", buffering=1024 * 1024) as out:
            async for piece in exchange.request.stream():
                out.write(piece)
                exchange.size += len(piece)
                if exchange.size > STORAGE_LIMIT:
                    raise StorageRefusal(400, "EntityTooLarge", "Your proposed upload exceeds the maximum size.")
        if exchange.size != int(headers["content-length"]):
            raise StorageRefusal(400, "IncompleteBody", "The upload is shorter than its Content-Length.")
        os.replace(part, target)  # noqa: PTH105
    except ClientDisconnect:
        raise StorageRefusal(400, "IncompleteBody", "The connection was closed.") from None
    finally:
        part.unlink(missing_ok=True)
    containers.stored(file, exchange.size)
    return Response(status_code=200, headers={"ETag": f'"{uuid.uuid5(uuid.UUID(file), str(exchange.size)).hex}"'})
