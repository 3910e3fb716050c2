"""Removal by prefix and by age: only where a source is ours alone, only what is meant, only for fewer calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from call_changes import alias, create, delete, destroy, group, item, shown, stays, update, user
from hypothesis import given
from hypothesis import strategies as st
from modelled_remote import Held, ModelledRemote

from reconciler.calls.call import Call, CallKind, Compiled, Verb
from reconciler.calls.compile import compile_calls, payload_resources
from reconciler.calls.context import SourceRef, WireContext
from reconciler.calls.limits import PUBLISHED, Limits
from reconciler.model.canonical import permanent_id
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change

OURS = WireContext(
    "org",
    {"s": SourceRef("sid", exclusive=True), "t": SourceRef("tid")},
    {"corp": "pid", "other": "qid"},
    frozenset({"corp"}),
)
ELSEWHERE = item("https://elsewhere")


def removal(uris: Sequence[str], *others: Resource, context: WireContext = OURS, **options: bool) -> list[list[str]]:
    """The calls that delete these items while the others stay, as what they cover."""
    changes = [delete(item(uri)) for uri in uris]
    compiled = compile_calls(changes, context, standing=stays(ELSEWHERE, *others), **options)  # type: ignore[arg-type]
    return [[address.replace("item/s/", "") for address in covered] for _, _, covered in shown(compiled)]


def test_a_tree_goes_with_its_root() -> None:
    assert removal(["https://x/a", "https://x/a/b", "https://x/a/c/d"]) == [
        ["--https://x/a", "^https://x/a/b", "^https://x/a/c/d"]
    ]


def test_a_trees_call_says_so_and_no_other_does() -> None:
    changes = [delete(item(uri)) for uri in ("https://x/a", "https://x/a/b", "https://y")]
    calls = compile_calls(changes, OURS, standing=stays(ELSEWHERE)).calls
    assert [(call.kind, call.query, call.api_calls) for call in calls] == [
        (CallKind.ITEM_DELETE, (("documentId", "https://y"), ("deleteChildren", "false")), 1),
        (CallKind.ITEM_DELETE, (("documentId", "https://x/a"), ("deleteChildren", "true")), 1),
    ]


def test_names_that_only_look_like_a_tree_are_none() -> None:
    """`-` and `.` sort before a slash, `0` after it: the siblings stand around what is below."""
    uris = ["https://x/a", "https://x/a-b", "https://x/a.b", "https://x/a/b", "https://x/a0", "https://x/a0/c"]
    # Two trees and two others would be one batch, as all of them are without trees.
    assert removal(uris) == [[f"-{uri}" for uri in reversed(uris)]]
    for sibling in ("https://x/a-b", "https://x/a.b", "https://x/a0", "https://x/A/b", "https://x/a%2Fb"):
        assert sorted(removal(["https://x/a", "https://x/a/b", "https://x/a/c", sibling])) == [
            ["--https://x/a", "^https://x/a/b", "^https://x/a/c"],
            [f"-{sibling}"],
        ]


def test_a_slash_at_the_end_is_part_of_the_name() -> None:
    # `https://x/a/` is below `https://x/a`, and the other way round nothing is.
    assert removal(["https://x/a", "https://x/a/"]) == [["--https://x/a", "^https://x/a/"]]
    assert removal(["https://x/a/", "https://x/a/b"]) == [["-https://x/a/b"], ["-https://x/a/"]]
    assert removal(["https://x/a/", "https://x/a//b"]) == [["--https://x/a/", "^https://x/a//b"]]


def test_roots_may_be_nested_and_the_highest_that_is_clear_takes_all() -> None:
    uris = ["https://x/a", "https://x/a/b", "https://x/a/b/c", "https://x/a/b/c/d", "https://x/a/e"]
    assert removal(uris) == [["--https://x/a", *(f"^{uri}" for uri in uris[1:])]]
    # What stays beside `b` keeps `a` apart, not `b`.
    assert removal(uris[:4], item("https://x/a/z")) == [
        ["--https://x/a/b", "^https://x/a/b/c", "^https://x/a/b/c/d"],
        ["-https://x/a"],
    ]


def test_what_stays_below_keeps_all_apart() -> None:
    uris = ["https://x/a", "https://x/a/b"]
    for below in ("https://x/a/z", "https://x/a/b/c/d", "https://x/a/"):
        assert all(call[0].startswith("-h") for call in removal(uris, item(below)))
    # Beside it, of another source, or of that very name elsewhere, it is in nobody's way.
    for beside in (item("https://x/a-b"), item("https://x/a0"), item("https://x/a/z", "t"), item("https://x")):
        assert removal(uris, beside) == [["--https://x/a", "^https://x/a/b"]]


def test_what_is_put_below_keeps_all_apart() -> None:
    for put in (
        create(item("https://x/a/new")),
        update(item("https://x/a/z"), item("https://x/a/z", title="t")),
        create(item("https://x/a/new"), moved_from=item("https://x/a/b").address),
    ):
        changes = [delete(item("https://x/a")), delete(item("https://x/a/b")), put]
        compiled = compile_calls(changes, OURS, standing=stays(ELSEWHERE))
        assert {covered.verb for call in compiled.calls for covered in call.covers} == {Verb.PUT, Verb.DELETE}


def test_what_changes_in_the_state_alone_below_keeps_all_apart() -> None:
    below = item("https://x/a/z")
    changes = [
        delete(item("https://x/a")),
        delete(item("https://x/a/b")),
        update(below, item("https://x/a/z", protect=True)),
    ]
    compiled = compile_calls(changes, OURS, standing=stays(ELSEWHERE))
    assert compiled.state_only == (below.address,)
    assert {covered.verb for call in compiled.calls for covered in call.covers} == {Verb.DELETE}


@pytest.mark.parametrize(
    "calls",
    [
        removal(["https://x/a", "https://x/a/b"], context=replace(OURS, sources={"s": SourceRef("sid")})),
        removal(["https://x/a", "https://x/a/b"], batching="never"),  # type: ignore[arg-type]
        removal(["https://x/a", "https://y"]),
    ],
    ids=["others feed the source too", "every change is a call", "no tree"],
)
def test_otherwise_each_one_is_deleted_by_itself(calls: list[list[str]]) -> None:
    assert [len(call) for call in calls] == [1, 1]
    assert all(call[0].startswith("-h") for call in calls)


def test_without_knowing_what_stays_nothing_is_taken_along() -> None:
    changes = [delete(item("https://x/a")), delete(item("https://x/a/b"))]
    for options in ({}, {"resent": {"s"}}):
        compiled = compile_calls(changes, OURS, **options)  # type: ignore[arg-type]
        assert {call.kind for call in compiled.calls} == {CallKind.ITEM_DELETE}
        assert {covered.verb for call in compiled.calls for covered in call.covers} == {Verb.DELETE}


def test_a_tree_that_saves_no_call_is_listed_one_by_one() -> None:
    """A batch that goes anyway takes deletions at no cost, and names what it deletes."""
    changes = [
        delete(item("https://x/a")),
        delete(item("https://x/a/b")),
        *(create(item(f"https://y/{n}")) for n in "123"),
    ]
    [call] = compile_calls(changes, OURS, standing=stays(ELSEWHERE)).calls
    assert {covered.verb for covered in call.covers} == {Verb.PUT, Verb.DELETE}


def test_a_tree_may_stand_in_a_batch() -> None:
    limits = Limits(single_body=0, container=2000)
    changes = [
        *(create(item(f"https://y/{n}", title="t" * 150)) for n in "1234"),
        *(delete(item(f"https://x/a/{n:03}")) for n in range(60)),
        delete(item("https://x/a")),
    ]
    compiled = compile_calls(changes, OURS, limits, standing=stays(ELSEWHERE))
    [call] = compiled.calls
    assert call.kind is CallKind.ITEM_BATCH
    assert [covered.verb for covered in call.covers].count(Verb.DELETE_TREE) == 1
    assert [covered.verb for covered in call.covers].count(Verb.SWEPT) == 60
    # The API processes four items and one deletion, whatever goes along.
    assert compiled.items == 5


def test_an_emptied_source_is_emptied_by_age_in_one_call() -> None:
    changes = [delete(item(f"https://x/{n}")) for n in "abc"]
    [call] = compile_calls(changes, OURS, standing=stays(item("https://x/a", "t"))).calls
    assert (call.kind, call.method, call.path, call.query) == (
        CallKind.ITEM_OLDER_THAN,
        "DELETE",
        "organizations/org/sources/sid/documents/olderthan",
        (("queueDelay", "0"),),
    )
    assert ([covered.verb for covered in call.covers], call.size, call.api_calls) == ([Verb.SWEPT] * 3, 0, 1)


def kinds(compiled: Compiled) -> set[CallKind]:
    return {call.kind for call in compiled.calls}


def test_a_source_is_emptied_by_age_only_when_it_is_ours_and_nothing_of_it_stays_or_comes() -> None:
    gone = [delete(item(f"https://x/{n}")) for n in "abc"]
    protected = update(item("https://z"), item("https://z", protect=True))
    batch, older = {CallKind.ITEM_BATCH}, {CallKind.ITEM_OLDER_THAN}
    assert kinds(compile_calls(gone, OURS, standing=stays())) == older
    assert kinds(compile_calls(gone, OURS, standing=stays(ELSEWHERE))) == batch
    assert kinds(compile_calls([*gone, create(item("https://y"))], OURS, standing=stays())) == batch
    assert kinds(compile_calls([*gone, protected], OURS, standing=stays())) == batch
    assert kinds(compile_calls(gone, replace(OURS, sources={"s": SourceRef("sid")}), standing=stays())) == batch
    # One call for one item: it is named rather than swept.
    assert kinds(compile_calls(gone[:1], OURS, standing=stays())) == {CallKind.ITEM_DELETE}
    assert kinds(compile_calls(gone, OURS, standing=stays(), batching="never")) == {CallKind.ITEM_DELETE}


def test_an_emptied_provider_is_emptied_by_age_in_one_call() -> None:
    gone = [destroy(group("a")), destroy(group("b")), destroy(user("u"))]
    [call] = compile_calls(gone, OURS, standing=stays(group("a", scope="other"), ELSEWHERE)).calls
    assert (call.kind, call.method, call.path, call.query) == (
        CallKind.IDENTITY_OLDER_THAN,
        "DELETE",
        "organizations/org/providers/pid/permissions/olderthan",
        (),
    )
    assert [covered.verb for covered in call.covers] == [Verb.SWEPT] * 3


def test_a_provider_is_emptied_by_age_only_when_it_is_ours_and_nothing_of_it_stays() -> None:
    gone = [destroy(group("a")), destroy(group("b")), destroy(user("u"))]
    older, batch = CallKind.IDENTITY_OLDER_THAN, CallKind.IDENTITY_BATCH
    assert kinds(compile_calls(gone, OURS, standing=stays())) == {older}
    for staying in (group("z"), user("z"), alias("z")):
        assert kinds(compile_calls(gone, OURS, standing=stays(staying))) == {batch}
    # A withdrawn user stays, as a bare identity.
    assert kinds(compile_calls([*gone, delete(user("v"))], OURS, standing=stays())) == {batch}
    assert kinds(compile_calls(gone, replace(OURS, exclusive_providers=frozenset()), standing=stays())) == {batch}
    assert kinds(compile_calls(gone[:1], OURS, standing=stays())) == {CallKind.IDENTITY_DELETE}
    assert older not in kinds(compile_calls(gone, OURS, standing=stays(), batching="never"))


# -- a source that is sent again -------------------------------------------------------------------


def resent(uri: str, scope: str = "s") -> Change:
    return Change(item(uri, scope).address, Action.UPDATE, "resent", item(uri, scope), item(uri, scope))


def older_calls(compiled: Compiled) -> list[Call]:
    return [call for stage in compiled.stages if stage.name == "old-items" for call in stage.calls]


def test_after_everything_was_sent_again_what_is_older_goes() -> None:
    changes = [resent("https://x/a"), resent("https://x/b"), create(item("https://x/c")), delete(item("https://x/d"))]
    compiled = compile_calls(changes, OURS, standing=stays(item("https://x/a", "t")), resent={"s"})
    assert [stage.name for stage in compiled.stages] == ["items", "old-items"]
    [call] = older_calls(compiled)
    assert (call.kind, call.path, call.query, call.covers, call.number, call.after) == (
        CallKind.ITEM_OLDER_THAN,
        "organizations/org/sources/sid/documents/olderthan",
        (("queueDelay", "15"),),
        (),
        2,
        (),
    )
    assert {covered.verb for covered in compiled.calls[0].covers} == {Verb.PUT, Verb.DELETE}


def test_nothing_older_goes_when_something_was_left_out_or_others_feed_the_source() -> None:
    changes = [resent(f"https://x/{n}") for n in "abc"]
    assert older_calls(compile_calls(changes, OURS, standing=stays(), resent={"s"}))
    assert not older_calls(compile_calls(changes, OURS, standing=stays(item("https://x/z")), resent={"s"}))
    assert not older_calls(compile_calls(changes, OURS, resent={"s"}))
    assert not older_calls(compile_calls(changes, OURS, standing=stays()))
    assert not older_calls(compile_calls(changes, OURS, standing=stays(), resent={"s"}, batching="never"))
    guarded = update(item("https://y"), item("https://y", protect=True))
    assert not older_calls(compile_calls([*changes, guarded], OURS, standing=stays(), resent={"s"}))
    others = [resent(f"https://x/{n}", "t") for n in "abc"]
    compiled = compile_calls(others, OURS, standing=stays(), resent={"t"})
    assert not older_calls(compiled)
    assert [len(call.covers) for call in compiled.calls] == [3]


def test_a_source_of_which_nothing_is_sent_is_left_alone() -> None:
    compiled = compile_calls([create(item("https://x", "t"))], OURS, standing=stays(), resent={"s", "t"})
    assert not older_calls(compiled)


def test_a_source_that_is_emptied_by_age_is_not_emptied_twice() -> None:
    gone = [delete(item(f"https://x/{n}")) for n in "abc"]
    compiled = compile_calls(gone, OURS, standing=stays(), resent={"s"})
    assert [(stage.name, [call.kind for call in stage.calls]) for stage in compiled.stages] == [
        ("items", [CallKind.ITEM_OLDER_THAN])
    ]
    # A single item is deleted by name, and whatever else is there by age.
    assert len(compile_calls(gone[:1], OURS, standing=stays(), resent={"s"}).calls) == 2


# -- what all calls leave behind -------------------------------------------------------------------

SEGMENTS = st.sampled_from(["a", "b", "a-b", "a.b", "a0", ""])
URIS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/".join(["f:", *parts]))
VERSIONS = st.sampled_from(["old", "new"])
TINY = Limits(single_body=0, container=700)


def written(uri: str, title: str, scope: str = "s") -> Resource:
    return item(uri, scope, title=title)


def held(title: str, uri: str) -> dict[str, str]:
    return {"title": title, "permanentid": permanent_id(uri)}


@given(
    recorded=st.dictionaries(URIS, VERSIONS, max_size=12),
    desired=st.dictionaries(URIS, VERSIONS, max_size=12),
    strays=st.sets(URIS, max_size=5),
    left_out=st.sets(URIS, max_size=2),
    exclusive=st.booleans(),
    again=st.booleans(),
    limits=st.sampled_from([PUBLISHED, TINY]),
    seed=st.integers(0, 5),
)
def test_all_calls_together_leave_what_is_desired_and_spare_what_others_keep(
    recorded: dict[str, str],
    desired: dict[str, str],
    strays: set[str],
    left_out: set[str],
    exclusive: bool,
    again: bool,
    limits: Limits,
    seed: int,
) -> None:
    strays -= recorded.keys() | desired.keys()
    left_out &= recorded.keys() | desired.keys()
    context = replace(OURS, sources={"s": SourceRef("sid", exclusive=exclusive)})
    changes: list[Change] = []
    expected = dict(recorded)
    for uri in sorted((recorded.keys() | desired.keys()) - left_out):
        before, after = recorded.get(uri), desired.get(uri)
        if after is None:
            changes.append(delete(written(uri, str(before))))
            del expected[uri]
            continue
        expected[uri] = after
        if before is None:
            changes.append(create(written(uri, after)))
        elif before != after:
            changes.append(update(written(uri, before), written(uri, after)))
        elif again:
            changes.append(replace(resent(uri), before=written(uri, after), after=written(uri, after)))
    changing = {change.address.name for change in changes}
    standing = [written(uri, "") for uri in (recorded.keys() | desired.keys()) - changing]

    remote = ModelledRemote({"sid": {uri: Held(held(title, uri)) for uri, title in recorded.items()}})
    remote.items["sid"].update({uri: Held({"stray": True}) for uri in strays})
    compiled = compile_calls(
        changes, context, limits, standing=stays(*standing), narrowed=bool(left_out), resent={"s"} if again else ()
    )
    remote.run(compiled, payload_resources(changes), context, seed)

    found = {uri: one.doc for uri, one in remote.items["sid"].items()}
    assert {uri: doc for uri, doc in found.items() if uri not in strays} == {
        uri: held(title, uri) for uri, title in expected.items()
    }
    if not exclusive:
        assert strays <= found.keys()
    if exclusive and older_calls(compiled):
        assert not strays & found.keys()
    covered = [covered.address for call in compiled.calls for covered in call.covers]
    assert sorted(covered) == sorted(change.address for change in changes)
    one_by_one = compile_calls(changes, replace(OURS, sources={"s": SourceRef("sid")}), limits)
    assert compiled.api_calls - len(older_calls(compiled)) <= one_by_one.api_calls


NAMES = st.sets(st.sampled_from("abcdef"))


@given(recorded=NAMES, desired=NAMES, strays=NAMES, exclusive=st.booleans(), limits=st.sampled_from([PUBLISHED, TINY]))
def test_identities_that_are_wanted_stay_enabled_and_others_people_s_are_spared(
    recorded: set[str], desired: set[str], strays: set[str], exclusive: bool, limits: Limits
) -> None:
    strays = {f"stray-{name}" for name in strays}
    context = replace(OURS, exclusive_providers=frozenset({"corp"}) if exclusive else frozenset())
    changes = [create(group(name)) for name in desired - recorded]
    changes += [delete(group(name)) for name in recorded - desired]
    # Half of what stays is changed, half is left as it is.
    kept = sorted(recorded & desired)
    changes += [update(group(name), group(name, "user/corp/u")) for name in kept[::2]]
    remote = ModelledRemote(identities={"pid": {name: Held({}) for name in recorded | strays}})
    compiled = compile_calls(changes, context, limits, standing=stays(*map(group, kept[1::2])))
    remote.run(compiled, payload_resources(changes), context)
    found = remote.identities["pid"].keys()
    assert found - strays == desired
    if not exclusive:
        assert strays <= found
