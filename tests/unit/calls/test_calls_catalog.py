"""Catalogs are fed through the Stream API: loads, updates and partial updates (push-api.md 2.5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from call_changes import create, delete, item, shown, stays, update
from hypothesis import given
from hypothesis import strategies as st
from modelled_remote import Held, ModelledRemote, NoBodies

from reconciler.calls.call import Call, CallKind, Compiled, Covered, Verb
from reconciler.calls.compile import compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.calls.wire import Wire
from reconciler.model.canonical import canonical_json, permanent_id
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change
from reconciler.problems import ManifestError
from reconciler.pushapi.payload import Parcel

OPEN = WireContext("org", {"s": SourceRef("sid", catalog=True)})
OURS = WireContext("org", {"s": SourceRef("sid", catalog=True, exclusive=True)})
STREAM = "organizations/org/sources/sid/stream"
ELSEWHERE = item("https://elsewhere")


def payload(call: Call, changes: list[Change], context: WireContext = OPEN) -> Any:
    resources = payload_resources(changes)
    parcel = Parcel(call, [resources[covered.address] for covered in call.covers], NoBodies(), Wire(context))
    with parcel.batch({}) as made:
        assert made.size <= call.size
        return orjson.loads(made.file.read())


def kinds(compiled: Compiled) -> list[CallKind]:
    return [call.kind for call in compiled.calls]


# -- updates ---------------------------------------------------------------------------------------


def test_even_one_change_of_a_catalog_is_an_update() -> None:
    [call] = compile_calls([create(item("https://x/a"))], OPEN).calls
    assert (call.kind, call.method, call.path, call.query, call.api_calls, call.requests) == (
        CallKind.STREAM_UPDATE,
        "PUT",
        f"{STREAM}/update",
        (),
        2,
        3,
    )


def test_an_updates_file_has_each_list_once() -> None:
    changes = [
        delete(item("https://x/a")),
        create(item("https://x/b")),
        update(item("https://x/c", title="old"), item("https://x/c", title="new")),
        delete(item("https://x/d")),
        update(item("https://x/e", fileExtension=".txt"), item("https://x/e", fileExtension=".md")),
    ]
    [call] = compile_calls(changes, OPEN).calls
    assert payload(call, changes) == {
        "partialUpdate": [
            {"documentId": "https://x/c", "operator": "fieldValueReplace", "field": "title", "value": "new"}
        ],
        "addOrUpdate": [
            {"documentId": "https://x/b", "permanentid": permanent_id("https://x/b")},
            {"documentId": "https://x/e", "permanentid": permanent_id("https://x/e"), "fileExtension": ".md"},
        ],
        "delete": [
            {"documentId": "https://x/d", "deleteChildren": False},
            {"documentId": "https://x/a", "deleteChildren": False},
        ],
    }


def test_without_batches_every_change_is_an_update_of_its_own() -> None:
    changes = [create(item("https://x/a")), delete(item("https://x/b")), create(item("https://x/c"))]
    for context in (OPEN, OURS):
        compiled = compile_calls(changes, context, batching="never", standing=stays())
        assert kinds(compiled) == [CallKind.STREAM_UPDATE] * 3


def test_a_catalog_never_takes_the_calls_of_other_sources() -> None:
    """No removal by prefix or by age: those are documented for the Push API."""
    gone = [delete(item("https://x/a")), *(delete(item(f"https://x/a/{n}")) for n in range(9))]
    for standing in (stays(), stays(ELSEWHERE)):
        assert kinds(compile_calls(gone, OURS, standing=standing)) == [CallKind.STREAM_UPDATE]
    again = [replace(update(item("https://x/a"), item("https://x/a")), reason="resent")]
    assert kinds(compile_calls(again, OURS, standing=stays(ELSEWHERE), resent={"s"})) == [CallKind.STREAM_UPDATE]


# -- partial updates -------------------------------------------------------------------------------

SHARED = canonical_json({"levels": [{"sets": [{"anonymous": True}]}]})
BEFORE = replace(
    item("https://x/a", title="t", clickableUri="https://y", fileExtension=".txt", metadata={"a": 1, "b": ["x"]}),
    shared=SHARED,
)


def after(**own: Any) -> Resource:
    """The item with these properties changed, None for one that is gone."""
    doc = {key: value for key, value in (BEFORE.own() | own).items() if value is not None}
    return replace(BEFORE, doc=canonical_json(doc))


def fields_of(change: Change, context: WireContext = OPEN) -> tuple[Verb, tuple[str, ...]]:
    [call] = compile_calls([change], context, standing=stays(ELSEWHERE)).calls
    [covered] = call.covers
    return covered.verb, covered.fields


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        (after(title="u"), ("title",)),
        (after(title=None), ("title",)),
        (after(clickableUri="https://z"), ("clickableuri",)),
        (after(metadata={"a": 2, "b": ["x"]}), ("a",)),
        (after(metadata={"b": ["x", "y"], "c": 3}), ("a", "b", "c")),
        (after(title="u", metadata={"a": 1}, protect=True), ("b", "title")),
        (after(title=None, metadata={"a": 1, "b": ["x"], "title": "u"}), ("title",)),
    ],
)
def test_what_changes_in_fields_alone_is_sent_in_part(changed: Resource, fields: tuple[str, ...]) -> None:
    assert fields_of(update(BEFORE, changed)) == (Verb.PATCH, fields)
    # Only catalogs take partial updates.
    plain = WireContext("org", {"s": SourceRef("sid")})
    assert fields_of(update(BEFORE, changed), plain) == (Verb.PUT, ())


BODY = {"encoding": "text", "sha256": "ab" * 32, "size": 5}


@pytest.mark.parametrize(
    "changed",
    [
        after(body=BODY),
        after(title="u", body=BODY),
        after(fileExtension=".md"),
        after(parent="https://x/p"),
        after(title="u", parent="https://x/p"),
        replace(BEFORE, shared=b""),
        replace(after(title="u"), shared=canonical_json({"levels": [{"sets": [{"anonymous": False}]}]})),
    ],
    ids=["body", "body and title", "extension", "parent", "parent and title", "permissions", "permissions and title"],
)
def test_whatever_is_no_field_sends_the_whole_item(changed: Resource) -> None:
    assert fields_of(update(BEFORE, changed)) == (Verb.PUT, ())
    assert fields_of(update(changed, BEFORE)) == (Verb.PUT, ())


def test_an_item_that_may_not_be_there_is_sent_whole() -> None:
    changed = after(title="u")
    assert fields_of(create(changed)) == (Verb.PUT, ())
    for reason in ("unconfirmed", "resent", "moved", "new"):
        assert fields_of(replace(update(BEFORE, changed), reason=reason)) == (Verb.PUT, ())
    unknown = Change(changed.address, Action.UPDATE, "changed", None, changed)
    assert fields_of(unknown) == (Verb.PUT, ())


def test_a_partial_update_says_what_each_field_is_now() -> None:
    changes = [update(BEFORE, after(title=None, clickableUri="https://z", metadata={"b": [], "permanentid": "mine"}))]
    [call] = compile_calls(changes, OPEN).calls
    assert [(entry["field"], entry["value"]) for entry in payload(call, changes)["partialUpdate"]] == [
        ("a", None),
        ("b", []),
        ("clickableuri", "https://z"),
        ("permanentid", "mine"),
        ("title", None),
    ]
    # Whoever takes back an id of his own gets the one that follows from the uri again.
    back = [update(changes[0].after or BEFORE, after())]
    [call] = compile_calls(back, OPEN).calls
    values = {entry["field"]: entry["value"] for entry in payload(call, back)["partialUpdate"]}
    assert values["permanentid"] == permanent_id("https://x/a")


# -- loads -----------------------------------------------------------------------------------------


def test_a_catalog_that_is_ours_is_loaded_whole_when_nothing_stays() -> None:
    changes = [create(item(f"https://x/{n}")) for n in "ab"] + [delete(item("https://x/old"))]
    compiled = compile_calls(changes, OURS, standing=stays(item("https://x/a", "t")))
    assert shown(compiled) == [
        ("items", "stream-load", ["item/s/https://x/a", "item/s/https://x/b", "^item/s/https://x/old"])
    ]
    [call] = compiled.calls
    assert (call.method, call.path, call.query, call.chunks) == ("POST", f"{STREAM}/open", (), (2,))
    assert (call.api_calls, call.uploads, call.requests) == (2, 1, 3)
    assert compiled.items == 2


def test_a_load_is_only_for_a_catalog_that_is_ours_with_nothing_that_stays() -> None:
    changes = [create(item("https://x/a")), delete(item("https://x/old"))]
    load, updates = [CallKind.STREAM_LOAD], [CallKind.STREAM_UPDATE]
    assert kinds(compile_calls(changes, OURS, standing=stays())) == load
    assert kinds(compile_calls(changes, OURS, standing=stays(ELSEWHERE))) == updates
    assert kinds(compile_calls(changes, OPEN, standing=stays())) == updates
    assert kinds(compile_calls(changes, OURS)) == updates
    # What changes in the state alone is not sent, so a load would remove it.
    guarded = update(item("https://y"), item("https://y", protect=True))
    assert kinds(compile_calls([*changes, guarded], OURS, standing=stays())) == updates
    # A load of whole items where a field would do sends more.
    patched = update(BEFORE, after(title="u"))
    assert kinds(compile_calls([changes[1], patched], OURS, standing=stays())) == updates
    # Nothing to load: an empty stream is no way to delete.
    assert kinds(compile_calls(changes[1:], OURS, standing=stays())) == updates


def test_a_load_larger_than_a_container_has_chunks_that_hold_every_item_once() -> None:
    limits = Limits(container=2_000)
    changes = [create(item(f"https://x/{n:02}", title="t" * (n * 37 % 400))) for n in range(40)]
    changes += [delete(item(f"https://x/old/{n}")) for n in range(5)]
    [call] = compile_calls(changes, OURS, limits, standing=stays()).calls
    assert sum(call.chunks) == 40
    assert len(call.chunks) > 5
    assert (call.api_calls, call.uploads, call.requests) == (
        len(call.chunks) + 1,
        len(call.chunks),
        2 * len(call.chunks) + 1,
    )
    resources = payload_resources(changes)
    parcel = Parcel(call, [resources[covered.address] for covered in call.covers], NoBodies(), Wire(OURS, limits))
    names = []
    for number, count in enumerate(call.chunks):
        with parcel.chunk(number) as made:
            assert made.size <= limits.container
            file = orjson.loads(made.file.read())
        assert list(file) == ["addOrUpdate"]
        assert len(file["addOrUpdate"]) == count
        names += [entry["documentId"] for entry in file["addOrUpdate"]]
    assert sorted(names) == [f"https://x/{n:02}" for n in range(40)]
    assert call.covers[40:] == tuple(
        Covered(item(f"https://x/old/{n}").address, Verb.SWEPT) for n in reversed(range(5))
    )


# -- limits ----------------------------------------------------------------------------------------


def sized(size: int, encoding: str = "binary") -> Resource:
    return item("https://x/big", body={"encoding": encoding, "sha256": "ab" * 32, "size": size})


@pytest.mark.parametrize("encoding", ["text", "binary"])
@pytest.mark.parametrize("size", [2_260_000, 4_000_000, 12_000_000, 400_000_000])
@pytest.mark.parametrize("context", [OPEN, OURS])
def test_an_item_of_a_catalog_has_a_limit_of_its_own_whatever_its_body_takes(
    context: WireContext, size: int, encoding: str
) -> None:
    changes = [create(sized(size, encoding))]
    with pytest.raises(ManifestError) as caught:
        compile_calls(changes, context, standing=stays(), body_paths={"ab" * 32: "content/big.pdf"})
    [problem] = caught.value.problems
    assert problem.code == "catalog-item-too-large"
    assert '"item/s/https://x/big" (content/big.pdf) may take ' in problem.what
    assert problem.what.endswith(" bytes on the wire, more than the 3,000,000 of an item of a catalog source")


def test_below_that_limit_a_catalogs_item_is_inline() -> None:
    for encoding in ("text", "binary"):
        [call] = compile_calls([create(sized(2_240_000, encoding))], OURS, standing=stays()).calls
        assert (call.containers, call.kind) == (0, CallKind.STREAM_LOAD)
        assert call.size <= PUBLISHED.catalog_item + 64


def test_what_goes_has_no_size() -> None:
    assert kinds(compile_calls([delete(sized(400_000_000))], OURS, standing=stays())) == [CallKind.STREAM_UPDATE]


# -- what all calls leave behind -------------------------------------------------------------------

URIS = st.sampled_from([f"https://x/{n}" for n in "abcdefgh"])
DOCS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from("tu"),
        "fileExtension": st.sampled_from([".txt", ".md"]),
        "metadata": st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from("vw")),
    },
)


def expected(uri: str, own: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in own.items() if key != "metadata"}
    return {"permanentid": permanent_id(uri), **rest, **own.get("metadata", {})}


@given(
    recorded=st.dictionaries(URIS, DOCS),
    desired=st.dictionaries(URIS, DOCS),
    strays=st.sets(URIS, max_size=3),
    exclusive=st.booleans(),
    limits=st.sampled_from([PUBLISHED, Limits(container=700)]),
    seed=st.integers(0, 5),
)
def test_all_calls_together_leave_the_catalog_as_desired(
    recorded: dict[str, Any], desired: dict[str, Any], strays: set[str], exclusive: bool, limits: Limits, seed: int
) -> None:
    strays = {f"{uri}/stray" for uri in strays}
    context = OURS if exclusive else OPEN
    changes = [create(item(uri, **own)) for uri, own in desired.items() if uri not in recorded]
    changes += [delete(item(uri, **own)) for uri, own in recorded.items() if uri not in desired]
    common = [(uri, recorded[uri], own) for uri, own in desired.items() if uri in recorded]
    before_after = [(item(uri, **before), item(uri, **now)) for uri, before, now in common]
    changes += [update(before, now) for before, now in before_after if before != now]
    standing = stays(*(now for before, now in before_after if before == now))

    remote = ModelledRemote({"sid": {uri: Held(expected(uri, own)) for uri, own in recorded.items()}})
    remote.items["sid"].update({uri: Held({"stray": True}) for uri in strays})
    compiled = compile_calls(changes, context, limits, standing=standing)
    remote.run(compiled, payload_resources(changes), context, seed)

    found = {
        uri: {key: value for key, value in held.doc.items() if value is not None}
        for uri, held in remote.items["sid"].items()
    }
    assert {uri: doc for uri, doc in found.items() if uri not in strays} == {
        uri: expected(uri, own) for uri, own in desired.items()
    }
    if not exclusive:
        assert strays <= found.keys()
    assert set(kinds(compiled)) <= {CallKind.STREAM_LOAD, CallKind.STREAM_UPDATE}
    for call in compiled.calls:
        # Container by container, with room for the frame of each.
        assert call.size <= limits.container * max(1, len(call.chunks))
