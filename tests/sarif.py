"""What SARIF 2.1.0 asks of a log, as far as ours go: the objects that we write, with the properties that they may have.

Written from the specification (sections 3.13 to 3.52); objects that we never write are left out, so that one which
appears fails until it is described here.
"""

from __future__ import annotations

from typing import Any


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


_TEXT = {"type": "string"}
_PLACE = {"type": "integer", "minimum": 1}
_INDEX = {"type": "integer", "minimum": -1}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_MESSAGE = _object(("text",), text=_TEXT, markdown=_TEXT)
_URI = {"type": "string", "format": "uri-reference", "pattern": "^[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$"}

_ARTIFACT = _object(("uri",), uri=_URI, uriBaseId=_TEXT)
_REGION = _object(("startLine",), startLine=_PLACE, startColumn=_PLACE, endLine=_PLACE, endColumn=_PLACE)
_LOCATION = _object(
    id={"type": "integer", "minimum": -1},
    physicalLocation=_object(("artifactLocation",), artifactLocation=_ARTIFACT, region=_REGION),
    logicalLocations={
        "type": "array",
        "uniqueItems": True,
        "items": _object(name=_TEXT, fullyQualifiedName=_TEXT, kind=_TEXT),
    },
    message=_MESSAGE,
)
_LOCATIONS = {"type": "array", "items": _LOCATION}
_RULE = _object(
    ("id",),
    id=_TEXT,
    shortDescription=_MESSAGE,
    fullDescription=_MESSAGE,
    defaultConfiguration=_object(level=_LEVEL),
)
_RESULT = _object(
    ("message",),
    ruleId=_TEXT,
    ruleIndex=_INDEX,
    level=_LEVEL,
    message=_MESSAGE,
    locations=_LOCATIONS,
    relatedLocations={**_LOCATIONS, "uniqueItems": True},
)
_DRIVER = _object(("name",), name=_TEXT, version=_TEXT, rules={"type": "array", "uniqueItems": True, "items": _RULE})
_RUN = _object(
    ("tool",),
    tool=_object(("driver",), driver=_DRIVER),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results={"type": "array", "items": _RESULT},
)
SARIF: dict[str, Any] = _object(
    ("version", "runs"),
    **{"$schema": {"type": "string", "format": "uri"}},
    version={"const": "2.1.0"},
    runs={"type": "array", "items": _RUN},
)
