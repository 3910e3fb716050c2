"""The emulator's endpoints in one table, and the OpenAPI 3.1 document that is made of it (`/openapi.json`).

The table tells what may be sent and answered, with the section of push-api.md that says so. Nothing here
answers a request but the one for the document itself; the tests hold the table against the routes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.emulator.openapi_models import (
    ANY_OBJECT,
    COMPRESSION_TYPE,
    COUNT,
    FLAG,
    MODELS,
    TEXT,
    Schema,
    listing,
    one_of,
    ref,
)
from reconciler.emulator.replies import reply

Method = Literal["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]
Errors = tuple[int, ...]

_KEYED: Errors = (400, 401, 403, 404, 412, 413, 415, 429, 500, 503, 504)
_STORAGE: Errors = (400, 403, 404, 411, 500, 503)
_CONTROL: Errors = (400, 404, 412, 413, 500)
_NO_SCHEMA: Schema = {}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query."""

    name: str
    schema: Schema
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint: what it takes and what it answers.

    `replies` gives the schema of each success, None for one without a body; `errors` are the other statuses.
    """

    method: Method
    path: str
    summary: str
    section: str
    replies: dict[int, Schema | None]
    query: tuple[Parameter, ...] = ()
    body: Schema | None = None
    body_required: bool = True
    errors: Errors = _KEYED
    legacy: bool = False

    @property
    def name(self) -> str:
        """A name that no other operation has."""
        words = re.sub(r"[^A-Za-z0-9]+", " ", f"{self.method.lower()} {self.path}").split()
        return words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:])


_ORDERING_ID = Parameter("orderingId", {"type": "integer", "minimum": 0, "maximum": 2**64 - 1})
_SINCE_ORDERING_ID = Parameter("orderingId", _ORDERING_ID.schema, required=True)
_QUEUE_DELAY = Parameter("queueDelay", {"type": "integer", "minimum": 0, "maximum": 1440, "default": 15})
_DOCUMENT_ID = Parameter("documentId", {"type": "string", "minLength": 1}, required=True)
_FILE_ID = Parameter("fileId", {"type": "string", "minLength": 1}, required=True)
_PAGE = Parameter("page", {"type": "integer", "minimum": 0, "maximum": 10**6, "default": 0})
_PER_PAGE = Parameter("perPage", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 100})
_PAGE_SIZE = Parameter("pageSize", _PER_PAGE.schema)
_ORGANIZATION_ID = Parameter("organizationId", {"type": "string", "minLength": 1}, required=True)
_RECURSIVE = Parameter("recursive", FLAG)
_ACCEPTED: dict[int, Schema | None] = {202: ref("Accepted")}
_DONE: dict[int, Schema | None] = {204: None}

_SOURCE = "/organizations/{organization}/sources/{source}"
_PROVIDER = "/organizations/{organization}/providers/{provider}"
_REST = "/rest/organizations/{organization}"
_CACHE = f"{_REST}/securitycache"
_DOCUMENT = f"{_REST}/indexes/{{index}}/documents/{{document}}/permissions"

# Below /push/v1 of the current hosts and /v1 of the legacy one (push-api.md 1.1).
_PUSH = (
    Operation(
        "PUT",
        f"{_SOURCE}/documents",
        "Add or update one item",
        "2.1",
        _ACCEPTED,
        (_DOCUMENT_ID, _ORDERING_ID, Parameter("compressionType", COMPRESSION_TYPE)),
        ref("DocumentBody"),
    ),
    Operation(
        "DELETE",
        f"{_SOURCE}/documents",
        "Delete one item",
        "2.1",
        _ACCEPTED,
        (_DOCUMENT_ID, Parameter("deleteChildren", FLAG), _ORDERING_ID),
    ),
    Operation(
        "DELETE",
        f"{_SOURCE}/documents/olderthan",
        "Delete old items",
        "2.1",
        _ACCEPTED,
        (_SINCE_ORDERING_ID, _QUEUE_DELAY),
    ),
    Operation("PUT", f"{_SOURCE}/documents/batch", "Push a batch", "2.1", _ACCEPTED, (_FILE_ID, _ORDERING_ID)),
    Operation(
        "POST",
        "/organizations/{organization}/files",
        "Create a file container",
        "2.1",
        {201: ref("FileContainer")},
        (Parameter("useVirtualHostedStyleUrl", FLAG),),
    ),
    Operation(
        "POST",
        f"{_SOURCE}/status",
        "Set a source's status",
        "2.1",
        {201: ref("Accepted")},
        (Parameter("statusType", one_of("REBUILD", "REFRESH", "INCREMENTAL", "IDLE"), required=True),),
    ),
    Operation(
        "PUT",
        f"{_PROVIDER}/permissions",
        "Add or update an identity",
        "2.3",
        _ACCEPTED,
        (_ORDERING_ID,),
        ref("IdentityBody"),
    ),
    Operation(
        "DELETE",
        f"{_PROVIDER}/permissions",
        "Disable an identity",
        "2.3",
        _ACCEPTED,
        (_ORDERING_ID,),
        ref("BaseIdentityBody"),
    ),
    Operation(
        "PUT",
        f"{_PROVIDER}/mappings",
        "Add or update an alias",
        "2.3",
        _ACCEPTED,
        (_ORDERING_ID,),
        ref("MappedIdentityBody"),
    ),
    Operation(
        "PUT",
        f"{_PROVIDER}/permissions/batch",
        "Push a batch of identities",
        "2.3",
        _ACCEPTED,
        (_FILE_ID, _ORDERING_ID),
    ),
    Operation(
        "DELETE",
        f"{_PROVIDER}/permissions/olderthan",
        "Disable old identities",
        "2.3",
        _ACCEPTED,
        (_SINCE_ORDERING_ID, _QUEUE_DELAY),
    ),
)

_STORED = "/_storage/{organization}/{file}"
_STORAGE_OPERATIONS = (
    Operation("PUT", _STORED, "Upload to a file container", "8", {200: None}, errors=_STORAGE),
    *(
        Operation(method, _STORED, "Refused: the address is signed for PUT", "8", {}, errors=_STORAGE)
        for method in ("GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS")
    ),
)

_SEARCH = (
    Operation(
        "GET",
        "/rest/search/v2",
        "Search",
        "2.6",
        {200: ref("SearchResults")},
        (
            _ORGANIZATION_ID,
            Parameter("aq", TEXT),
            Parameter("q", TEXT),
            Parameter("numberOfResults", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 10}),
            Parameter("firstResult", {"type": "integer", "minimum": 0, "maximum": 4000, "default": 0}),
            Parameter("sortCriteria", TEXT),
            Parameter("viewAllContent", FLAG),
        ),
    ),
    Operation(
        "POST",
        "/rest/search/v2",
        "Search",
        "2.6",
        {200: ref("SearchResults")},
        (_ORGANIZATION_ID, Parameter("viewAllContent", FLAG)),
        ref("SearchBody"),
        body_required=False,
    ),
    Operation(
        "GET",
        "/rest/search/v2/document",
        "Show one item",
        "2.6",
        {200: ref("SearchResult")},
        (_ORGANIZATION_ID, Parameter("uniqueId", TEXT), Parameter("viewAllContent", FLAG)),
    ),
)

_PLATFORM = (
    Operation("GET", f"{_REST}/sources", "List sources", "2.6", {200: listing(ref("Source"))}),
    Operation("GET", f"{_REST}/sources/pages", "Page through sources", "2.6", {200: ref("Page")}, (_PAGE, _PER_PAGE)),
    Operation("GET", f"{_REST}/sources/{{source}}", "Show a source", "2.6", {200: ref("Source")}),
    Operation("GET", f"{_REST}/indexes", "List indexes", "2.6", {200: listing(ANY_OBJECT)}),
    Operation("GET", _DOCUMENT, "Show an item's permission model", "2.6", {200: ref("PermissionModel")}),
    Operation(
        "GET",
        f"{_DOCUMENT}/effective",
        "List who sees an item",
        "2.6",
        {200: ref("Page")},
        (Parameter("includedEntities", one_of("ALL", "ALLOWED", "DENIED")), _PAGE, _PER_PAGE),
    ),
    Operation(
        "POST",
        "/logs/v1/organizations/{organization}",
        "Read the pipeline's logs",
        "2.6",
        {200: ref("Logs")},
        (
            Parameter("from", {"type": "string", "format": "date-time"}, required=True),
            Parameter("to", {"type": "string", "format": "date-time"}, required=True),
            Parameter("documentId", TEXT),
            Parameter("documentIdMatching", one_of("EXACT", "PARTIAL", "WILDCARD")),
            _PAGE,
            _PER_PAGE,
        ),
        ref("LogFilter"),
        body_required=False,
    ),
    Operation(
        "GET", f"{_CACHE}/entities/list/is_supported", "Can identities be listed?", "2.6", {200: {"type": "boolean"}}
    ),
    Operation(
        "POST",
        f"{_CACHE}/entities/list",
        "Search identities",
        "2.6",
        {200: ref("Members")},
        (_PAGE, _PER_PAGE),
        ref("EntityFilter"),
        body_required=False,
    ),
    Operation(
        "GET",
        f"{_CACHE}/entities/{{provider}}/members",
        "List the identities of a provider",
        "2.6",
        {200: ref("Members")},
        (Parameter("states", TEXT), _PAGE, _PER_PAGE),
    ),
    Operation(
        "POST",
        f"{_CACHE}/entities/{{provider}}/entity",
        "Show an identity",
        "2.6",
        {200: ref("Member")},
        body=ref("MemberBody"),
    ),
    *(
        Operation(
            "POST",
            f"{_CACHE}/entities/{{provider}}/members/{relation}",
            summary,
            "2.6",
            {200: ref("Members")},
            (_RECURSIVE, _PAGE, _PAGE_SIZE),
            ref("MemberBody"),
        )
        for relation, summary in (
            ("children", "List the members of a group"),
            ("parents", "List the groups and aliases of an identity"),
        )
    ),
    *(
        Operation("POST", f"{_CACHE}/{rest}", summary, "2.6", _DONE)
        for rest, summary in (
            ("refresh", "Refresh every provider"),
            ("refresh/entity", "Refresh an identity"),
            ("{provider}/refresh", "Refresh a provider"),
            ("{provider}/refresh/cancel", "Cancel the refresh of a provider"),
            ("disabled/enable", "Enable every disabled identity"),
            ("{provider}/disabled/enable", "Enable the disabled identities of a provider"),
        )
    ),
    Operation("GET", f"{_REST}/securityproviders", "List providers", "2.4", {200: listing(ref("Provider"))}),
    Operation("GET", f"{_REST}/securityproviders/{{provider}}", "Show a provider", "2.4", {200: ref("Provider")}),
)

_LIMITS = (
    Operation("GET", f"{_REST}/limits", "Show every limit that is set", "2.6", {200: ANY_OBJECT}),
    Operation("GET", f"{_REST}/limits/{{section}}", "Show the limits of a section", "2.6", {200: ANY_OBJECT}),
    Operation("GET", f"{_REST}/limits/{{section}}/{{key}}", "Show a limit", "2.6", {200: ref("Limit")}),
)

_ASKED_ORGANIZATION = Parameter("organization", TEXT)


def _control(
    method: Method, name: str, summary: str, answer: Schema, *query: Parameter, body: Schema | None = None
) -> Operation:
    return Operation(method, f"/_emulator/{name}", summary, "", {200: answer}, query, body, errors=_CONTROL)


_CONTROLS = (
    _control("GET", "requests", "List what was asked", ref("Requests"), Parameter("since", COUNT)),
    _control("GET", "state", "Show all that is indexed", ref("State")),
    _control(
        "GET",
        "viewers",
        "Show who sees an item",
        ref("Viewers"),
        Parameter("source", TEXT),
        Parameter("uri", TEXT),
        _ASKED_ORGANIZATION,
    ),
    _control(
        "GET",
        "visible",
        "Show what an identity sees",
        ref("Visible"),
        Parameter("provider", TEXT),
        Parameter("type", one_of("USER", "GROUP", "VIRTUAL_GROUP", "UNKNOWN")),
        Parameter("name", TEXT),
        _ASKED_ORGANIZATION,
    ),
    _control("POST", "reset", "Forget everything", ANY_OBJECT),
    _control("POST", "flush", "Process all that waits", ref("Pending")),
    _control("POST", "clock", "Move the clock forward", ref("Clock"), body=ref("Advance")),
    _control("GET", "faults", "List the rules of faults", ref("Faults")),
    _control("PUT", "faults", "Set the rules of faults", ref("Faults"), body=ref("FaultRules")),
    _control("POST", "faults", "Add rules of faults", ref("Faults"), body=ref("MoreFaultRules")),
    _control("DELETE", "faults", "Clear the rules of faults", ref("Faults")),
)

_OWN = (Operation("GET", "/openapi.json", "Show this document", "", {200: ANY_OBJECT}, errors=()),)


def operations() -> tuple[Operation, ...]:
    """Return every endpoint with its whole path; those of the legacy host come last."""
    current = (_at("/push/v1", entry, legacy=False) for entry in _PUSH)
    legacy = (_at("/v1", entry, legacy=True) for entry in _PUSH)
    return (*current, *_STORAGE_OPERATIONS, *_SEARCH, *_PLATFORM, *_LIMITS, *_CONTROLS, *_OWN, *legacy)


def _at(base: str, entry: Operation, *, legacy: bool) -> Operation:
    return Operation(
        entry.method,
        base + entry.path,
        entry.summary,
        entry.section,
        entry.replies,
        entry.query,
        entry.body,
        entry.body_required,
        entry.errors,
        legacy,
    )


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
            **{str(status): _answer("Success", schema) for status, schema in entry.replies.items()},
            **{str(status): _error(entry, status) for status in entry.errors},
        },
    }
    if entry.section:
        described["description"] = f"push-api.md {entry.section}"
    if entry.errors == _KEYED:
        described["security"] = [{"key": []}]
    if entry.body is not None:
        described["requestBody"] = {
            "required": entry.body_required,
            "content": {"application/json": {"schema": entry.body}},
        }
    if entry.path == _STORED and entry.method == "PUT":
        described["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": _NO_SCHEMA}}}
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
    if entry.errors == _STORAGE:
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
