"""The fewest calls, in a safe order, whatever the order of the changes."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import BinaryIO

import orjson
import pytest
from call_changes import (
    CONTEXT,
    SHA,
    alias,
    create,
    delete,
    destroy,
    group,
    item,
    shown,
    stays,
    update,
    user,
    virtual_group,
)
from hypothesis import given
from hypothesis import strategies as st

from reconciler.calls.call import Call, CallKind, Compiled, Covered, Stage, Verb
from reconciler.calls.compile import compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.calls.units import alters_wire
from reconciler.calls.wire import Wire, body_bound, packed_bound, section_of
from reconciler.model.address import Address
from reconciler.model.canonical import canonical_json, permanent_id
from reconciler.model.states import Resource
from reconciler.planning.change import Change
from reconciler.problems import ManifestError
from reconciler.pushapi.payload import Parcel

# Permissions that take the better part of a megabyte: more than a single call has left beside a large body.
MANY = canonical_json({"levels": [{"sets": [{"allowed": [f"user/corp/{'n' * 150}{n}" for n in range(4000)]}]}]})
# Room for a few changes in each container, and for none in a single call.
SMALL = Limits(single_body=0, container=500)


def test_one_change_is_one_call_two_are_two_and_three_are_a_batch() -> None:
    changes = [create(item(f"https://x/{number}")) for number in range(3)]
    assert [call.kind for call in compile_calls(changes[:1], CONTEXT).calls] == [CallKind.ITEM_PUT]
    assert [call.kind for call in compile_calls(changes[:2], CONTEXT).calls] == [CallKind.ITEM_PUT] * 2
    assert compile_calls(changes, CONTEXT).calls == (
        Call(
            number=1,
            kind=CallKind.ITEM_BATCH,
            method="PUT",
            path="organizations/org/sources/sid/documents/batch",
            query=(),
            scope="s",
            covers=tuple(Covered(Address(f"item/s/https://x/{number}"), Verb.PUT) for number in range(3)),
            size=64 + 3 * len(f'{{"permanentid":"{permanent_id("https://x/0")}","documentId":"https://x/0"}},'),
        ),
    )
    compiled = compile_calls(changes, CONTEXT)
    assert (compiled.api_calls, compiled.requests) == (2, 3)
    assert compile_calls([], CONTEXT) == Compiled()


def test_stages_and_their_order() -> None:
    changes = [
        create(group("a", "group/corp/b", "user/corp/u")),
        create(group("b", "group/corp/c")),
        create(group("c")),
        create(user("u")),
        create(alias("u")),
        create(item("https://x/a", parent="https://x/z")),
        create(item("https://x/z")),
        delete(item("https://x/old")),
        delete(alias("gone")),
        delete(user("gone")),
        create(item("https://x/t", "t")),
        create(group("q", scope="other")),
    ]
    expected = [
        (
            "identities",
            "identity-batch",
            ["group/corp/c", "group/corp/b", "group/corp/a", "user/corp/u", "alias/corp/user:u"],
        ),
        ("identities", "identity-put", ["group/other/q"]),
        ("items", "item-batch", ["item/s/https://x/z", "item/s/https://x/a", "-item/s/https://x/old"]),
        ("items", "item-put", ["item/t/https://x/t"]),
        ("alias-deletes", "mapping-put", ["-alias/corp/user:gone"]),
        ("identity-deletes", "identity-put", ["~user/corp/gone"]),
    ]
    compiled = compile_calls(changes, CONTEXT)
    assert shown(compiled) == expected
    assert [call.number for call in compiled.calls] == [1, 2, 3, 4, 5, 6]
    for seed in range(20):
        shuffled = changes[:]
        random.Random(seed).shuffle(shuffled)
        assert compile_calls(shuffled, CONTEXT) == compiled


def test_singles_carry_their_paths_queries_and_sizes() -> None:
    changes = [
        create(item("https://x/a b", size=3)),
        delete(item("https://x/c")),
        create(alias("u")),
        delete(group("g")),
    ]
    assert [
        (call.method, call.path.removeprefix("organizations/org/"), call.query, call.size)
        for call in compile_calls(changes, CONTEXT).calls
    ] == [
        (
            "PUT",
            "providers/pid/mappings",
            (),
            len(
                '{"identity":{"name":"u","type":"USER"},'
                '"mappings":[{"name":"u","type":"USER","provider":"Email Security Provider"}]}'
            ),
        ),
        (
            "PUT",
            "sources/sid/documents",
            (("documentId", "https://x/a b"), ("compressionType", "ZLIB")),
            len(f'{{"permanentid":"{permanent_id("https://x/a b")}"}}') + 28 + 128,
        ),
        ("DELETE", "sources/sid/documents", (("documentId", "https://x/c"), ("deleteChildren", "false")), 0),
        ("DELETE", "providers/pid/permissions", (), len('{"identity":{"name":"g","type":"GROUP"}}')),
    ]


def test_cycles_are_cut_the_same_way_every_time() -> None:
    changes = [
        create(group("a", "group/corp/b")),
        create(group("b", "group/corp/c")),
        create(group("c", "group/corp/a", "group/corp/c")),
        create(item("https://x/a", parent="https://x/b")),
        create(item("https://x/b", parent="https://x/a")),
        create(item("https://x/p", parent="https://x/p")),
    ]
    expected = [
        ("identities", "identity-batch", ["group/corp/c", "group/corp/b", "group/corp/a"]),
        ("items", "item-batch", ["item/s/https://x/b", "item/s/https://x/a", "item/s/https://x/p"]),
    ]
    assert shown(compile_calls(changes, CONTEXT)) == expected
    assert shown(compile_calls(changes[::-1], CONTEXT)) == expected


def test_nesting_may_be_deeper_than_the_stack() -> None:
    changes = [create(group(f"g{n:05}", f"group/corp/g{n + 1:05}")) for n in range(20_000)]
    [call] = compile_calls(changes, CONTEXT).calls
    assert [call.covers[0].address, call.covers[-1].address] == ["group/corp/g19999", "group/corp/g00000"]


def test_without_batching_each_change_is_its_documented_call_in_order() -> None:
    changes = [create(item(f"https://x/{n}", size=10)) for n in range(4)] + [delete(item("https://x/old"))]
    compiled = compile_calls(changes, CONTEXT, batching="never")
    assert [(call.kind, len(call.covers)) for call in compiled.calls] == [
        *[(CallKind.ITEM_PUT, 1)] * 4,
        (CallKind.ITEM_DELETE, 1),
    ]
    assert compiled.api_calls == len(changes)


def test_an_item_too_large_for_a_single_call_takes_the_others_along() -> None:
    # What follows takes a container anyway, so a call of its own saves nothing.
    large = replace(item("https://x/large", size=3_700_000), shared=MANY)
    changes = [create(large), create(item("https://x/small"))]
    assert shown(compile_calls(changes[:1], CONTEXT)) == [("items", "item-batch", ["item/s/https://x/large"])]
    assert compile_calls(changes, CONTEXT).api_calls == 2
    assert shown(compile_calls(changes, CONTEXT, batching="never")) == [
        ("items", "item-batch", ["item/s/https://x/large"]),
        ("items", "item-put", ["item/s/https://x/small"]),
    ]


COMPRESSIONS = ["ZLIB", "GZIP", "DEFLATE", "LZMA", "UNCOMPRESSED"]
# The largest that a single call carries inline, for every compression, and what takes a container of its own.
INLINE, APART = 3_600_000, 3_750_000
# How a body travels: the keys of its entry in a batch, the query of its single call, its containers.
WAYS = [
    ("text", 10, ("data",), False, 0),
    ("text", INLINE, ("data",), False, 0),
    ("text", APART, ("compressedBinaryDataFileId",), True, 1),
    ("binary", 0, ("compressedBinaryData",), True, 0),
    ("binary", INLINE, ("compressedBinaryData",), True, 0),
    ("binary", APART, ("compressedBinaryDataFileId",), True, 1),
    ("binary", 200_000_000, ("compressedBinaryDataFileId",), True, 1),
]


class Printable:
    """Bodies of one letter, whatever is asked for."""

    def __init__(self, size: int) -> None:
        self.raw = b"a" * size

    def open(self, sha256: str, /) -> BinaryIO:
        return io.BytesIO(self.raw)


def with_body(encoding: str, size: int, uri: str = "https://x/a") -> Resource:
    sha256 = hashlib.sha256(b"a" * size).hexdigest() if size <= APART else SHA
    return item(uri, body={"encoding": encoding, "sha256": sha256, "size": size})


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(("encoding", "size", "keys", "packed", "containers"), WAYS)
def test_a_single_call_says_in_its_query_how_its_body_is_compressed(
    encoding: str, size: int, keys: tuple[str, ...], packed: bool, containers: int, compression: str
) -> None:
    context = WireContext("org", {"s": SourceRef("sid", compression=compression)})
    changes = [create(with_body(encoding, size))]
    [call] = compile_calls(changes, context).calls
    said = (("compressionType", compression),) if packed else ()
    assert (call.kind, call.query) == (CallKind.ITEM_PUT, (("documentId", "https://x/a"), *said))
    assert (call.containers, call.api_calls, call.uploads, call.requests) == (
        containers,
        1 + containers,
        containers,
        1 + 2 * containers,
    )
    if size > APART:
        return
    parcel = Parcel(call, [changes[0].after], Printable(size), Wire(context))
    entry = orjson.loads(parcel.single({changes[0].address: "f1"}))
    # In the body of a single call it would not count (push-api.md 2.1).
    assert entry.keys() - {"permanentid"} == set(keys)
    assert len(list(parcel.apart())) == containers


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(("encoding", "size", "keys", "packed", "containers"), WAYS[:-1])
def test_a_batch_says_in_each_entry_how_its_body_is_compressed(
    encoding: str, size: int, keys: tuple[str, ...], packed: bool, containers: int, compression: str
) -> None:
    context = WireContext("org", {"s": SourceRef("sid", compression=compression)})
    changes = [create(with_body(encoding, size)), *(create(item(f"https://y/{n}")) for n in range(3))]
    [call] = compile_calls(changes, context).calls
    assert (call.kind, call.query) == (CallKind.ITEM_BATCH, ())
    assert (call.containers, call.api_calls, call.uploads, call.requests) == (
        containers,
        2 + containers,
        1 + containers,
        3 + 2 * containers,
    )
    parcel = Parcel(call, [change.after for change in changes], Printable(size), Wire(context))
    with parcel.batch({changes[0].address: "f1"}) as made:
        assert made.size <= call.size
        entry, *others = orjson.loads(made.file.read())["addOrUpdate"]
    said = {"compressionType": compression} if packed else {}
    assert entry.keys() - {"permanentid", "documentId"} == {*keys, *said}
    assert {key: entry[key] for key in said} == said
    assert not any("compressionType" in other for other in others)


@given(
    st.integers(3_500_000, 5_100_000), st.sampled_from(["text", "binary"]), st.sampled_from(COMPRESSIONS), st.booleans()
)
def test_no_body_is_inline_that_might_exceed_what_inline_bodies_hold(
    size: int, encoding: str, compression: str, single: bool
) -> None:
    wire = Wire(WireContext("org", {"s": SourceRef("sid", compression=compression)}))
    resource = item("https://x/a", body={"encoding": encoding, "sha256": SHA, "size": size})
    address = resource.address
    made = (
        wire.single_entry(address, Verb.PUT, resource)
        if single
        else wire.batch_entry(Covered(address, Verb.PUT), resource)
    )
    bound = body_bound(size, made.compression)
    assert made.apart or bound <= PUBLISHED.inline_content
    # Nor in a container of its own what would certainly have fitted.
    assert not made.apart or size * 4 // 3 > PUBLISHED.inline_content * 0.96


def test_a_body_larger_than_a_container_names_its_file() -> None:
    room = PUBLISHED.container
    for compression in COMPRESSIONS:
        context = WireContext("org", {"s": SourceRef("sid", compression=compression)})
        fits = next(size for size in range(room, 0, -1000) if packed_bound(size, compression) <= room)
        assert compile_calls([create(item("https://x/a", size=fits))], context).calls
        with pytest.raises(ManifestError, match=r"content/big\.pdf\) may take"):
            compile_calls([create(item("https://x/a", size=room + 1))], context, body_paths={SHA: "content/big.pdf"})


def test_containers_that_would_expire_before_all_are_filled_go_in_several_batches() -> None:
    changes = [create(item(f"https://x/{n:02}", size=200_000_000)) for n in range(30)]
    compiled = compile_calls(changes, CONTEXT)
    assert len(compiled.calls) > 1
    for call in compiled.calls:
        assert call.size <= PUBLISHED.containers_together + PUBLISHED.container
    assert sum(call.containers for call in compiled.calls) == 30
    assert compiled.api_calls == 30 + sum(2 if call.is_batch else 1 for call in compiled.calls)


def test_what_each_kind_of_call_takes() -> None:
    """A batch is two calls and three requests; an upload is no call (push-api.md 4.2)."""
    changes = [
        create(group("g")),
        create(alias("u")),
        *(create(group(name, scope="other")) for name in "abc"),
        create(item("https://x/a")),
        delete(item("https://x/b")),
        *(create(item(f"https://x/{n}", "t")) for n in "abc"),
        destroy(user("gone")),
    ]
    assert [
        (call.kind, call.api_calls, call.uploads, call.requests) for call in compile_calls(changes, CONTEXT).calls
    ] == [
        (CallKind.IDENTITY_PUT, 1, 0, 1),
        (CallKind.MAPPING_PUT, 1, 0, 1),
        (CallKind.IDENTITY_BATCH, 2, 1, 3),
        (CallKind.ITEM_PUT, 1, 0, 1),
        (CallKind.ITEM_DELETE, 1, 0, 1),
        (CallKind.ITEM_BATCH, 2, 1, 3),
        (CallKind.IDENTITY_DELETE, 1, 0, 1),
    ]


def test_a_source_that_tells_its_activity_is_told_what_a_run_does() -> None:
    context = WireContext("org", {"s": SourceRef("sid", status=True), "t": SourceRef("tid")})
    changes = [create(item("https://x/a")), create(item("https://x/a", "t"))]

    def told(*staying: Resource, narrowed: bool = False) -> list[tuple[str, str, str]]:
        compiled = compile_calls(changes, context, standing=stays(*staying), narrowed=narrowed)
        # Two calls beside its own: that it begins, and IDLE.
        assert (compiled.api_calls, compiled.requests) == (4, 4)
        return [(status.source, status.status, status.path) for status in compiled.statuses]

    path = "organizations/org/sources/sid/status"
    assert told() == [("s", "REBUILD", path)]
    assert told(item("https://x/b")) == [("s", "REFRESH", path)]
    assert told(item("https://x/b"), narrowed=True) == [("s", "INCREMENTAL", path)]
    assert told(item("https://x/b", "t")) == [("s", "REBUILD", path)]


def test_what_no_call_can_carry_is_all_said_at_once() -> None:
    names = [f"user/corp/{n}" for n in range(5001)]
    model = canonical_json({"levels": [{"sets": [{"allowed": names}]}]})
    changes = [
        create(item("https://x/b", size=300_000_000)),
        create(replace(item("https://x/a"), shared=model)),
        create(item("https://x/c", metadata={"data": 1})),
        create(item("https://x/d", "nowhere")),
        delete(user("u")),
    ]
    with pytest.raises(ManifestError) as caught:
        compile_calls(changes, CONTEXT, body_paths={SHA: "content/big.pdf"})
    problems = {problem.code: problem for problem in caught.value.problems}
    assert sorted(problems) == [
        "body-too-large",
        "reserved-metadata-key",
        "too-many-permissions",
        "unknown-source",
    ]
    assert problems["body-too-large"].what == (
        'the body of "item/s/https://x/b" (content/big.pdf) may take 300,091,571 bytes on the wire, '
        "more than the 268,435,456 of a file container"
    )
    assert '"item/s/https://x/a" name 5,001 identities' in problems["too-many-permissions"].what


def test_what_only_we_care_about_takes_no_call() -> None:
    plain, guarded = item("https://x/a", title="t"), item("https://x/a", title="t", protect=True)
    only_protect = update(plain, guarded)
    assert compile_calls([only_protect], CONTEXT) == Compiled((), (plain.address,))
    assert not alters_wire(update(plain, plain))
    assert alters_wire(replace(only_protect, reason="unconfirmed"))
    assert alters_wire(update(plain, replace(guarded, shared=b'{"levels":[]}')))
    assert alters_wire(update(guarded, item("https://x/a", title="u")))
    assert alters_wire(create(guarded))


def test_a_move_creates_before_it_deletes() -> None:
    old, new = item("https://x/old"), item("https://x/zzz")
    changes = [delete(old), create(new, moved_from=old.address)]
    assert [call.kind for call in compile_calls(changes, CONTEXT).calls] == [
        CallKind.ITEM_PUT,
        CallKind.ITEM_DELETE,
    ]


def test_children_are_deleted_before_their_parents() -> None:
    changes = [delete(item("https://x/a")), delete(item("https://x/b", parent="https://x/a"))]
    assert [call.covers[0].address.name for call in compile_calls(changes, CONTEXT).calls] == [
        "https://x/b",
        "https://x/a",
    ]


def test_a_deleted_alias_repeats_the_well_knowns_that_its_identity_has_afterwards() -> None:
    old, new = canonical_json({"wellKnowns": ["group/corp/Old"]}), canonical_json({"wellKnowns": ["group/corp/New"]})
    address = alias("u").address
    alone = delete(alias("u", old))

    def sent(*changes: Change) -> bytes:
        resource = payload_resources(changes)[address]
        assert resource is not None
        assert resource.own() == {"mappings": []}
        return resource.shared

    assert sent(alone) == old
    assert sent(alone, update(user("u", old), user("u", new))) == new
    assert sent(alone, delete(user("u", old))) == b""
    assert sent(alone, destroy(user("u", old))) == b""


def test_a_withdrawn_user_is_put_without_well_knowns_and_a_destroyed_one_is_what_it_was() -> None:
    known = canonical_json({"wellKnowns": ["group/corp/Old"]})
    was = replace(user("u", known), doc=canonical_json({"protect": True}))
    assert payload_resources([delete(was)]) == {was.address: user("u")}
    assert payload_resources([destroy(was)]) == {was.address: was}


@pytest.mark.parametrize(
    ("change", "method", "kind", "verb"),
    [
        (delete, "PUT", CallKind.IDENTITY_PUT, Verb.WITHDRAW),
        (destroy, "DELETE", CallKind.IDENTITY_DELETE, Verb.DELETE),
    ],
)
def test_a_removed_user_is_withdrawn_and_a_destroyed_one_deleted(
    change: Callable[[Resource], Change], method: str, kind: CallKind, verb: Verb
) -> None:
    gone = user("u", canonical_json({"wellKnowns": ["group/corp/Old"]}))
    assert compile_calls([change(gone)], CONTEXT) == Compiled(
        (
            Stage(
                "identity-deletes",
                (
                    Call(
                        number=1,
                        kind=kind,
                        method=method,
                        path="organizations/org/providers/pid/permissions",
                        query=(),
                        scope="corp",
                        covers=(Covered(gone.address, verb),),
                        size=len('{"identity":{"name":"u","type":"USER"}}'),
                    ),
                ),
            ),
        )
    )


@pytest.mark.parametrize("change", [delete, destroy])
def test_only_users_are_withdrawn(change: Callable[[Resource], Change]) -> None:
    changes = [change(each) for each in (item("https://x/a"), alias("u"), group("g"), virtual_group("v"))]
    verbs = {covered.verb for call in compile_calls(changes, CONTEXT).calls for covered in call.covers}
    assert verbs == {Verb.DELETE}


def test_withdrawals_stand_before_deletions_so_that_each_list_of_a_batch_stands_once() -> None:
    # By address, a virtual group comes after users and a group before them: `deleted` would stand twice.
    changes = [
        delete(group("g")),
        delete(user("a")),
        destroy(user("b")),
        delete(user("c")),
        delete(virtual_group("v")),
    ]
    covered = ["~user/corp/a", "~user/corp/c", "-group/corp/g", "-user/corp/b", "-virtual-group/corp/v"]
    compiled = compile_calls(changes, CONTEXT)
    assert shown(compiled) == [("identity-deletes", "identity-batch", covered)]
    [call] = compiled.calls
    assert (call.method, call.path) == ("PUT", "organizations/org/providers/pid/permissions/batch")
    assert compile_calls(changes[::-1], CONTEXT) == compiled
    assert shown(compile_calls(changes, CONTEXT, batching="never")) == [
        ("identity-deletes", "identity-put", ["~user/corp/a"]),
        ("identity-deletes", "identity-put", ["~user/corp/c"]),
        ("identity-deletes", "identity-delete", ["-group/corp/g"]),
        ("identity-deletes", "identity-delete", ["-user/corp/b"]),
        ("identity-deletes", "identity-delete", ["-virtual-group/corp/v"]),
    ]


def test_an_alias_is_emptied_before_its_user_is_withdrawn_or_deleted() -> None:
    assert shown(compile_calls([delete(user("u")), delete(alias("u"))], CONTEXT)) == [
        ("alias-deletes", "mapping-put", ["-alias/corp/user:u"]),
        ("identity-deletes", "identity-put", ["~user/corp/u"]),
    ]
    assert shown(compile_calls([destroy(user("u")), destroy(alias("u"))], CONTEXT)) == [
        ("alias-deletes", "mapping-put", ["-alias/corp/user:u"]),
        ("identity-deletes", "identity-delete", ["-user/corp/u"]),
    ]


def test_a_container_is_never_overfilled_and_families_keep_their_order() -> None:
    limits = Limits(single_body=0, container=5_000)
    changes = [
        create(item(f"https://x/{n:03}", parent=f"https://x/{n // 10 * 10 + 9:03}", size=100)) for n in range(60)
    ]
    compiled = compile_calls(changes, CONTEXT, limits)
    place: dict[str, int] = {}
    for call in compiled.calls:
        assert call.size <= limits.container
        place |= {covered.address: len(place) + at for at, covered in enumerate(call.covers)}
    assert len(place) == 60
    for n in range(60):
        assert place[f"item/s/https://x/{n // 10 * 10 + 9:03}"] <= place[f"item/s/https://x/{n:03}"]


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.sampled_from([PUBLISHED, SMALL]), st.data())
def test_every_change_is_covered_once_and_every_list_of_a_batch_stands_once(
    names: list[str], limits: Limits, data: st.DataObject
) -> None:
    changes = []
    for name in names:
        value = data.draw(st.sampled_from([item(name), group(name), virtual_group(name), user(name), alias(name)]))
        changes.append(data.draw(st.sampled_from([create, delete, destroy]))(value))
    compiled = compile_calls(changes, CONTEXT, limits)
    covered = [each.address for call in compiled.calls for each in call.covers]
    assert sorted(covered) == sorted(change.address for change in changes)
    if limits is PUBLISHED:
        assert compiled.api_calls <= len(changes)
    for call in compiled.calls:
        lists = [section for section, _ in groupby(section_of(each.address, each.verb) for each in call.covers)]
        assert len(lists) == len(set(lists))
        assert call.size <= limits.container
    resources = payload_resources(changes)
    assert set(resources) == set(covered)


@pytest.mark.slow
def test_a_hundred_thousand_changes_fill_two_containers() -> None:
    shared = canonical_json({"levels": [{"sets": [{"allowed": ["group/corp/g"]}]}]})
    changes = [create(replace(item(f"https://x/{n}", size=3000), shared=shared)) for n in range(100_000)]
    compiled = compile_calls(changes, CONTEXT)
    assert [call.kind for call in compiled.calls] == [CallKind.ITEM_BATCH] * 2
    assert all(call.size <= PUBLISHED.container for call in compiled.calls)
    covered = [each for call in compiled.calls for each in call.covers]
    assert len(covered) == 100_000
    assert set(covered) == {Covered(change.address, Verb.PUT) for change in changes}
