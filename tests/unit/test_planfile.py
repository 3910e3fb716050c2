"""Saved plans: what is written is read back, and anything else is refused."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "rendering"))

import rendered_plans as plans

from reconciler.calls.call import Call, CallKind, Compiled, Covered, Order, SourceStatus, Stage, Transient, Verb
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource, StateBase, Target
from reconciler.planfile import dump_plan, load_plan
from reconciler.planning.change import Action, Change
from reconciler.planning.plan import AccessTests, BodyRef, Doubt, Hazard, Plan
from reconciler.problems import Position, Problem, Related, Severity, StateError
from reconciler.rendering.exposure import exposure_lines
from reconciler.rendering.jsondoc import checksum, unsigned
from reconciler.rendering.plan_schema import plan_schema

TOP_LEVEL = [
    *("format_version", "environment", "state", "summary", "changes", "calls", "statuses", "quota"),
    *("access", "hazards", "problems"),
    *("tool_version", "target", "manifests", "selection", "bodies", "tightened", "state_only", "checksum"),
]

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCOPES = st.text("abc-Z é", min_size=1, max_size=5)
COUNTS = st.integers(0, 2**40)
ADDRESSES = st.builds(Address.of, st.sampled_from(Kind), SCOPES, WORDS)
SCALARS = st.one_of(
    WORDS, st.integers(-(2**63), 2**63), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
DOCS = st.dictionaries(
    st.sampled_from(["title", "metadata", "members", "protect", "parent"]),
    st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
    max_size=4,
).map(lambda doc: {**doc, "metadata": {"k": doc["metadata"]}} if "metadata" in doc else doc)
SHARED = st.one_of(
    st.none(),
    st.lists(WORDS, max_size=3).map(lambda names: {"levels": [{"sets": [{"allowed": names}]}]}),
    st.lists(WORDS, max_size=3).map(lambda names: {"wellKnowns": names}),
)
POSITIONS = st.builds(Position, WORDS, COUNTS, COUNTS, COUNTS)
PROBLEMS = st.builds(
    Problem,
    code=WORDS,
    what=WORDS,
    why=WORDS,
    fix=WORDS,
    position=st.one_of(st.none(), POSITIONS),
    where=WORDS,
    severity=st.sampled_from(Severity),
    related=st.lists(st.builds(Related, POSITIONS, WORDS), max_size=2).map(tuple),
)
HAZARDS = st.builds(
    Hazard, WORDS, WORDS, WORDS, WORDS, WORDS, COUNTS, st.lists(WORDS, max_size=2).map(tuple), st.booleans()
)
DOUBTS = st.builds(
    Doubt,
    run=WORDS,
    call=COUNTS,
    at=WORDS,
    answered=st.booleans(),
    ended=st.booleans(),
    detail=WORDS,
    addresses=st.lists(ADDRESSES, min_size=2, max_size=3).map(tuple),
    sent=st.integers(0, 1),
    deleted=st.integers(0, 1),
)
PATHS = st.one_of(st.none(), st.sampled_from(["a.txt", "b/é c.html", "..c/d"]))
BODIES = st.builds(BodyRef, st.binary(min_size=32, max_size=32).map(bytes.hex), COUNTS, PATHS)
PAIRS = st.dictionaries(SCOPES, WORDS, max_size=2).map(lambda found: tuple(sorted(found.items())))


@st.composite
def changes(draw: st.DrawFn) -> Change:
    address = draw(ADDRESSES)
    action = draw(st.sampled_from(Action))

    def resource() -> Resource:
        shared = draw(SHARED)
        return Resource(address, canonical_json(draw(DOCS)), b"" if shared is None else canonical_json(shared))

    return Change(
        address,
        action,
        draw(st.sampled_from(["new", "changed", "removed", "moved", "unconfirmed", "rejected", "destroy"])),
        None if action is Action.CREATE else resource(),
        None if action is Action.DELETE else resource(),
        draw(st.one_of(st.none(), ADDRESSES)),
        draw(st.one_of(st.none(), ADDRESSES)),
    )


PLANS = st.builds(
    Plan,
    environment=WORDS,
    target=st.builds(Target, WORDS, PAIRS, PAIRS),
    base=st.builds(StateBase, WORDS, COUNTS),
    changes=st.lists(changes(), max_size=5).map(tuple),
    no_op=COUNTS,
    hazards=st.lists(HAZARDS, max_size=2).map(tuple),
    problems=st.lists(PROBLEMS, max_size=2).map(tuple),
    bodies=st.lists(BODIES, max_size=2).map(tuple),
    manifest_digest=WORDS,
    commit=st.sampled_from(["", "4e75d47975e7" + "0" * 28]),
    selection=st.lists(WORDS, max_size=2).map(tuple),
    rollback=st.lists(WORDS, max_size=2).map(tuple),
    doubts=st.lists(DOUBTS, max_size=2).map(tuple),
    tests=st.tuples(COUNTS, COUNTS).map(lambda pair: AccessTests(max(pair), min(pair))),
)
CALLS = st.builds(
    Call,
    number=st.just(1),
    kind=st.sampled_from(CallKind),
    method=st.sampled_from(["PUT", "DELETE"]),
    path=st.sampled_from(["organizations/a/sources/b/documents", "organizations/%C3%A9/x/permissions/batch"]),
    query=st.lists(st.tuples(WORDS, WORDS), max_size=2).map(tuple),
    scope=WORDS,
    covers=st.lists(st.builds(Covered, ADDRESSES, st.sampled_from(Verb)), max_size=3).map(tuple),
    size=COUNTS,
)


def _numbered(stages: list[Stage]) -> tuple[Stage, ...]:
    numbers = count(1)
    return tuple(
        replace(stage, calls=tuple(replace(call, number=next(numbers)) for call in stage.calls)) for stage in stages
    )


STAGES = st.lists(
    st.builds(Stage, st.sampled_from(["identities", "items"]), st.lists(CALLS, min_size=1, max_size=3).map(tuple)),
    max_size=3,
).map(_numbered)
ORDERS = st.builds(
    Order,
    checked=st.booleans(),
    extra_calls=COUNTS,
    transients=st.lists(
        st.builds(
            Transient,
            since=COUNTS,
            until=COUNTS.filter(bool),
            source=WORDS,
            items=COUNTS,
            examples=st.lists(ADDRESSES, max_size=2).map(tuple),
            people=COUNTS,
            identities=st.lists(WORDS, max_size=2).map(tuple),
            public=st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
)
SCHEMA = jsonschema.Draft202012Validator(plan_schema())


@settings(max_examples=200, deadline=None)
@given(PLANS, STAGES, st.lists(ADDRESSES, max_size=3).map(tuple), ORDERS)
def test_what_is_dumped_is_loaded(
    plan: Plan, stages: tuple[Stage, ...], state_only: tuple[Address, ...], order: Order
) -> None:
    covers = [covered for stage in stages for call in stage.calls for covered in call.covers]
    tight = sorted({covered.address for covered in covers if covered.verb is Verb.TIGHTEN})
    compiled = Compiled(
        stages,
        state_only,
        (SourceStatus("s", "REFRESH", "organizations/o/sources/s/status"),),
        tightened=tuple(Resource(address, b'{"members":[]}') for address in tight),
        order=order,
    )
    data = dump_plan(plan, compiled)
    saved = load_plan(data, "plan.json")
    assert (saved.plan, saved.compiled) == (plan, compiled)
    assert dump_plan(saved.plan, saved.compiled) == data
    document = orjson.loads(data)
    assert document["checksum"] == saved.digest == checksum(document)
    if all(call["number"] for call in document["calls"]):
        SCHEMA.validate(document)


def test_a_call_that_tightens_what_the_plan_does_not_say_is_refused() -> None:
    call = Call(1, CallKind.IDENTITY_PUT, "PUT", "organizations/o/providers/p/permissions", (), "corp", (), 0)
    tightens = replace(call, covers=(Covered(Address("group/corp/A"), Verb.TIGHTEN),))
    data = dump_plan(plans.mixed_plan(), Compiled((Stage("identities", (tightens,)),)))
    assert code_of(data) == "plan-not-a-plan"


def small() -> bytes:
    plan = plans.mixed_plan()
    return dump_plan(plan, plans.calls_for(plan))


def code_of(data: bytes) -> str:
    with pytest.raises(StateError) as caught:
        load_plan(data, "plan.json")
    (problem,) = caught.value.problems
    assert problem.where == "plan.json"
    assert problem.fix
    return problem.code


def signed_by(key: bytes) -> Callable[[bytes], str]:
    return lambda document: hashlib.sha256(key + document).hexdigest()


def test_a_signature_is_of_all_but_itself_and_the_checksum() -> None:
    plan = plans.mixed_plan()
    data = dump_plan(plan, plans.calls_for(plan), signed_by(b"k"))
    document = orjson.loads(data)
    assert list(document) == [*TOP_LEVEL[:-1], "signature", "checksum"]
    assert document["signature"] == signed_by(b"k")(unsigned(document))
    SCHEMA.validate(document)
    saved = load_plan(data, "plan.json", signed_by(b"k"))
    bare = load_plan(small(), "plan.json")
    assert (saved.signed, saved.plan, saved.digest) == (True, bare.plan, bare.digest)
    assert not bare.signed
    assert load_plan(data, "plan.json").signed


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        (None, "plan-unsigned"),
        ("", "plan-signature"),
        ("0" * 64, "plan-signature"),
        ("\u00e9", "plan-signature"),
        (1, "plan-signature"),
        ([], "plan-signature"),
    ],
)
def test_a_signature_that_is_not_right_is_refused(signature: object, code: str) -> None:
    document = {**orjson.loads(small()), "signature": signature}
    with pytest.raises(StateError) as caught:
        load_plan(sealed(document), "plan.json", signed_by(b"k"))
    assert [(problem.code, problem.where) for problem in caught.value.problems] == [(code, "plan.json")]


def test_a_signature_of_another_plan_or_key_is_refused() -> None:
    plan = plans.mixed_plan()
    document = orjson.loads(dump_plan(plan, plans.calls_for(plan), signed_by(b"k")))
    moved = orjson.loads(small()) | {"environment": "other", "signature": document["signature"]}
    for data, key in ((sealed(moved), b"k"), (sealed(document), b"other")):
        with pytest.raises(StateError) as caught:
            load_plan(data, "plan.json", signed_by(key))
        assert caught.value.problems[0].code == "plan-signature"


def test_a_leaf_that_is_altered_before_it_is_sealed_again_breaks_the_signature() -> None:
    plan = plans.mixed_plan()
    document = orjson.loads(dump_plan(plan, plans.calls_for(plan), signed_by(b"k")))
    for key in set(document) - {"checksum", "signature", "format_version", "changes", "calls"}:
        for altered in ({**document, key: "x"}, {name: value for name, value in document.items() if name != key}):
            with pytest.raises(StateError) as caught:
                load_plan(sealed(altered), "plan.json", signed_by(b"k"))
            assert caught.value.problems[0].code == "plan-signature"


@pytest.mark.parametrize("commit", ["a" * 40, "0" * 64])
def test_a_plan_tells_its_commit(commit: str) -> None:
    plan = replace(plans.mixed_plan(), commit=commit, dirty=True)
    data = dump_plan(plan, plans.calls_for(plan))
    SCHEMA.validate(orjson.loads(data))
    saved = load_plan(data, "plan.json").plan
    assert (saved.commit, saved.dirty) == (commit, True)


@pytest.mark.parametrize(
    "manifests", [{"commit": "HEAD"}, {"commit": "A" * 40}, {"commit": "a" * 40 + "\n"}, {"commit": 1}, {"dirty": "no"}]
)
def test_what_is_no_commit_is_refused(manifests: dict[str, Any]) -> None:
    document = orjson.loads(small())
    document["manifests"].update(manifests)
    assert code_of(sealed(document)) == "plan-not-a-plan"


def sealed(document: dict[str, Any]) -> bytes:
    return orjson.dumps({**document, "checksum": checksum(document)})


def test_keys_come_in_the_published_order() -> None:
    assert list(orjson.loads(small())) == TOP_LEVEL


def test_schema_is_met_by_every_small_plan() -> None:
    for plan in (plans.mixed_plan(), plans.folding_plan(), plans.hostile_plan(), plans.levels_plan(), plans.plan_of()):
        SCHEMA.validate(orjson.loads(dump_plan(plan, plans.calls_for(plan))))


def test_schema_describes_and_refuses() -> None:
    schema = plan_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == "plan.json"
    assert schema["required"] == TOP_LEVEL
    document = orjson.loads(small())
    assert SCHEMA.is_valid(document)
    assert not SCHEMA.is_valid({**document, "format_version": "2.0"})
    assert not SCHEMA.is_valid({key: value for key, value in document.items() if key != "access"})


def test_formatting_is_no_change() -> None:
    plan = load_plan(small(), "plan.json")
    indented = orjson.dumps(orjson.loads(small()), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    assert load_plan(indented, "plan.json") == plan


@pytest.mark.parametrize("data", [b"hello", b"[1", b"{]", b'{"format_version": "1.0"} x', b'{"a": "\xff"}'])
def test_not_json(data: bytes) -> None:
    assert code_of(data) == "plan-not-json"


def test_every_cut_is_called_one() -> None:
    data = small()
    for length in range(1, len(data) - 2):
        assert code_of(data[:length]) == "plan-truncated", length
    assert code_of(b"") == "plan-truncated"
    assert load_plan(data[:-1], "plan.json")  # only the last line break is missing


@pytest.mark.parametrize("data", [b"[]", b"{}", b'"x"', b"null", b'{"format_version": 1, "changes": [], "calls": []}'])
def test_not_a_plan(data: bytes) -> None:
    assert code_of(data) == "plan-not-a-plan"


def test_newer_version() -> None:
    document = orjson.loads(small())
    assert code_of(sealed({**document, "format_version": "2.0"})) == "plan-newer-version"
    assert load_plan(sealed({**document, "format_version": "1.7", "extra": 1}), "x").plan.environment == "prod"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for place, entry in enumerate(value) for leaf in leaves(entry, (*path, place))]
    return [path]


def with_leaf(document: Any, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy = orjson.loads(orjson.dumps(document))
    place = copy
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    result: dict[str, Any] = copy
    return result


def test_every_altered_leaf_is_refused() -> None:
    document = orjson.loads(small())
    for path in leaves(document):
        altered = with_leaf(document, path, "something else")
        assert code_of(orjson.dumps(altered)) in {"plan-altered", "plan-not-a-plan"}, path


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_refused_or_means_the_same(bit: int) -> None:
    data = small()
    saved = load_plan(data, "x")
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        with suppress(StateError):
            assert load_plan(flipped, "x") == saved, place


def test_every_key_and_entry_that_goes_is_missed() -> None:
    document = orjson.loads(small())
    inner = {leaf[:depth] for leaf in leaves(document) for depth in range(1, len(leaf) + 1)}
    for path in sorted(inner, key=str):
        altered = orjson.loads(orjson.dumps(document))
        place = altered
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        assert code_of(orjson.dumps(altered)) in {"plan-altered", "plan-not-a-plan"}, path


@pytest.mark.parametrize("value", [None, 1, True, "?", [], {}, ["x"], {"x": 1}, -1, 1.5])
def test_a_resealed_plan_of_any_shape_never_ends_in_a_traceback(value: Any) -> None:
    document = orjson.loads(small())
    for path in leaves(document):
        for depth in range(1, len(path) + 1):
            try:
                load_plan(sealed(with_leaf(document, path[:depth], value)), "plan.json")
            except StateError as error:
                assert error.problems[0].code in {"plan-not-a-plan", "plan-newer-version"}


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "C:\\x", "..\\x", "\\\\host\\x", "a\0b", ""])
def test_content_stays_inside_the_project(path: str) -> None:
    document = with_leaf(orjson.loads(small()), ("bodies", 0, "path"), path)
    assert code_of(sealed(document)) == "plan-not-a-plan"


@pytest.mark.parametrize(
    "path",
    ["//evil.example/x", "https://evil.example/", "a/../b", "a/%2e%2E/b", "a%2F..%2Fb", "a?b", "a#b", "a b", "a\n", ""],
)
def test_calls_stay_on_their_host(path: str) -> None:
    document = with_leaf(orjson.loads(small()), ("calls", 0, "path"), path)
    assert code_of(sealed(document)) == "plan-not-a-plan"


def test_a_plan_of_before_tests_ran_in_plans_tells_of_none() -> None:
    document = orjson.loads(small())
    del document["access"]["tests"]
    assert load_plan(sealed(document), "plan.json").plan.tests == AccessTests(0, 0)


EXPOSED: dict[str, Any] = {
    "complete": True,
    "gained": [
        {
            "kind": "affected",
            "source": "handbook",
            "items": 1,
            "people": 1,
            "public": False,
            "domains": [],
            "examples": ["item/handbook/a"],
            "because": ["group/corp/Staff"],
            "more_causes": 0,
            "identities": ["user/corp/ann"],
        }
    ],
    "lost": [],
    "more": {"gained": 0, "lost": 0},
    "totals": {f"{what}_{side}": 0 for what in ("pairs", "people", "items") for side in ("gained", "lost")},
    "causes": {"group/corp/Staff": {"gone": [], "new": ["user:ann member of group:Staff"]}},
    "hazards": [
        {
            "name": "widened-access",
            "subject": "item/handbook",
            "source": "handbook",
            "items": 1,
            "people": 1,
            "examples": ["item/handbook/a"],
            "allowed": False,
        }
    ],
}


def exposing(exposed: dict[str, Any]) -> bytes:
    return dump_plan(replace(plans.mixed_plan(), access=canonical_json(exposed)), Compiled())


def test_what_is_said_of_access_comes_back() -> None:
    assert orjson.loads(load_plan(exposing(EXPOSED), "x").plan.access) == EXPOSED
    SCHEMA.validate(orjson.loads(exposing(EXPOSED)))


def test_what_plans_once_said_of_access_is_still_read() -> None:
    (entry,), (hazard,) = EXPOSED["gained"], EXPOSED["hazards"]
    old = {key: EXPOSED[key] for key in ("lost", "totals", "causes")}
    old["gained"] = [{key: entry[key] for key in entry if key not in ("public", "domains", "more_causes")}]
    old["hazards"] = [{"name": "item-public", **{key: hazard[key] for key in ("source", "items", "examples")}}]
    document = orjson.loads(exposing(old))
    for hazard in document["hazards"]:
        del hazard["people"], hazard["liftable"]

    loaded = load_plan(sealed(document), "plan.json")

    assert orjson.loads(loaded.plan.access) == old
    assert all(hazard.liftable for hazard in loaded.plan.hazards)
    assert "handbook" in "".join(exposure_lines(orjson.loads(loaded.plan.access)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("complete",), "yes"),
        (("more",), {"gained": -1}),
        (("gained", 0, "kind"), "vanished"),
        (("gained", 0, "public"), 1),
        (("gained", 0, "domains"), [1]),
        (("gained", 0, "more_causes"), -1),
        (("gained", 0, "identities"), ["ann"]),
        (("gained", 0, "examples"), ["a"]),
        (("hazards", 0, "people"), "many"),
        (("hazards", 0, "allowed"), 1),
        (("hazards", 0, "name"), None),
    ],
)
def test_what_plans_say_of_access_is_held_to_what_it_may_be(path: tuple[Any, ...], value: Any) -> None:
    document = with_leaf(orjson.loads(exposing(EXPOSED)), ("access", *path), value)
    assert code_of(sealed(document)) == "plan-not-a-plan"


def test_a_hazard_that_nothing_lifts_stays_so() -> None:
    plan = replace(plans.mixed_plan(), hazards=(replace(plans.HAZARD, liftable=False, people=3),))
    assert load_plan(dump_plan(plan, Compiled()), "x").plan.hazards == plan.hazards


def test_excerpts_are_left_out() -> None:
    plan = plans.mixed_plan()
    saved = load_plan(dump_plan(plan, Compiled()), "x")
    assert saved.plan == replace(plan, problems=(replace(plans.WARNING, excerpt=""),))


def test_stages_without_calls_leave_no_trace() -> None:
    plan = plans.mixed_plan()
    compiled = plans.calls_for(plan)
    padded = replace(compiled, stages=(Stage("empty", ()), *compiled.stages))
    assert load_plan(dump_plan(plan, padded), "x").compiled == compiled


def test_calls_have_numbers_of_their_own() -> None:
    document = orjson.loads(small())
    number = document["calls"][0]["number"]
    assert code_of(sealed(with_leaf(document, ("calls", 1, "number"), number))) == "plan-not-a-plan"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("quota", "burst_seconds"), 0),
        (("quota", "calls_per_day"), 0),
        (("quota", "items_per_day"), "many"),
        (("statuses",), [{"source": "s", "status": "IDLE", "path": "a"}]),
        (("statuses",), [{"source": "s", "status": "REBUILD", "path": "../a"}]),
        (("calls", 0, "after"), [2]),
        (("calls", 0, "containers"), -1),
        (("calls", 0, "chunks"), [1, 1_000]),
        (("calls", 0, "covers", 0, "fields"), [["title"]]),
        (("access", "tests"), {"run": 1, "failed": 2}),
        (("access", "tests"), {"run": -1, "failed": 0}),
        (("access", "tests"), 3),
    ],
)
def test_what_plans_say_of_their_calls_is_held_to_what_it_may_be(path: tuple[Any, ...], value: Any) -> None:
    document = orjson.loads(small())
    assert load_plan(sealed(document), "plan.json")
    assert code_of(sealed(with_leaf(document, path, value))) == "plan-not-a-plan"
