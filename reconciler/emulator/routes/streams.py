"""The Stream API over HTTP: what catalog sources take besides the Push API (push-api.md 2.5).

A data collection is addressed by the id of its source. Ordering ids are the remote's own, never the caller's.
"""

from __future__ import annotations

import re

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator import options as names
from reconciler.emulator import replies
from reconciler.emulator.database import MAXIMUM_ORDERING_ID
from reconciler.emulator.door import Exchange, Handler, Hooks, endpoint
from reconciler.emulator.engine import Engine
from reconciler.emulator.replies import reply
from reconciler.emulator.views import request_id

_SHARD = re.compile(r"[A-Za-z0-9]{1,10}")
_MOST_MINUTES = 10**9


def stream_routes(engine: Engine, hooks: Hooks) -> list[Route]:
    """Return the routes of the Stream API."""
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/stream/open", open_stream),
        ("PUT", "/stream/update", update),
        ("PUT", "/stream/merge", merge),
        ("POST", "/stream/deleteolderthan/{milliseconds}", delete_older),
        ("POST", "/stream/{stream}/chunk", next_chunk),
        ("POST", "/stream/{stream}/close", close_stream),
    ]
    return [
        Route(
            f"{prefix}/organizations/{{organization}}/{place}/{{source}}{path}",
            endpoint(engine, hooks, handler, privilege=names.SOURCE_EDIT),
            methods=[method],
        )
        for prefix in ("/push/v1", "/v1")
        for place in ("sources", "data-collections")
        for method, path, handler in table
    ]


def _catalog(exchange: Exchange) -> int:
    name = exchange.segment("source")
    found = exchange.engine.source(exchange.organization, name)
    if found is None:
        raise replies.source_does_not_exist(name)
    place, source = found
    if source.kind != "catalog":
        # The code is a guess as much as the status is.
        status = exchange.engine.options.doubts.not_a_catalog
        raise replies.Refusal(status, "INVALID_PARAMETER", f"Source '{name}' is not stream-enabled.")
    return place


def _container(exchange: Exchange) -> dict[str, object]:
    base = str(exchange.request.base_url).rstrip("/")
    return exchange.engine.containers.issue(exchange.organization, base)


def _accepted(exchange: Exchange, status: int) -> Response:
    """Answer what was accepted last with its ordering id and its number, both as text."""
    engine = exchange.engine
    accepted = engine.accepted
    response = reply({"orderingId": str(accepted.ordering), "requestId": request_id(accepted.number)}, status)
    response.background = BackgroundTask(engine.settle)
    return response


# Loads


async def open_stream(exchange: Exchange) -> Response:
    place = _catalog(exchange)
    await exchange.read()
    exchange.admit()
    container = _container(exchange)
    return reply({"streamId": exchange.engine.streams.open(place, str(container["fileId"])), **container}, 201)


def _open_stream(exchange: Exchange, place: int) -> str:
    stream = exchange.segment("stream")
    if exchange.engine.streams.files(place, stream) is None:
        status = exchange.engine.options.doubts.unknown_stream
        raise replies.Refusal(status, "INVALID_PARAMETER", f"Stream '{stream}' is not open.")
    return stream


async def next_chunk(exchange: Exchange) -> Response:
    place = _catalog(exchange)
    stream = _open_stream(exchange, place)
    await exchange.read()
    exchange.admit()
    container = _container(exchange)
    exchange.engine.streams.add(place, stream, str(container["fileId"]))
    return reply(container)


async def close_stream(exchange: Exchange) -> Response:
    """Accept what was streamed as the whole content of the source."""
    place = _catalog(exchange)
    stream = _open_stream(exchange, place)
    await exchange.read()
    engine = exchange.engine
    await exchange.admit_load("stream.load", place, {"files": engine.streams.uploaded(place, stream)})
    _open_stream(exchange, place)  # another request may have closed it meanwhile
    files = engine.streams.close(place, stream)
    engine.accept("stream.load", place, exchange.marked({"streamId": stream, "files": files}))
    return _accepted(exchange, 200)


# Updates


async def update(exchange: Exchange) -> Response:
    place = _catalog(exchange)
    shard = exchange.query.get("shard")
    if shard is not None and exchange.engine.options.doubts.stream_shard == "check" and not _SHARD.fullmatch(shard):
        raise replies.invalid_parameter("shard", shard)
    return await _accept_file(exchange, "stream.update", place)


async def merge(exchange: Exchange) -> Response:
    return await _accept_file(exchange, "stream.merge", _catalog(exchange))


async def _accept_file(exchange: Exchange, kind: str, place: int) -> Response:
    await exchange.accept_file(kind, place, exchange.required("fileId"))
    return _accepted(exchange, 202)


async def delete_older(exchange: Exchange) -> Response:
    place = _catalog(exchange)
    value = exchange.segment("milliseconds")
    if not value.isascii() or not value.isdigit() or len(value) > 20 or int(value) > MAXIMUM_ORDERING_ID:
        raise replies.invalid_parameter("epochMilliseconds", value)
    minutes = exchange.number("queueDelay", 15, _MOST_MINUTES)
    await exchange.read()
    await exchange.accept("item.olderthan", place, {}, ordering=int(value), wait=minutes * 60)
    return _accepted(exchange, 201)
