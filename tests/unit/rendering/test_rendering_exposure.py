"""Who gains and who loses sight of what as a document, as lines of text and as a stream; whole, and cut where large."""

from __future__ import annotations

from typing import Any

import orjson

from reconciler.model.states import Resource
from reconciler.permissions.exposure import CAUSES, Edit, Exposure, expose
from reconciler.permissions.readings import EMAIL_PROVIDER, Readings
from reconciler.permissions.relation import Relation
from reconciler.planning.accesshazards import AccessLimits, access_hazards
from reconciler.rendering.exposure import exposure_lines
from reconciler.rendering.exposuredoc import PERSONS, SHORT, exposure_document, exposure_stream
from tests.builders import alias, group, item, user

STAFF = "group/corp/Staff"
MANY = 40
PEOPLE = [f"user/corp/p{number:02}" for number in range(MANY)]
BEFORE = (
    user("ann"),
    group("Staff", "user/corp/ann"),
    *(group(f"G{number:02}") for number in range(MANY)),
    *(item(f"g:{number:02}", allowed=[f"group/corp/G{number:02}"]) for number in range(MANY)),
    *(item(f"x:{number}", allowed=[STAFF]) for number in range(3)),
)


def changed(*after: Resource, before: tuple[Resource, ...] = BEFORE) -> tuple[Relation, Exposure]:
    known = {str(resource.address): resource for resource in before}
    relation = Relation(Readings(), {})
    relation.load(known.values())
    return relation, expose(relation, [Edit(entry.address, known.get(entry.address), entry) for entry in after])


def document(*after: Resource, **bounds: int) -> dict[str, Any]:
    relation, found = changed(*after)
    hazards = access_hazards(found, relation, AccessLimits())
    return exposure_document(found, relation.names, hazards=hazards, **bounds)


def test_a_small_document_is_complete() -> None:
    told = document(group("Staff", "user/corp/ann", *PEOPLE))

    assert (told["complete"], told["more"]) == (True, {"gained": 0, "lost": 0})
    assert told["gained"] == [
        {
            "kind": "affected",
            "source": "handbook",
            "items": 3,
            "people": MANY,
            "public": False,
            "domains": [],
            "examples": [f"item/handbook/x:{number}" for number in range(3)],
            "because": [STAFF],
            "more_causes": 0,
            "persons": PEOPLE[:PERSONS],
            "identities": PEOPLE,
        }
    ]
    assert len(told["causes"][STAFF]["new"]) == MANY
    assert told["hazards"] == [
        {
            "name": "widened-access",
            "subject": "item/handbook",
            "source": "handbook",
            "items": 3,
            "people": MANY,
            "examples": [f"item/handbook/x:{number}" for number in range(3)],
            "allowed": False,
        }
    ]


def test_a_large_document_names_the_first_and_counts_all() -> None:
    told = document(group("Staff", "user/corp/ann", *PEOPLE), named=MANY - 1)

    (entry,) = told["gained"]
    assert not told["complete"]
    assert (entry["people"], entry["identities"]) == (MANY, PEOPLE[:SHORT])
    assert told["totals"]["people_gained"] == MANY
    assert len(told["causes"][STAFF]["new"]) == SHORT
    assert document(group("Staff", "user/corp/ann", *PEOPLE), named=MANY)["complete"]


def test_entries_that_weigh_least_are_counted() -> None:
    groups = [group(f"G{number:02}", *PEOPLE[: number + 1]) for number in range(MANY)]
    told = document(*groups, listed=10)

    assert not told["complete"]
    assert told["more"] == {"gained": MANY - 10, "lost": 0}
    assert [entry["people"] for entry in told["gained"]] == list(range(MANY, MANY - 10, -1))
    assert told["totals"]["pairs_gained"] == sum(range(1, MANY + 1))
    assert list(exposure_lines(told, entries=4))[-1] == f"+ and {MANY - 4} more"


def test_the_stream_has_all_of_it() -> None:
    relation, found = changed(
        *(group(f"G{number:02}", *PEOPLE[: number + 1]) for number in range(MANY)), group("Staff")
    )
    lines = [orjson.loads(line) for line in b"".join(exposure_stream(found, relation.names)).splitlines()]

    assert [line["side"] for line in lines] == ["gained"] * MANY + ["lost"]
    assert lines[0] == {
        "side": "gained",
        "kind": "affected",
        "source": "handbook",
        "items": 1,
        "people": MANY,
        "public": False,
        "domains": [],
        "because": ["group/corp/G39"],
        "more_causes": 0,
        "identities": PEOPLE,
        "addresses": ["item/handbook/g:39"],
    }
    assert lines[-1]["addresses"] == [f"item/handbook/x:{number}" for number in range(3)]


def test_a_stream_comes_in_pieces_that_fit_together() -> None:
    relation, found = changed(*(item(f"n:{number:04}", allowed=[STAFF]) for number in range(2500)))
    pieces = list(exposure_stream(found, relation.names))

    assert max(map(len, pieces)) < 50_000
    assert len(orjson.loads(b"".join(pieces))["addresses"]) == 2500


def test_causes_through_which_most_people_go_are_named_and_the_others_counted() -> None:
    number = CAUSES + 7
    groups = [f"H{index:02}" for index in range(number)]
    before = (*(group(name) for name in groups), item("x:1", allowed=[f"group/corp/{name}" for name in groups]))
    crowd = [f"user/corp/c{index}" for index in range(3)]
    after = [group(name, f"user/corp/{name}", *(crowd if name == "H56" else ())) for name in groups]
    relation, found = changed(*after, before=before)

    (shift,) = found.shifts
    causes = found.causes(shift)
    assert (len(causes.parts), causes.more, shift.people_gained) == (CAUSES, 7, number + 3)
    assert "group/corp/H56" in [part.address for part in causes.parts]
    (entry,) = exposure_document(found, relation.names)["gained"]
    assert (len(entry["because"]), entry["more_causes"]) == (CAUSES, 7)
    assert f"    and of {number - 5} more" in list(exposure_lines({**exposure_document(found, relation.names)}))


