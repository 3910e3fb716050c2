"""The OpenAPI 3.1 document that the emulator serves of itself (`/openapi.json`), made of the table of its endpoints."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator.openapi.models import COUNT, MODELS, TEXT, Schema, ref
from reconciler.emulator.openapi.table import STORAGE, STORED, Operation, operations
from reconciler.emulator.replies import reply


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for entry in operations():
        paths.setdefault(entry.path, {})[entry.method.lower()] = _described(entry)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Emulated Push API",
            "version": "1",
            "description": "What the emulator answers: the Push API, its storage, and what may be read back.",
        },
        "paths": paths,
        "components": {
            "schemas": MODELS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(entry: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": entry.name,
        "summary": entry.summary,
        "parameters": [
            *(_parameter("path", name, {"type": "string", "minLength": 1}, True) for name in _segments(entry.path)),
            *(_parameter("query", given.name, given.schema, given.required) for given in entry.query),
        ],
        "responses": {
            **{str(status): _answer("Success", schema, entry.kind) for status, schema in entry.replies.items()},
            **{str(status): _error(entry, status) for status in entry.errors},
        },
    }
    if entry.section:
        described["description"] = f"push-api.md {entry.section}"
    if entry.keyed:
        described["security"] = [{"key": []}]
    if entry.body is not None:
        described["requestBody"] = {
            "required": entry.body_required,
            "content": {"application/json": {"schema": entry.body}},
        }
    if entry.path == STORED and entry.method == "PUT":
        described["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    if entry.legacy:
        described["deprecated"] = True
    return described


def _segments(path: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", path)


def _parameter(place: str, name: str, schema: Schema, required: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _answer(text: str, schema: Schema | None, kind: str = "application/json") -> dict[str, Any]:
    return {"description": text, **({} if schema is None else {"content": {kind: {"schema": schema}}})}


_WORDS = {
    400: "Not what the documents describe, or a paused organization",
    401: "No key, or an unknown one",
    403: "A key without the privilege",
    404: "No such organization, or no such thing",
    409: "There is one already",
    411: "No length",
    412: "No such source or provider, or a parameter that is missing or wrong",
    413: "A body of more than 6 MB",
    415: "Another content type than JSON",
    429: "Too many calls or items",
    500: "An internal error",
    503: "Not available; try again",
    504: "A gateway's timeout; the outcome is unknown",
}


def _error(entry: Operation, status: int) -> dict[str, Any]:
    text = _WORDS[status]
    if entry.errors == STORAGE:
        # The answer to HEAD has no body, whatever its header says.
        return _answer(text, TEXT, "application/xml")
    if status == 413:
        return _answer(text, TEXT, "text/plain")
    if status in (503, 504):
        schema: Schema = {"anyOf": [ref("Error"), ref("GatewayError")]}
        return _answer(text, schema)
    described = _answer(text, ref("Error"))
    if status == 429:
        described["headers"] = {"Retry-After": {"schema": COUNT, "description": "Seconds to wait"}}
    return described


async def show_document(request: Request) -> Response:
    """Answer the document."""
    del request
    return reply(document())


def openapi_routes() -> list[Route]:
    """Return the route of the document."""
    return [Route("/openapi.json", show_document, methods=["GET"])]
