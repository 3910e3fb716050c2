"""Every row of the tables of push-api.md 2, 4 and 6, and every rule of 4.3 to 4.5, each by an id that tests name.

`words` are those that the row begins with in push-api.md, without its markup; `test_rows` holds them against
the document where it is at hand, so that no row is forgotten.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One row of a table, or one rule of a list."""

    section: str
    name: str
    words: str

    @property
    def id(self) -> str:
        return f"{self.section} {self.name}"


def _rows(section: str, *names: str | tuple[str, str]) -> tuple[Row, ...]:
    """Return rows; a name stands for its words where they are short."""
    return tuple(Row(section, *((name, name) if isinstance(name, str) else name)) for name in names)


TABLES = (
    *_rows(
        "2.1",
        "add/update one",
        "delete one",
        "delete old",
        "batch",
        "file container",
        "upload",
        "source status",
    ),
    *_rows("2.2", "uploadUri", "fileId", "requiredHeaders"),
    *_rows("2.3", "add/update identity", "disable one identity", "add/update alias", "batch", "disable old"),
    *_rows("2.4", "create", "create or update", "get / list", "delete"),
    *_rows("2.5", "open", "next chunk", "close", "update", "shallow merge", "delete old"),
    *_rows("2.5", "fieldValueReplace", "arrayAppend, arrayRemove", "dictionaryPut", "dictionaryRemove"),
    *_rows(
        "2.6",
        "source summary",
        "items present + field values",
        "one item",
        "item permission model",
        "item effective permissions",
        "index ids",
        "identities of a provider",
        "search identities",
        "one identity",
        "members of a group",
        "groups of a member / aliases",
        "force refresh",
        "re-enable",
        "pipeline logs",
        "fields",
        "mappings",
        "limits",
    ),
    *_rows(
        "4.1",
        ("request body", "single item / identity / alias request body"),
        "data, compressedBinaryData",
        ("file container", "file container (batch or large item)"),
        "practical batch size",
        ("permissions per item", "permissions per item (SECURED)"),
        "index item quota",
        ("security identity size", "security identity size and number of relations"),
        "Catalog/Stream item",
        (
            "unpublished limits",
            "documentId length, number/size of metadata, total metadata size, decompressed size",
        ),
    ),
    *_rows(
        "4.2",
        (
            "calls and items per day",
            "calls per day + items processed per day (+ a separate security-identity daily limit)",
        ),
        (
            "published numbers",
            "numbers published for Stream (one revision of the page calls them Push API limits)",
        ),
        "older guidance",
        "429",
    ),
    *_rows(
        "6",
        "400 INVALID_JSON",
        "400 ORGANIZATION_IS_PAUSED",
        "401 UNAUTHORIZED",
        "401 INVALID_TOKEN",
        "403 ACCESS_DENIED",
        "404 ORGANIZATION_NOT_FOUND",
        "412 SOURCE_DOES_NOT_EXIST",
        "412 MISSING_PARAMETER",
        "412 INVALID_PARAMETER",
        "412 DOCUMENT_LIMIT_EXCEEDED",
        ("413", '413 (none; gateway text "Request Entity Too Large"; R17 label TooLarge)'),
        "415 UNSUPPORTED_MEDIA_TYPE",
        "429 TOO_MANY_REQUESTS",
        "429 TOO_MANY_DOCUMENTS_DAILY",
        "500 INTERNAL_SERVER_ERROR",
        ("504", "504 (none, message)"),
    ),
)

RULES = (
    *_rows(
        "4.3",
        ("a URI, unique per source", "Must be a URI, unique per source"),
        ("percent-encoded in the query", "Percent-encode in the query"),
        ("no fragment", "No # (fragment) in the path end"),
        ("a missing scheme", "A missing scheme makes the call succeed but the item never appears"),
        ("byte-exact", "Prefer a scheme-qualified, normalised, stable URI"),
        ("length", "Max length"),
    ),
    *_rows(
        "4.4",
        ("keys in any case", "Keys case-insensitive; duplicates illegal"),
        ("a key needs a field", "A key is useful only if a field of the same name exists"),
        ("field names", "Field name: "),
        ("field types", "Field types LONG, LONG_64, DOUBLE, DATE, STRING, VECTOR"),
        ("values that do not fit", "Values that do not fit the field type are silently converted or dropped"),
    ),
    *_rows(
        "4.5",
        ("dates", "Date strings: ISO-8601 UTC"),
        ("text", "Text is UTF-8 JSON"),
        ("compression", "ZLIB = RFC1950"),
        ("ordering ids", "orderingId: unsigned 64-bit integer"),
    ),
)

ROWS = (*TABLES, *RULES)