def test_items_that_come_need_no_cause() -> None:
    _, found = changed(item("n:1", allowed=[STAFF]), group("Staff", "user/corp/ann", "user/corp/bob"))

    assert {shift.kind.value: len(found.causes(shift).parts) for shift in found.shifts} == {"created": 0, "affected": 1}


def test_strangers_who_gain_are_told() -> None:
    partners = f"group/{EMAIL_PROVIDER}/*@partner.example"
    told = document(item("x:1", allowed=[STAFF, partners]), group("G01", f"group/{EMAIL_PROVIDER}/*@*"))

    assert [(entry["public"], entry["domains"], entry["examples"]) for entry in told["gained"]] == [
        (True, [], ["item/handbook/g:01"]),
        (False, ["*@partner.example"], ["item/handbook/x:1"]),
    ]
    assert [line for line in exposure_lines(told) if line.startswith("+")] == [
        "+ everybody, also whoever did not log in: 1 item in handbook (unchanged): g:01",
        "+ everybody of partner.example: 1 item in handbook (other permissions): x:1",
    ]
    assert [line for line in exposure_lines(told) if line.startswith("!")] == [
        "! item-public:item/handbook: 1 item, 1 user: g:01",
        "! widened-access:item/handbook: 2 items, 1 user: g:01, x:1",
    ]
    assert [line for line in exposure_lines(told, hazards=False) if line.startswith("!")] == []


def test_strangers_come_first_in_what_is_gained_and_lost_in_all() -> None:
    partners = f"group/{EMAIL_PROVIDER}/*@partner.example"
    opened = document(item("x:1", allowed=[STAFF, partners]), group("G01", f"group/{EMAIL_PROVIDER}/*@*"))
    assert next(exposure_lines(opened)) == (
        "Everybody, also whoever did not log in, gains sight of 1 item; "
        "everybody of partner.example gains sight of 1 item; 1 user gains sight of 1 item (1 in pairs of both)."
    )

    relation, found = changed(group("Staff"), before=(group("Staff", partners), item("x:1", allowed=[STAFF])))
    hazards = access_hazards(found, relation, AccessLimits())
    assert [(hazard.name, hazard.what) for hazard in hazards] == [
        ("item-unseen", 'nobody would see 1 item of "handbook" any more')
    ]
    assert list(exposure_lines(exposure_document(found, relation.names), hazards=False)) == [
        "Everybody of partner.example loses sight of 1 item.",
        "- everybody of partner.example: 1 item in handbook (unchanged): x:1",
        "    because of group/corp/Staff: no longer group:*@partner.example member of group:Staff",
    ]


def test_each_person_is_named_once_whatever_their_aliases() -> None:
    mail = f"user/{EMAIL_PROVIDER}/"
    aliases = (alias("dora", f"{mail}dora@x.org"), alias("emil", f"{mail}emil@x.org"))
    before = (group("Staff", "user/corp/ann"), *aliases, item("x:1", allowed=[STAFF]))
    relation, found = changed(group("Staff", "user/corp/dora", "user/corp/emil"), before=before)

    told = exposure_document(found, relation.names)
    (gained,), (lost,) = told["gained"], told["lost"]
    assert (gained["people"], len(gained["identities"])) == (2, 4)
    assert gained["persons"] == [f"{mail}dora@x.org", f"{mail}emil@x.org"]
    assert lost["persons"] == ["user/corp/ann"]
    lines = [line for line in exposure_lines(told) if line.startswith("+")]
    assert lines == ["+ user:dora@x.org, user:emil@x.org: 1 item in handbook (unchanged): x:1"]


def test_who_lost_is_named_by_the_aliases_of_before() -> None:
    mail = f"user/{EMAIL_PROVIDER}/"
    tied = [alias(name, f"{mail}{name}@x.org") for name in ("dora", "emil")]
    before = (group("Staff", "user/corp/dora", "user/corp/emil"), *tied, item("x:1", allowed=[STAFF]))
    known = {str(resource.address): resource for resource in before}
    relation = Relation(Readings(), {})
    relation.load(before)
    untied = [Edit(entry.address, entry, None) for entry in tied]
    found = expose(relation, [Edit(group("Staff").address, known[STAFF], group("Staff")), *untied])

    (lost,) = exposure_document(found, relation.names)["lost"]
    assert (lost["people"], lost["persons"]) == (2, [f"{mail}dora@x.org", f"{mail}emil@x.org"])


def test_new_items_that_everybody_sees_are_told_where_nobody_is_known() -> None:
    everybody = f"group/{EMAIL_PROVIDER}/*@*"
    before, public = (item("x:1", allowed=[everybody]),), item("x:2", allowed=[everybody])
    relation, came = changed(public, before=before)
    assert list(exposure_lines(exposure_document(came, relation.names))) == [
        "Everybody, also whoever did not log in, gains sight of 1 item.",
        "+ everybody, also whoever did not log in: 1 item in handbook (new): x:2",
    ]

    went = expose(relation, [Edit(public.address, public, None)])
    assert list(exposure_lines(exposure_document(went, relation.names))) == [
        "Everybody, also whoever did not log in, loses sight of 1 item.",
        "- everybody, also whoever did not log in: 1 item in handbook (deleted): x:2",
    ]
