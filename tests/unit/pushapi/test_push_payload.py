"""Payloads: what a batch file holds, what a body may not do, and how little memory it takes."""

from __future__ import annotations

import base64
import hashlib
import io
import tracemalloc
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO

import orjson
import pytest

from reconciler.calls.call import Call
from reconciler.calls.compile import compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.wire import Body, Wire
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json, permanent_id
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.pushapi import content
from reconciler.pushapi.payload import Parcel, Payload, Spool

CONTEXT = WireContext("org", {"s": SourceRef("sid", "corp")}, {"corp": "pid"})
ADDRESS = Address("item/s/https://x/a")


class Bodies:
    """Bodies in memory, under the digest that was promised, which need not be theirs."""

    def __init__(self, by_digest: dict[str, bytes]) -> None:
        self.by_digest = by_digest

    def open(self, sha256: str, /) -> BinaryIO:
        return io.BytesIO(self.by_digest[sha256])


class Zeros(io.RawIOBase):
    """A large body that is nowhere."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        length = min(size, self.left)
        self.left -= length
        return bytes(length)


def promised(raw: bytes, encoding: str = "text") -> Body:
    return Body(encoding, hashlib.sha256(raw).hexdigest(), len(raw))


def item(uri: str, body: Body | None = None, **own: Any) -> Change:
    doc: dict[str, Any] = {"metadata": {}, **own}
    if body is not None:
        doc["body"] = {"encoding": body.encoding, "sha256": body.sha256, "size": body.size}
    resource = Resource(Address.of(Kind.ITEM, "s", uri), canonical_json(doc))
    return Change(resource.address, Action.CREATE, "new", None, resource)


def compiled(changes: list[Change]) -> tuple[Call, list[Resource | None]]:
    call = compile_calls(changes, CONTEXT).calls[0]
    resources = payload_resources(changes)
    return call, [resources[covered.address] for covered in call.covers]


def parcel(call: Call, resources: Iterable[Resource | None], bodies: content.BodySource) -> Parcel:
    return Parcel(call, list(resources), bodies, Wire(CONTEXT))


def batch_payload(call: Call, resources: Iterable[Resource | None], bodies: content.BodySource) -> Payload:
    """The batch file of a call none of whose bodies travels apart."""
    return parcel(call, resources, bodies).batch({})


def test_a_batch_of_items() -> None:
    text, binary = b'say "hi"\n', b"\x00\xff"
    changes = [
        item("https://x/a", promised(text), title="A"),
        item("https://x/b", promised(binary, "binary")),
        item("https://x/c", promised(b"")),
        item("https://x/d", title="D"),
    ]
    gone = Resource(Address("item/s/https://x/e"), b"{}")
    changes.append(Change(gone.address, Action.DELETE, "removed", gone, None))
    call, resources = compiled(changes)
    bodies = Bodies({promised(raw).sha256: raw for raw in (text, binary, b"")})
    with batch_payload(call, resources, bodies) as payload:
        raw = b"".join(payload.pieces())
        assert raw == b"".join(payload.pieces())
    assert len(raw) == payload.size <= call.size
    assert orjson.loads(raw) == {
        "addOrUpdate": [
            {
                "permanentid": "3a1b40c4e355413d36e35a7d1cd47a8641f359d3f846628e2f58b7d1e6b1",
                "documentId": "https://x/a",
                "title": "A",
                "data": 'say "hi"\n',
            },
            {
                "permanentid": permanent_id("https://x/b"),
                "documentId": "https://x/b",
                "compressionType": "ZLIB",
                "compressedBinaryData": base64.b64encode(zlib.compress(binary, content.LEVEL)).decode(),
            },
            {"permanentid": permanent_id("https://x/c"), "documentId": "https://x/c", "data": ""},
            {"permanentid": permanent_id("https://x/d"), "documentId": "https://x/d", "title": "D"},
        ],
        "delete": [{"documentId": "https://x/e", "deleteChildren": False}],
    }


def test_a_batch_of_identities() -> None:
    def change(kind: Kind, name: str, own: dict[str, Any]) -> Change:
        resource = Resource(Address.of(kind, "corp", name), canonical_json(own))
        return Change(resource.address, Action.CREATE, "new", None, resource)

    call, resources = compiled(
        [
            change(Kind.GROUP, "g", {"members": ["user/corp/u"]}),
            change(Kind.USER, "u", {}),
            change(Kind.ALIAS, "user:u", {"mappings": ["user/Email Security Provider/u@x"]}),
        ]
    )
    with batch_payload(call, resources, Bodies({})) as payload:
        assert orjson.loads(payload.file.read()) == {
            "members": [
                {"identity": {"name": "g", "type": "GROUP"}, "members": [{"name": "u", "type": "USER"}]},
                {"identity": {"name": "u", "type": "USER"}},
            ],
            "mappings": [
                {
                    "identity": {"name": "u", "type": "USER"},
                    "mappings": [{"name": "u@x", "type": "USER", "provider": "Email Security Provider"}],
                }
            ],
        }


def removed(kind: Kind, name: str, reason: str = "removed", **own: Any) -> Change:
    """The deletion of an identity or an alias that had well-knowns."""
    known = canonical_json({"wellKnowns": ["group/corp/Everyone"]})
    resource = Resource(Address.of(kind, "corp", name), canonical_json(own), known)
    return Change(resource.address, Action.DELETE, reason, resource, None)


def sent(changes: list[Change]) -> list[tuple[str, str, bytes]]:
    """Method, last part of the path and payload of every call, in order."""
    resources = payload_resources(changes)
    sent = []
    for call in compile_calls(changes, CONTEXT).calls:
        given = [resources[covered.address] for covered in call.covers]
        if call.is_batch:
            with batch_payload(call, given, Bodies({})) as payload:
                raw = payload.file.read()
        else:
            raw = parcel(call, given, Bodies({})).single({})
        assert len(raw) <= call.size
        sent.append((call.method, call.path.rpartition("/")[2], raw))
    return sent


def test_a_batch_of_destroyed_users() -> None:
    changes = [removed(Kind.USER, name, "destroy") for name in "abc"]
    call, _ = compiled(changes)
    with batch_payload(call, [None, None, None], Bodies({})) as payload:
        assert orjson.loads(payload.file.read()) == {
            "deleted": [{"identity": {"name": name, "type": "USER"}} for name in "abc"]
        }


def test_a_batch_of_withdrawn_users() -> None:
    [(method, end, raw)] = sent([removed(Kind.USER, name, protect=True) for name in "abc"])
    assert (method, end) == ("PUT", "batch")
    assert orjson.loads(raw) == {"members": [{"identity": {"name": name, "type": "USER"}} for name in "abc"]}


def test_a_batch_of_withdrawn_users_and_deleted_identities_has_each_list_once() -> None:
    changes = [
        removed(Kind.GROUP, "g", members=["user/corp/a"]),
        removed(Kind.USER, "a"),
        removed(Kind.USER, "b", "destroy"),
        removed(Kind.USER, "c"),
        removed(Kind.VIRTUAL_GROUP, "v", members=[]),
    ]
    expected = (
        b'{"members":[{"identity":{"name":"a","type":"USER"}},{"identity":{"name":"c","type":"USER"}}],'
        b'"deleted":[{"identity":{"name":"g","type":"GROUP"}},{"identity":{"name":"b","type":"USER"}},'
        b'{"identity":{"name":"v","type":"VIRTUAL_GROUP"}}]}'
    )
    assert sent(changes) == sent(changes[::-1]) == [("PUT", "batch", expected)]


def test_an_alias_goes_with_its_users_declaration_and_brings_no_well_knowns_back() -> None:
    mapping = b'{"identity":{"name":"u","type":"USER"},"mappings":[]}'
    identity = b'{"identity":{"name":"u","type":"USER"}}'
    for reason, method in (("removed", "PUT"), ("destroy", "DELETE")):
        changes = [
            removed(Kind.USER, "u", reason),
            removed(Kind.ALIAS, "user:u", reason, mappings=["user/Email Security Provider/u@x"]),
        ]
        assert sent(changes) == [("PUT", "mappings", mapping), (method, "permissions", identity)]


def test_an_alias_that_goes_alone_keeps_the_well_knowns_of_its_identity() -> None:
    changes = [removed(Kind.ALIAS, "user:u", mappings=["user/Email Security Provider/u@x"])]
    [(method, end, raw)] = sent(changes)
    assert (method, end) == ("PUT", "mappings")
    assert orjson.loads(raw) == {
        "identity": {"name": "u", "type": "USER"},
        "mappings": [],
        "wellKnowns": [{"name": "Everyone", "type": "GROUP"}],
    }


def test_single_payloads() -> None:
    call, resources = compiled([item("https://x/a", promised(b"text"))])
    bodies = Bodies({promised(b"text").sha256: b"text"})
    assert parcel(call, resources, bodies).single({}) == (
        b'{"permanentid":"3a1b40c4e355413d36e35a7d1cd47a8641f359d3f846628e2f58b7d1e6b1","data":"text"}'
    )
    gone = Resource(ADDRESS, b"{}")
    call, resources = compiled([Change(ADDRESS, Action.DELETE, "removed", gone, None)])
    assert parcel(call, resources, bodies).single({}) == b""


def test_other_resources_than_the_calls_are_refused() -> None:
    call, _ = compiled([item("https://x/a"), item("https://x/b"), item("https://x/c")])
    _, others = compiled([item("https://x/c"), item("https://x/d"), item("https://x/e")])
    with pytest.raises(ValueError, match="bug in reconciler"):
        batch_payload(call, others, Bodies({}))
    with pytest.raises(ValueError, match="shorter"):
        batch_payload(call, [], Bodies({}))


@pytest.mark.parametrize("encoding", ["text", "binary"])
def test_a_large_body_never_sits_in_memory(encoding: str) -> None:
    size = 60_000_000
    digest = hashlib.sha256()
    for _ in range(60):
        digest.update(bytes(1_000_000))

    class Large:
        def open(self, sha256: str, /) -> BinaryIO:
            return Zeros(size)  # type: ignore[return-value]

    changes = [item("https://x/a", Body(encoding, digest.hexdigest(), size))]
    call, resources = compiled(changes)
    made = parcel(call, resources, Large())
    [covered] = made.apart()
    tracemalloc.start()
    try:
        with made.body(covered) as payload:
            _, peak = tracemalloc.get_traced_memory()
            assert payload.size <= call.size
            assert sum(map(len, payload.pieces())) == payload.size
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000


def many(count: int, size: int) -> tuple[list[Change], Bodies]:
    raws = [(f"{n:07} " * (size // 8)).encode() for n in range(count)]
    bodies = Bodies({promised(raw).sha256: raw for raw in raws})
    return [item(f"https://x/{n}", promised(raw), title=f"t{n}") for n, raw in enumerate(raws)], bodies


@pytest.mark.slow
def test_ten_thousand_small_items_fill_one_payload() -> None:
    changes, bodies = many(10_000, 1000)
    call, resources = compiled(changes)
    with batch_payload(call, resources, bodies) as payload:
        assert 10_000_000 < payload.size <= call.size


def test_a_spool_takes_back_what_it_wrote() -> None:
    spool = Spool()
    pieces: Iterable[bytes] = (b"a" * 900_000, b"b" * 900_000)
    for piece in pieces:
        spool.write(piece)
    spool.take_back(900_000)
    spool.write(b"c")
    assert spool.tell() == 900_001
    with spool.finish() as file:
        assert file.read() == b"a" * 900_000 + b"c"
