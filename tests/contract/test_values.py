"""Identifiers, metadata keys, dates and encodings: the rules of push-api.md 4.3 to 4.5, as far as one sees them."""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from base64 import b64encode
from collections.abc import Callable

import pytest

from tests.contract.conftest import PUBLIC, Api

TEXT = "Ein kurzer Text mit Umlauten: äöü €".encode()


def b64(data: bytes) -> str:
    return b64encode(data).decode()


@pytest.mark.row("4.3 a URI, unique per source")
def test_one_uri_is_one_item_per_source(api: Api) -> None:
    for source in ("src", "shared"):
        for title in ("One", "Two"):
            api.put("http://a", {"title": title}, source)
    found = [(result["raw"]["source"], result["title"]) for result in api.search(aq='@uri=="http://a"')["results"]]
    assert sorted(found) == sorted([(api.names["src"], "Two"), (api.names["shared"], "Two")])


@pytest.mark.row("4.3 percent-encoded in the query")
@pytest.mark.parametrize(
    ("raw", "uri"),
    [
        ("file%3A%2F%2Ffolder%2Fa.txt", "file://folder/a.txt"),
        ("file://folder/a.txt", "file://folder/a.txt"),
        ("http%3A%2F%2Fa%2F%3Fx%3D1%26y%3D2", "http://a/?x=1&y=2"),
        ("http%3A%2F%2Fa%2F100%2525", "http://a/100%25"),
        ("http%3A%2F%2Fa%2F%C3%BC", "http://a/ü"),
    ],
)
def test_a_document_id_is_decoded_once(api: Api, raw: str, uri: str) -> None:
    api.replay(
        """
        PUT /push/v1/organizations/$org/sources/$shared/documents?documentId=$raw
        Authorization: Bearer $key
        Content-Type: application/json

        {"title": "A"}
        ---
        202

        {}
        """,
        raw=raw,
    )
    assert list(api.items("shared")) == [uri]


@pytest.mark.row("4.3 no fragment")
def test_a_document_id_with_a_fragment_is_never_indexed(api: Api) -> None:
    api.put("http://a#b")
    assert api.items() == {}
    assert api.logs() == [("ADD", "REJECTED", "http://a#b")]


@pytest.mark.row("4.3 a missing scheme")
@pytest.mark.parametrize("uri", ["folder/a.txt", "a", "//host/a", "1http://a"])
def test_a_document_id_without_a_scheme_is_never_indexed(api: Api, uri: str) -> None:
    api.put(uri)
    assert api.items() == {}
    assert api.logs() == [("ADD", "REJECTED", uri)]


@pytest.mark.row("4.3 byte-exact")
def test_document_ids_are_compared_byte_by_byte(api: Api) -> None:
    uris = ["HTTP://A", "http://a", "http://a/", "http://a/%7Eb", "http://a/~b"]
    for uri in uris:
        api.put(uri)
    assert sorted(api.items()) == sorted(uris)


@pytest.mark.row("4.3 length")
def test_a_document_id_has_no_known_length(api: Api) -> None:
    uri = "http://a/" + "x" * 8000
    api.put(uri)
    assert list(api.items()) == [uri]


@pytest.mark.row("4.4 keys in any case")
def test_keys_come_in_any_case_and_once(api: Api) -> None:
    api.put("http://a", {"TITLE": "A", "Data": "text", "FileExtension": ".txt", "MyField": "value"})
    item = api.items()["http://a"]
    assert item["metadata"] == {"title": "A", "myfield": "value"}
    assert (item["body"]["preview"], item["fileExtension"]) == ("text", ".txt")
    answer = api.call("PUT", api.documents, {"myfield": "1", "MyField": "2"}, documentId="http://a")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_JSON")


@pytest.mark.row("4.4 field names")
@pytest.mark.parametrize("key", ["1st", "_a", "my field", "my.field", "my-field", "a" * 256])
def test_a_key_that_is_no_field_name_is_accepted_and_never_seen(api: Api, key: str) -> None:
    api.put("http://a", {key: "value", "fine": "value"})
    (result,) = api.search()["results"]
    assert key not in result["raw"]
    assert api.logs() == [("ADD", "COMPLETED", "http://a")]


