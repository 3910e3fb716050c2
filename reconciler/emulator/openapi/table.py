"""The emulator's endpoints in one table: what may be sent to each and what it answers, with the documents' sections.

`openapi` makes a document of it; the tests hold it against the routes. Nothing here answers a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from reconciler.emulator.openapi.models import (
    ANY_OBJECT,
    COMPRESSION_TYPE,
    COUNT,
    FLAG,
    TEXT,
    Schema,
    listing,
    one_of,
    ref,
)

Method = Literal["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]
Errors = tuple[int, ...]

KEYED: Errors = (400, 401, 403, 404, 412, 413, 415, 429, 500, 503, 504)
STORAGE: Errors = (400, 403, 404, 411, 500, 503)
_CONTROL: Errors = (400, 404, 412, 413, 500)


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
    errors: Errors = KEYED
    legacy: bool = False
    kind: str = "application/json"
    """The content type of a success."""

    @property
    def keyed(self) -> bool:
        """Whether it asks for a key."""
        return 401 in self.errors

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

_STREAM_DONE = ref("StreamAccepted")
_STREAM_REST: tuple[tuple[Method, str, str, dict[int, Schema | None], tuple[Parameter, ...]], ...] = (
    ("POST", "open", "Open a stream", {201: ref("OpenStream")}, ()),
    ("POST", "{stream}/chunk", "Get the container of a further chunk", {200: ref("FileContainer")}, ()),
    ("POST", "{stream}/close", "Close a stream: what it held is all there is", {200: _STREAM_DONE}, ()),
    (
        "PUT",
        "update",
        "Update items",
        {202: _STREAM_DONE},
        (_FILE_ID, Parameter("shard", {"type": "string", "pattern": "^[A-Za-z0-9]{1,10}$"})),
    ),
    ("PUT", "merge", "Merge items", {202: _STREAM_DONE}, (_FILE_ID,)),
    ("POST", "deleteolderthan/{milliseconds}", "Delete old items", {201: _STREAM_DONE}, (_QUEUE_DELAY,)),
)
# A data collection is addressed like a source (push-api.md 2.5).
_STREAM = tuple(
    Operation(
        method, f"/organizations/{{organization}}/{place}/{{source}}/stream/{rest}", summary, "2.5", replies, query
    )
    for place in ("sources", "data-collections")
    for method, rest, summary, replies, query in _STREAM_REST
)

STORED = "/_storage/{organization}/{file}"
_STORAGE_OPERATIONS = (
    Operation("PUT", STORED, "Upload to a file container", "8", {200: None}, errors=STORAGE),
    *(
        Operation(method, STORED, "Refused: the address is signed for PUT", "8", {}, errors=STORAGE)
        for method in ("GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS")
    ),
)

_ONE_ITEM = (
    _ORGANIZATION_ID,
    Parameter("uniqueId", TEXT),
    Parameter("primaryId", TEXT),
    Parameter("viewAllContent", FLAG),
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
        _ONE_ITEM,
    ),
    Operation("GET", "/rest/search/v2/text", "Show an item's text", "2.6", {200: TEXT}, _ONE_ITEM, kind="text/plain"),
    Operation("GET", "/rest/search/v2/html", "Show an item's content", "2.6", {200: TEXT}, _ONE_ITEM, kind="text/html"),
    Operation(
        "GET",
        "/rest/search/v2/datastream",
        "Show a stored stream of an item",
        "2.6",
        {200: {}},
        (*_ONE_ITEM, Parameter("dataStream", TEXT, required=True)),
        kind="application/octet-stream",
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
)

_PROVIDERS_PATH = f"{_REST}/securityproviders"
_ONE_PROVIDER = f"{_PROVIDERS_PATH}/{{provider}}"
_PROVIDER_REPLY: dict[int, Schema | None] = {200: ref("Provider")}
_PROVIDERS = (
    Operation("GET", _PROVIDERS_PATH, "List providers", "2.4", {200: listing(ref("Provider"))}),
    Operation(
        "GET",
        f"{_PROVIDERS_PATH}/page",
        "Page through providers",
        "2.4",
        {200: ref("Page")},
        (Parameter("filter", TEXT), _PAGE, _PER_PAGE),
    ),
    Operation(
        "POST",
        _PROVIDERS_PATH,
        "Create a provider",
        "2.4",
        _PROVIDER_REPLY,
        body=ref("NewProvider"),
        errors=(*KEYED, 409),
    ),
    Operation("GET", _ONE_PROVIDER, "Show a provider", "2.4", _PROVIDER_REPLY),
    Operation("PUT", _ONE_PROVIDER, "Create or update a provider", "2.4", _PROVIDER_REPLY, body=ref("NewProvider")),
    Operation("DELETE", _ONE_PROVIDER, "Delete a provider", "2.4", _DONE),
)

_FIELDS_PATH = f"{_REST}/indexes/fields"
_MAPPINGS_PATH = f"{_REST}/sources/{{source}}/mappings"
_REBUILD = (Parameter("rebuild", FLAG),)
_FIELDS = (
    Operation(
        "POST",
        f"{_FIELDS_PATH}/search",
        "Search fields",
        "2.6",
        {200: ref("Fields")},
        body=ref("FieldSearch"),
        body_required=False,
    ),
    Operation("POST", _FIELDS_PATH, "Create a field", "2.6", _DONE, body=ref("Field")),
    Operation("POST", f"{_FIELDS_PATH}/batch/create", "Create fields", "2.6", _DONE, body=listing(ref("Field"))),
    Operation("PUT", f"{_FIELDS_PATH}/batch/update", "Update fields", "2.6", _DONE, body=listing(ref("Field"))),
    Operation(
        "DELETE",
        f"{_FIELDS_PATH}/batch/delete",
        "Delete fields",
        "2.6",
        _DONE,
        (Parameter("fields", {"type": "string", "minLength": 1}, required=True),),
    ),
    Operation("GET", f"{_FIELDS_PATH}/{{field}}", "Show a field", "2.6", {200: ref("Field")}),
    Operation("PUT", f"{_FIELDS_PATH}/{{field}}", "Update a field", "2.6", _DONE, body=ref("Field")),
    Operation("DELETE", f"{_FIELDS_PATH}/{{field}}", "Delete a field", "2.6", _DONE),
    Operation("GET", _MAPPINGS_PATH, "Show a source's mappings", "2.6", {200: ref("Mappings")}),
    Operation(
        "PUT",
        _MAPPINGS_PATH,
        "Replace a source's mappings",
        "2.6",
        {200: ref("Mappings")},
        _REBUILD,
        ref("NewMappings"),
    ),
    *(
        entry
        for rest in ("common", "types/{type}")
        for entry in (
            Operation("GET", f"{_MAPPINGS_PATH}/{rest}/rules", "List rules", "2.6", {200: listing(ref("MappingRule"))}),
            Operation(
                "POST",
                f"{_MAPPINGS_PATH}/{rest}/rules",
                "Add a rule",
                "2.6",
                {201: ref("MappingRule")},
                _REBUILD,
                ref("NewMappingRule"),
            ),
        )
    ),
)

# What official clients ask for, and no document tells.
_CLIENTS = (
    Operation(
        "POST",
        "/rest/privilege/evaluate",
        "Has the key a privilege?",
        "1.3",
        {200: ref("Evaluation")},
        body=ref("PrivilegeRequest"),
    ),
    Operation(
        "GET",
        f"{_REST}/indexes/page/fields",
        "Page through the fields",
        "2.6",
        {200: ref("Fields")},
        (_PAGE, _PER_PAGE),
    ),
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
    current = (_at("/push/v1", entry, legacy=False) for entry in (*_PUSH, *_STREAM))
    legacy = (_at("/v1", entry, legacy=True) for entry in (*_PUSH, *_STREAM))
    return (
        *current,
        *_STORAGE_OPERATIONS,
        *_SEARCH,
        *_PLATFORM,
        *_PROVIDERS,
        *_FIELDS,
        *_LIMITS,
        *_CLIENTS,
        *_CONTROLS,
        *_OWN,
        *legacy,
    )


def _at(base: str, entry: Operation, *, legacy: bool) -> Operation:
    return replace(entry, path=base + entry.path, legacy=legacy)
