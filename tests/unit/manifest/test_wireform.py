"""Push API bodies as entries: nothing of them is dropped, and what is unclear is said."""

from __future__ import annotations

import base64
import gzip
import lzma
import zlib
from typing import Any

import pytest

from reconciler.manifest import wireform
from reconciler.manifest.wireform import (
    alias_entry,
    identity_entry,
    is_wire_identity,
    is_wire_item,
    item_entry,
    permission_entry,
)

TEXT = b"<html>" * 50


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("compression", "data"),
    [
        (None, zlib.compress(TEXT)),
        ("ZLib", zlib.compress(TEXT)),
        ("DEFLATE", zlib.compress(TEXT)),
        ("Deflate", raw_deflate(TEXT)),
        ("GZip", gzip.compress(TEXT, mtime=0)),
        ("LZMA", lzma.compress(TEXT)),
        ("LZMA", lzma.compress(TEXT, lzma.FORMAT_ALONE)),
        ("UNCOMPRESSED", TEXT),
    ],
)
def test_compressed_content(compression: str | None, data: bytes) -> None:
    text = base64.encodebytes(data).decode()
    body: dict[str, Any] = {"documentId": "x:1", "CompressedBinaryData": text}
    if compression is not None:
        body["compressionType"] = compression
    assert item_entry(body) == {"uri": "x:1", "body": {"base64": base64.b64encode(TEXT).decode()}}


@pytest.mark.parametrize(
    ("compression", "data", "said"),
    [
        (None, TEXT, "compressedBinaryData is not ZLIB data"),
        (None, zlib.compress(TEXT)[:-5], "compressedBinaryData is not ZLIB data"),
        ("DEFLATE", raw_deflate(TEXT)[:-2], "compressedBinaryData is not DEFLATE data"),
        ("GZIP", gzip.compress(TEXT, mtime=0)[:-9], "compressedBinaryData is not GZIP data"),
        ("LZMA", lzma.compress(TEXT)[:-9], "compressedBinaryData is not LZMA data"),
        ("BROTLI", TEXT, 'compressionType "BROTLI" is none of ZLIB, GZIP, DEFLATE, LZMA, UNCOMPRESSED'),
    ],
)
def test_content_that_cannot_be_had_whole(compression: str | None, data: bytes, said: str) -> None:
    body = {
        "documentId": "x:1",
        "compressedBinaryData": base64.b64encode(data).decode(),
        "compressionType": compression,
    }
    with pytest.raises(ValueError, match=r".") as caught:
        item_entry(body)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("compression", "compress"),
    [("ZLIB", zlib.compress), ("GZIP", gzip.compress), ("LZMA", lzma.compress), ("UNCOMPRESSED", bytes)],
)
def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch, compression: str, compress: Any) -> None:
    monkeypatch.setattr(wireform, "MAX_CONTENT", 1000)
    text = base64.b64encode(compress(bytes(100_000))).decode()
    if compression == "UNCOMPRESSED":
        return
    with pytest.raises(ValueError, match="holds more than an item may"):
        item_entry({"documentId": "x:1", "compressedBinaryData": text, "compressionType": compression})


def test_an_item_whole() -> None:
    body = {
        "DocumentId": "x:1",
        "Data": "text",
        "TITLE": "t",
        "ClickableUri": "x:2",
        "fileextension": ".txt",
        "ParentID": "x:0",
        "permanentId": "p",
        "Author": "a",
        "metadata": {"Language": ["en"]},
        "source": "s",
        "protect": True,
    }
    assert item_entry(body) == {
        "uri": "x:1",
        "body": {"text": "text"},
        "title": "t",
        "clickableUri": "x:2",
        "fileExtension": ".txt",
        "parent": "x:0",
        "permanentId": "p",
        "source": "s",
        "protect": True,
        "metadata": {"author": "a", "Language": ["en"]},
    }


@pytest.mark.parametrize(
    ("entry", "is_wire"),
    [
        ({"uri": "x"}, False),
        ({"uri": "x", "fileExtension": ".txt", "permissions": []}, False),
        ({"uri": "x", "data": "t"}, True),
        ({"uri": "x", "Permissions": []}, True),
        ({"uri": "x", "FileExtension": ".txt"}, True),
        ({"uri": "x", "FileExtension": ".txt", "metadata": {}}, False),
        ({"documentid": "x", "metadata": {}}, True),
        ("text", False),
        (None, False),
    ],
)
def test_what_is_an_item_of_the_wire(entry: Any, is_wire: bool) -> None:
    assert is_wire_item(entry) is is_wire


def test_what_is_an_identity_of_the_wire() -> None:
    assert [is_wire_identity(entry) for entry in ({"Identity": {}}, {"name": "A"}, None, ["identity"])] == [
        True,
        False,
        False,
        False,
    ]


def test_permissions() -> None:
    person = {"Identity": "a", "IdentityType": "USER", "SecurityProvider": "p", "AdditionalInfo": {"k": "v"}}
    own = {"user": "a", "provider": "p", "additionalInfo": {"k": "v"}}
    assert permission_entry(
        [{"AllowedPermissions": [person], "Name": "n"}, {"DeniedPermissions": None, "AllowAnonymous": True}]
    ) == {"sets": [{"allowed": [own], "name": "n"}, {"denied": [], "anonymous": True}]}
    assert permission_entry(
        [{"Name": "L", "PermissionSets": [{"AllowedPermissions": ["user:a", {"user": "b"}, {"identity": "c"}]}]}]
    ) == {"levels": [{"sets": [{"allowed": ["user:a", {"user": "b"}, {"unknown": "c"}]}], "name": "L"}]}
    # What is not understood stays for validation to name.
    assert permission_entry(["alpha"]) == ["alpha"]
    assert permission_entry([{"permissionSets": {"a": 1}, "typo": 1}]) == {"levels": [{"sets": {"a": 1}, "typo": 1}]}
    assert permission_entry([{"allowedPermissions": {"identity": "a"}}]) == {"sets": [{"allowed": {"identity": "a"}}]}
    assert permission_entry([]) == {"sets": []}


def test_identities_and_aliases() -> None:
    group = {
        "identity": {"name": "A", "type": "GROUP"},
        "Members": [{"name": "a", "type": "USER"}],
        "provider": "p",
        "Result": {},
        "protect": True,
    }
    assert identity_entry(group, "group") == {"name": "A", "members": [{"user": "a"}], "provider": "p", "protect": True}
    assert identity_entry({"identity": {"name": "A"}}, "virtual-group") == {"name": "A", "members": []}
    assert identity_entry(
        {"identity": {"name": "u"}, "members": [], "wellKnowns": [{"name": "E", "type": "VirtualGroup"}]}, "user"
    ) == {
        "name": "u",
        "wellKnowns": [{"virtualGroup": "E"}],
    }
    alias = {
        "Identity": {"Name": "a", "Type": "USER", "AdditionalInfo": {"k": "v"}},
        "Mappings": [
            {"Name": "b", "Provider": "P", "AdditionalInfo": {"l": "w"}},
            {"name": "G", "type": "virtual_group", "provider": "Q"},
        ],
    }
    assert alias_entry(alias) == {
        "of": {"user": "a", "additionalInfo": {"k": "v"}},
        "is": [
            {"identity": "user:b", "additionalInfo": {"l": "w"}, "provider": "P"},
            {"identity": "virtual-group:G", "provider": "Q"},
        ],
    }
    with pytest.raises(ValueError, match="wellKnowns stand with the identity"):
        alias_entry({**alias, "wellKnowns": [{"name": "E"}]})
