"""What travels through the emulator's endpoints, as JSON Schemas: the models of push-api.md 2 and 3.

Item and identity bodies are told in the spelling that clients should send; keys are taken in any case
(push-api.md 3), which a JSON Schema cannot say. Replies may hold more than is told here.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
ANY_OBJECT: Schema = {"type": "object"}
TEXT_OR_NONE: Schema = {"type": ["string", "null"]}
COMPRESSION_TYPE: Schema = {"type": "string", "enum": ["UNCOMPRESSED", "DEFLATE", "GZIP", "LZMA", "ZLIB"]}


def ref(name: str) -> Schema:
    """Return a reference to a model."""
    return {"$ref": f"#/components/schemas/{name}"}


def listing(item: Schema) -> Schema:
    """Return an array of `item`."""
    return {"type": "array", "items": item}


def one_of(*words: str) -> Schema:
    """Return a string out of `words`."""
    return {"type": "string", "enum": list(words)}


def model(required: str = "", **properties: Schema) -> Schema:
    """Return an object; `required` are names with blanks between."""
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required.split()
    return schema


_METADATA: Schema = {
    "anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
    ]
}
_INFO: Schema = {"type": "object", "additionalProperties": TEXT}
_TYPE = one_of("USER", "GROUP", "VIRTUAL_GROUP", "UNKNOWN")
_WIRE_TYPE = one_of("User", "Group", "VirtualGroup", "Unknown")
_IDENTITIES = listing(ref("Identity"))
_NAME: Schema = {"type": "string", "minLength": 1}


def _content(excluded: tuple[str, ...]) -> Schema:
    """Return the rule that an item has none of these content keys."""
    return {"not": {"anyOf": [{"required": [name]} for name in excluded]}}


_ITEM: Schema = {
    **model(
        documentId=TEXT,
        data=TEXT,
        compressedBinaryData=TEXT,
        compressedBinaryDataFileId=TEXT,
        compressionType=COMPRESSION_TYPE,
        fileExtension={"type": "string", "pattern": r"^\."},
        parentId=TEXT,
        permissions=listing({"anyOf": [ref("PermissionSet"), ref("PermissionLevel")]}),
        orderingId=COUNT,
    ),
    "additionalProperties": _METADATA,
    "anyOf": [
        _content(("compressedBinaryData", "compressedBinaryDataFileId")),
        _content(("data", "compressedBinaryDataFileId")),
        _content(("data", "compressedBinaryData")),
    ],
}

MODELS: dict[str, Schema] = {
    "Error": {
        **model("errorCode message", errorCode={"type": "string", "pattern": "^[A-Z_]+$"}, message=TEXT),
        "description": "push-api.md 6",
    },
    "GatewayError": {**model("message", message=TEXT), "description": "push-api.md 6: what a gateway answers"},
    "Accepted": {"type": ["object", "null"], "description": "push-api.md 2.1: `{}` or `null`"},
    "FileContainer": {
        **model(
            "uploadUri fileId requiredHeaders",
            uploadUri={"type": "string", "format": "uri"},
            fileId={"type": "string", "format": "uuid"},
            requiredHeaders={"type": "object", "additionalProperties": TEXT},
        ),
        "description": "push-api.md 2.2",
    },
    # Items (push-api.md 3.1 to 3.4)
    "DocumentBody": _ITEM,
    "PermissionIdentity": model(
        "identity",
        identity=_NAME,
        identityType=_WIRE_TYPE,
        securityProvider=TEXT,
        additionalInfo=_INFO,
    ),
    "PermissionSet": {
        **model(
            name=TEXT,
            allowAnonymous=FLAG,
            allowedPermissions=listing(ref("PermissionIdentity")),
            deniedPermissions=listing(ref("PermissionIdentity")),
        ),
        "not": {"required": ["permissionSets"]},
    },
    "PermissionLevel": model("permissionSets", name=TEXT, permissionSets=listing(ref("PermissionSet"))),
    # Identities (push-api.md 3.5)
    "Identity": model("name", name=_NAME, type=_TYPE, additionalInfo=_INFO),
    "MappedIdentity": model("name", name=_NAME, type=_TYPE, additionalInfo=_INFO, provider=TEXT),
    "IdentityBody": model("identity", identity=ref("Identity"), members=_IDENTITIES, wellKnowns=_IDENTITIES),
    "MappedIdentityBody": model(
        "identity", identity=ref("Identity"), mappings=listing(ref("MappedIdentity")), wellKnowns=_IDENTITIES
    ),
    "BaseIdentityBody": model("identity", identity=ref("Identity")),
    # The read side (push-api.md 2.6)
    "SearchBody": model(
        q=TEXT,
        aq=TEXT,
        numberOfResults=COUNT,
        firstResult=COUNT,
        fieldsToInclude=listing(TEXT),
        sortCriteria=TEXT,
        pipeline=TEXT,
    ),
    "SearchResult": model(
        "title uri clickUri printableUri uniqueId raw",
        title=TEXT,
        uri=TEXT,
        clickUri=TEXT,
        printableUri=TEXT,
        uniqueId=TEXT,
        excerpt=TEXT,
        raw=ANY_OBJECT,
    ),
    "SearchResults": model("totalCount results", totalCount=COUNT, results=listing(ref("SearchResult"))),
    "Source": model(
        "id sourceVisibility information",
        id=TEXT,
        name=TEXT,
        sourceType=TEXT,
        sourceVisibility=one_of("SECURED", "SHARED", "PRIVATE"),
        securityProviderReferences=listing(ANY_OBJECT),
        pushEnabled=FLAG,
        streamEnabled=FLAG,
        information=ANY_OBJECT,
    ),
    "Page": model("items totalEntries totalPages", items=listing(ANY_OBJECT), totalEntries=COUNT, totalPages=COUNT),
    "PermissionModel": model(
        "state permissionLevels", lastUpdatedDate=TEXT, state=TEXT, permissionLevels=listing(ANY_OBJECT)
    ),
    "Member": model(
        "name type provider state",
        name=TEXT,
        type=_WIRE_TYPE,
        provider=TEXT,
        infos=listing(model("key value", key=TEXT, value=TEXT)),
        state=one_of("NOT_UPDATED", "UP_TO_DATE", "OUT_OF_DATE", "IN_ERROR", "DISABLED", "UNKNOWN"),
        lastUpdateDate=TEXT_OR_NONE,
        lastUpdateResult=TEXT,
        lastUpdateErrorDetail=TEXT,
    ),
    "MemberBody": model(
        "name",
        name=_NAME,
        type=_WIRE_TYPE,
        provider=TEXT,
        infos=listing(model(key=TEXT, value=TEXT)),
    ),
    "Members": model(
        "items totalEntries totalPages", items=listing(ref("Member")), totalEntries=COUNT, totalPages=COUNT
    ),
    "EntityFilter": model(
        providerIds=listing(TEXT),
        identityTypes=listing(_TYPE),
        filterTerm=TEXT,
        filteringMode=one_of("PREFIX", "SUBSTRING"),
        extractPreciseTotalCount=FLAG,
    ),
    "LogFilter": model(
        sourcesIds=listing(TEXT),
        sourceIds=listing(TEXT),
        operations=listing(TEXT),
        results=listing(TEXT),
        tasks=listing(TEXT),
    ),
    "Logs": model(
        "documentLogEntries hasNextPage",
        documentLogEntries=listing(
            model("datetime guid id operation result task", datetime=TEXT, guid=TEXT, id=TEXT, meta=ANY_OBJECT)
        ),
        hasNextPage=FLAG,
    ),
    "Provider": model(
        "id type",
        id=TEXT,
        name=TEXT,
        displayName=TEXT,
        type=TEXT,
        nodeRequired=FLAG,
        caseSensitive=FLAG,
        referencedBy=listing(ANY_OBJECT),
        cascadingSecurityProviders={"type": "object"},
    ),
    "Limit": model("actualCount limit lastUpdate", actualCount=COUNT, limit=COUNT, lastUpdate=TEXT),
    "NewProvider": model(
        "id type",
        id={"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9 _-]*$"},
        displayName=TEXT,
        type=one_of("EXPANDED", "EMAIL"),
        nodeRequired=FLAG,
        caseSensitive=FLAG,
        referencedBy=listing(model("id type", id=TEXT, type=one_of("SOURCE", "SECURITY_PROVIDER"))),
        cascadingSecurityProviders={"type": "object", "additionalProperties": model("id", id=_NAME, type=TEXT)},
    ),
    # Streams (push-api.md 2.5)
    "OpenStream": model(
        "streamId fileId uploadUri requiredHeaders",
        streamId=TEXT,
        fileId=TEXT,
        uploadUri=TEXT,
        requiredHeaders={"type": "object", "additionalProperties": TEXT},
    ),
    "StreamAccepted": model(
        "orderingId requestId", orderingId={"type": "string", "pattern": "^[0-9]+$"}, requestId=TEXT
    ),
    # Fields and mappings (push-api.md 2.6, 4.4)
    "Field": model(
        "name type",
        name={"type": "string", "pattern": "^[a-z][a-z0-9_]{0,254}$"},
        type=one_of("LONG", "LONG_64", "DOUBLE", "DATE", "STRING", "VECTOR"),
        description=TEXT,
        facet=FLAG,
        multiValueFacet=FLAG,
        sort=FLAG,
        keyValue=FLAG,
    ),
    "Fields": model("items totalEntries totalPages", items=listing(ref("Field")), totalEntries=COUNT, totalPages=COUNT),
    "FieldSearch": model(
        page=COUNT,
        perPage={"type": "integer", "minimum": 1, "maximum": 1000},
        sortBy=TEXT,
        order=one_of("ASC", "DESC"),
        filters=model(name=TEXT, type=TEXT, origin=one_of("ALL", "USER", "SYSTEM"), fieldNames=listing(TEXT)),
    ),
    "MappingRule": model("id field content", id=TEXT, field=TEXT, content=listing(TEXT)),
    "NewMappingRule": model("field content", id=TEXT, field=TEXT, content={**listing(TEXT), "minItems": 1}),
    "Mappings": model(
        "common types",
        common=model("rules", rules=listing(ref("MappingRule"))),
        types=listing(model("id type rules", id=TEXT, type=TEXT, rules=listing(ref("MappingRule")))),
    ),
    "NewMappings": model(
        common=model(rules=listing(ref("NewMappingRule"))),
        types=listing(model("type", id=TEXT, type=_NAME, rules=listing(ref("NewMappingRule")))),
    ),
    "PrivilegeRequest": model(
        "requestedPrivilege",
        organizationId=TEXT,
        requestedPrivilege=model("type targetDomain", type=TEXT, targetDomain=TEXT, targetId=TEXT, owner=TEXT),
    ),
    "Evaluation": model("approved", approved=FLAG),
    # The emulator's own
    "Advance": model("advance", advance={"type": "number", "minimum": 0, "maximum": 1e6}),
    "Clock": model("now", now=NUMBER),
    "Requests": model("total requests", total=COUNT, requests=listing(ANY_OBJECT)),
    "State": model("now pending organizations", now=NUMBER, pending=COUNT, organizations=ANY_OBJECT),
    "Viewers": model("found anonymous users", found=FLAG, anonymous=FLAG, users=listing(ANY_OBJECT)),
    "Visible": model("items identities", items=listing(ANY_OBJECT), identities=listing(ANY_OBJECT)),
    "FaultRules": model("rules", rules=listing(TEXT), seed={"type": "integer"}),
    "MoreFaultRules": model("rules", rules=listing(TEXT)),
    "Faults": model("seed rules", seed={"type": "integer"}, rules=listing(ANY_OBJECT)),
    "Pending": model("pending", pending=COUNT),
}
