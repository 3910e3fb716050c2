"""Small plans to render: a mixed one, one that folds, one that is hostile, one without changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reconciler.calls.call import Call, CallKind, Compiled, Covered, Stage, Verb
from reconciler.calls.effective import effects_of
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource, StateBase, Target
from reconciler.planning.change import Action, Change
from reconciler.planning.plan import BodyRef, Hazard, Plan
from reconciler.problems import Position, Problem, Severity

TARGET = Target("acme", (("handbook", "src1"),), (("corp", "prov1"),))
BASE = StateBase("3f2b", 41)


def body(text: str, encoding: str = "text") -> dict[str, Any]:
    data = text.encode()
    return {"encoding": encoding, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def model(*levels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"levels": [{"sets": list(sets)} for sets in levels]}


def resource(address: Address, doc: dict[str, Any], shared: dict[str, Any] | None = None) -> Resource:
    return Resource(address, canonical_json(doc), canonical_json(shared) if shared is not None else b"")


def change(
    kind: Kind,
    scope: str,
    name: str,
    before: tuple[dict[str, Any], dict[str, Any] | None] | None,
    after: tuple[dict[str, Any], dict[str, Any] | None] | None,
    reason: str = "",
    **more: Any,
) -> Change:
    address = Address.of(kind, scope, name)
    if before is None:
        action, expected = Action.CREATE, "new"
    elif after is None:
        action, expected = Action.DELETE, "removed"
    else:
        action, expected = Action.UPDATE, "changed"
    return Change(
        address,
        action,
        reason or expected,
        None if before is None else resource(address, *before),
        None if after is None else resource(address, *after),
        **more,
    )


def plan_of(*changes: Change, **more: Any) -> Plan:
    values: dict[str, Any] = {
        "environment": "prod",
        "target": TARGET,
        "base": BASE,
        "changes": tuple(sorted(changes, key=lambda entry: entry.address)),
        "no_op": 12,
        "manifest_digest": "ab" * 32,
    }
    return Plan(**{**values, **more})


def calls_for(plan: Plan) -> Compiled:
    """One batch for the identities, one for the items that are put, one for the deletions."""
    stages = []
    number = 0
    for name, kind, path, wanted in (
        ("identities", CallKind.IDENTITY_BATCH, "organizations/acme/providers/prov1/permissions/batch", "identity"),
        ("items", CallKind.ITEM_BATCH, "organizations/acme/sources/src1/documents/batch", "put"),
        ("deletions", CallKind.ITEM_DELETE, "organizations/acme/sources/src1/documents", "delete"),
    ):
        covers = tuple(
            Covered(entry.address, Verb.DELETE if entry.action is Action.DELETE else Verb.PUT)
            for entry in plan.changes
            if wanted == _section(entry)
        )
        if not covers:
            continue
        number += 1
        if kind is CallKind.ITEM_DELETE:
            query = (("documentId", covers[0].address.name), ("deleteChildren", "false"))
            call = Call(number, kind, "DELETE", path, query, "handbook", covers, 0)
        else:
            call = Call(number, kind, "PUT", path, (), covers[0].address.scope, covers, 1000 * len(covers))
        stages.append(Stage(name, (call,)))
    compiled = Compiled(tuple(stages))
    return replace(compiled, effects=effects_of(compiled.calls, {"corp": 86_400}))


def _section(entry: Change) -> str:
    if entry.address.kind is not Kind.ITEM:
        return "identity"
    return "delete" if entry.action is Action.DELETE else "put"


HAZARD = Hazard(
    "emptied",
    'every item of "handbook" would be deleted (1 of 1)',
    'empty is never taken for "delete all": a file or section may have vanished by mistake.',
    "bring the entries back; if it is meant, add --allow emptied:item/handbook.",
    subject="item/handbook",
    count=3,
    addresses=("item/handbook/file://folder/old.txt",),
)

WARNING = Problem(
    "no-content",
    'item "file://folder/mytext.txt" has no body',
    why="it is found by its metadata only.",
    fix="give it a body, or look at it with:\n    reconciler show item/handbook/file://folder/mytext.txt",
    position=Position("handbook.yaml", 14, 5, 3),
    severity=Severity.WARNING,
    excerpt="    uri: SECRET LINE OF A MANIFEST",
)

OPEN = model([{"allowed": ["group/corp/AlphaTeam"], "denied": ["user/corp/bob@example.com"]}])
WIDER = model([{"allowed": ["group/corp/AlphaTeam", "group/corp/BetaTeam"]}])


def mixed_plan() -> Plan:
    return plan_of(
        change(Kind.GROUP, "corp", "AlphaTeam", None, ({"members": ["user/corp/alice", "user/corp/bob"]}, None)),
        change(
            Kind.ALIAS,
            "corp",
            "user:alice",
            ({"mappings": ["user/Email Security Provider/alice@old.example"]}, None),
            ({"mappings": ["user/Email Security Provider/alice@example.com"]}, None),
        ),
        change(
            Kind.ITEM,
            "handbook",
            "file://folder/mytext.txt",
            (
                {"body": body("one"), "metadata": {"author": "Alice", "tags": ["a", "b"]}, "title": "x" * 200 + "1"},
                OPEN,
            ),
            (
                {"body": body("three"), "metadata": {"tags": ["a", "c"]}, "title": "x" * 200 + "2"},
                WIDER,
            ),
        ),
        change(Kind.ITEM, "handbook", "file://folder/old.txt", ({"metadata": {}, "title": "Old"}, OPEN), None),
        hazards=(HAZARD,),
        problems=(WARNING,),
        bodies=(BodyRef(body("three")["sha256"], 5, "content/three.txt"),),
    )


def folding_plan() -> Plan:
    entries = [
        change(
            Kind.ITEM,
            "handbook",
            f"file://folder/{number:03}.txt",
            ({"metadata": {"date": f"2024-01-{number % 28 + 1:02}"}, "title": "t"}, OPEN),
            ({"metadata": {"date": "2025-01-01T00:00:00Z"}, "title": "t"}, OPEN),
        )
        for number in range(30)
    ]
    entries += [
        change(
            Kind.ITEM,
            "handbook",
            f"file://wide/{number:03}.txt",
            ({"metadata": {}}, OPEN),
            ({"metadata": {}}, WIDER),
        )
        for number in range(21)
    ]
    entries += [change(Kind.GROUP, "corp", f"G{number:03}", None, ({"members": []}, None)) for number in range(25)]
    entries.append(
        change(
            Kind.ITEM, "handbook", "file://other.txt", ({"metadata": {}}, OPEN), ({"metadata": {}, "title": "N"}, OPEN)
        )
    )
    return plan_of(*entries)


HOSTILE = (
    "\x1b[31mred\x07\x9b</summary><script>alert(1)</script>`` @team #12 | a\r\nforged: line\u202etxt.exe"
    " \U0001f600 [x](http://e) ```"
)


def hostile_plan() -> Plan:
    return plan_of(
        change(
            Kind.ITEM,
            "handbook",
            f"file://{HOSTILE}",
            ({"metadata": {"note": HOSTILE + "1"}, "title": HOSTILE}, OPEN),
            (
                {"metadata": {"note": HOSTILE + "2"}, "title": HOSTILE * 40},
                model([{"allowed": [f"user/{HOSTILE}/{HOSTILE}"]}]),
            ),
        ),
        change(Kind.GROUP, "corp", HOSTILE, None, ({"members": [f"user/corp/{HOSTILE}"]}, None)),
        environment=HOSTILE,
        target=Target(HOSTILE, (("handbook", "s"),), (("corp", "p"), ("other", "q"))),
        hazards=(Hazard("widened", HOSTILE, HOSTILE, HOSTILE, HOSTILE, 2, (HOSTILE,)),),
        problems=(Problem("odd", HOSTILE, HOSTILE, HOSTILE, Position(HOSTILE, 1, 1), severity=Severity.WARNING),),
        selection=(HOSTILE,),
    )


def levels_plan() -> Plan:
    """Permission models of several levels and sets, and everything that only one side has."""
    staff = {"allowed": ["group/corp/Staff"], "name": "staff"}
    cleared = {"allowed": ["group/corp/Cleared"], "denied": ["user/corp/eve"]}
    before = {"levels": [{"sets": [{"allowed": ["group/corp/Board"]}], "name": "top"}, {"sets": [cleared, staff]}]}
    after = {
        "levels": [
            {"sets": [{"allowed": ["group/corp/Board", "user/other/ann"]}]},
            {"sets": [{**cleared, "denied": []}, {**staff, "anonymous": True}, {"allowed": ["virtual-group/corp/V"]}]},
            {"sets": [{}]},
        ]
    }
    moved = Address.of(Kind.ITEM, "handbook", "file://new.txt")
    old = Address.of(Kind.ITEM, "handbook", "file://old.txt")
    own: dict[str, Any] = {"metadata": {}, "title": "T"}
    user: dict[str, Any] = {}
    return plan_of(
        change(Kind.ITEM, "handbook", "file://levels.txt", (own, before), (own, after)),
        change(Kind.ITEM, "handbook", "file://opened.txt", (own, None), (own, model([{"anonymous": True}]))),
        change(Kind.ITEM, "handbook", "file://nobody.txt", (own, {"levels": []}), (own, None)),
        change(Kind.ITEM, "handbook", "file://again.txt", (own, OPEN), (own, OPEN), "unconfirmed"),
        change(Kind.ITEM, "handbook", "file://new.txt", None, (own, OPEN), "moved", moved_from=old),
        change(Kind.ITEM, "handbook", "file://old.txt", (own, OPEN), None, "moved", moved_to=moved),
        change(Kind.VIRTUAL_GROUP, "corp", "V", None, ({"members": []}, {"wellKnowns": ["group/corp/All"]})),
        change(Kind.USER, "corp", "eve", (user, None), ({"protect": True}, None)),
        change(
            Kind.ITEM,
            "handbook",
            "file://page.bin",
            ({"body": body("a", "text"), "metadata": {"size": 1, "ok": True, "tags": ["a"]}}, OPEN),
            ({"body": body("b", "binary"), "metadata": {"size": "1", "ok": False, "tags": ["a", "b"]}}, OPEN),
        ),
        base=StateBase("", 0),
        selection=("item/handbook/**",),
    )