@pytest.mark.row("4.5 dates")
@pytest.mark.parametrize(
    "text",
    [
        "2017-11-08T12:18:41.666Z",
        "2017-11-08T13:18:41.666+01:00",
        "2017-11-08T12:18:41.666",
    ],
)
def test_dates_become_epoch_milliseconds(api: Api, text: str) -> None:
    api.put("http://a", {"date": text})
    assert api.search()["results"][0]["raw"]["date"] == 1510143521666


@pytest.mark.row("4.5 dates")
@pytest.mark.parametrize("text", ["2017-11-08 12:18:41", "Wed, 08 Nov 2017 12:18:41 GMT"])
def test_dates_of_older_pages(api: Api, text: str) -> None:
    api.put("http://a", {"date": text})
    assert api.search()["results"][0]["raw"]["date"] == 1510143521000


@pytest.mark.row("4.5 text")
def test_text_is_utf_8(api: Api) -> None:
    api.put("http://a", {"title": "Ünïcödé 漢字 🙂", "data": TEXT.decode()})
    item = api.items()["http://a"]
    assert (item["metadata"]["title"], item["body"]["size"]) == ("Ünïcödé 漢字 🙂", len(TEXT))
    answer = api.client.put(
        api.documents,
        params={"documentId": "http://b"},
        content=json.dumps({"title": "é"}, ensure_ascii=False).encode("latin-1"),
        headers={"Authorization": f"Bearer {api.names['key']}", "Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "INVALID_JSON")


def raw_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(data) + machine.flush()


COMPRESSED: list[tuple[str | None, Callable[[bytes], bytes]]] = [
    (None, zlib.compress),
    ("ZLIB", zlib.compress),
    ("GZip", gzip.compress),
    ("DEFLATE", raw_deflate),
    ("Deflate", zlib.compress),
    ("LZMA", lzma.compress),
    ("UNCOMPRESSED", bytes),
]


@pytest.mark.row("4.5 compression")
@pytest.mark.parametrize(("name", "pack"), COMPRESSED)
def test_content_is_unpacked(api: Api, name: str | None, pack: Callable[[bytes], bytes]) -> None:
    """In the query of a single item, in the entry of a batch, base64 in both; raw in a container."""
    query = {} if name is None else {"compressionType": name}
    packed = pack(TEXT)
    api.put("http://single", {"compressedBinaryData": b64(packed)}, **query)
    api.put("http://file", {"compressedBinaryDataFileId": api.container(packed)}, **query)
    entry = {"documentId": "http://batch", "compressedBinaryData": b64(packed), "permissions": PUBLIC, **query}
    api.batch(addOrUpdate=[entry])
    bodies = {uri: item["body"]["preview"] for uri, item in api.items().items()}
    assert bodies == dict.fromkeys(("http://single", "http://file", "http://batch"), TEXT.decode())


@pytest.mark.row("4.5 compression")
def test_content_that_was_packed_otherwise_is_an_error_of_the_logs(api: Api) -> None:
    api.put("http://a", {"compressedBinaryData": b64(gzip.compress(TEXT))})
    api.put("http://b", {"compressedBinaryDataFileId": api.container(b64(zlib.compress(TEXT)).encode())})
    assert api.items() == {}
    assert api.logs() == [("ADD", "ERROR", "http://a"), ("ADD", "ERROR", "http://b")]


@pytest.mark.row("4.5 ordering ids")
def test_an_ordering_id_has_64_bits(api: Api) -> None:
    """Those of the Crawling Module are beyond an int64."""
    for number in (0, 2**63, 18_400_000_000_000_000_000, 2**64 - 1):
        api.put(f"http://{number}", orderingId=number)
        assert api.items()[f"http://{number}"]["orderingId"] == number
    answer = api.call("PUT", api.documents, {}, documentId="http://a", orderingId=2**64)
    assert (answer.status_code, answer.json()["errorCode"]) == (412, "INVALID_PARAMETER")
