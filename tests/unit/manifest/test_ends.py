"""Grants that end: where `expires` may stand, what is there before, at and after the instant, and what is refused."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.entries import Reader, Reading
from reconciler.manifest.load import Loaded, load_manifests
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Environment, Project, Provider, Source
from reconciler.manifest.read import needs_exact
from reconciler.manifest.record import EVER, NEVER
from reconciler.model.instant import parse_instant

EMAIL = "Email Security Provider"
PROJECT = Project(
    environment=Environment("local", "emulator", "local", ".reconciler/local.state.db"),
    manifests=("**/*.yaml",),
    sources=(Source("handbook", "h1", "secured", "corp"),),
    providers=(Provider("corp", "p1", (EMAIL,)),),
    variables=(("end", "2027-01-31"), ("team", "Staff")),
)
HEAD = "defaults: {source: handbook, provider: corp}\n"
END = parse_instant("2027-01-31")
BEFORE, AT = END - 1, END
LATER = 10_000_000_000  # as if everything had been read long after it was written


def read(root: Path, text: str, as_of: int = BEFORE, **more: Any) -> Reading:
    reader = Reader(PROJECT, ProjectFolder(root), b"context", {}, keep_bodies=True, as_of=as_of)
    return reader.read(text.encode(), "a.yaml", **more)


def documents(root: Path, text: str, as_of: int) -> dict[str, Any]:
    """Return own and shared documents by address; nothing may be wrong."""
    reading = read(root, text, as_of)
    assert [problem.what for problem in reading.problems] == []
    return {
        entry.address: (orjson.loads(entry.doc), orjson.loads(entry.shared) if entry.shared else None)
        for entry in reading.emitted
    }


def in_set(**said: Any) -> dict[str, Any]:
    return {"levels": [{"sets": [said]}]}


# -- where it may stand ----------------------------------------------------------------------------

GROUP = "group/corp/Staff"
ITEM = "item/handbook/x:1"
ALIAS = "alias/corp/user:al"
AL = f"user/{EMAIL}/al"

PLACES = [
    pytest.param(
        "groups:\n  - {name: Staff, members: [user:al, {user: bob, expires: 2027-01-31}]}\n",
        {GROUP: ({"members": ["user/corp/al", "user/corp/bob"]}, None)},
        {GROUP: ({"members": ["user/corp/al"]}, None)},
        ("member", GROUP, "user/corp/bob"),
        id="member",
    ),
    pytest.param(
        "virtualGroups:\n  - {name: Staff, members: [{group: Inner, expires: 2027-01-31}]}\n",
        {"virtual-group/corp/Staff": ({"members": ["group/corp/Inner"]}, None)},
        {"virtual-group/corp/Staff": ({"members": []}, None)},
        ("member", "virtual-group/corp/Staff", "group/corp/Inner"),
        id="the last member of a virtual group",
    ),
    pytest.param(
        "items:\n  - uri: x:1\n    permissions:\n"
        "      allowed: [group:Staff, {user: bob, expires: 2027-01-31}]\n      denied: [user:al]\n",
        {
            ITEM: (
                {"metadata": {}},
                in_set(allowed=["group/corp/Staff", "user/corp/bob"], denied=["user/corp/al"]),
            )
        },
        {ITEM: ({"metadata": {}}, in_set(allowed=["group/corp/Staff"], denied=["user/corp/al"]))},
        ("allowed", ITEM, "user/corp/bob"),
        id="allowed, in short",
    ),
    pytest.param(
        "items:\n  - uri: x:1\n    permissions:\n"
        "      sets: [{allowed: [{user: bob, expires: 2027-01-31}]}, {anonymous: true}]\n",
        {ITEM: ({"metadata": {}}, {"levels": [{"sets": [{"anonymous": True}, {"allowed": ["user/corp/bob"]}]}]})},
        {ITEM: ({"metadata": {}}, {"levels": [{"sets": [{}, {"anonymous": True}]}]})},
        ("allowed", ITEM, "user/corp/bob"),
        id="the last one allowed of a set beside an open one",
    ),
    pytest.param(
        "items:\n  - uri: x:1\n    permissions:\n      levels:\n"
        "        - [{denied: [user:al]}]\n        - name: second\n"
        "          sets: [{allowed: [{group: Staff, expires: 2027-01-31}]}]\n",
        {
            ITEM: (
                {"metadata": {}},
                {
                    "levels": [
                        {"sets": [{"denied": ["user/corp/al"]}]},
                        {"name": "second", "sets": [{"allowed": ["group/corp/Staff"]}]},
                    ]
                },
            )
        },
        {
            ITEM: (
                {"metadata": {}},
                {"levels": [{"sets": [{"denied": ["user/corp/al"]}]}, {"name": "second", "sets": [{}]}]},
            )
        },
        ("allowed", ITEM, "group/corp/Staff"),
        id="allowed, in a named level",
    ),
    pytest.param(
        "aliases:\n  - of: user:al\n    is:\n"
        f"      - {{provider: {EMAIL}, identity: 'user:al'}}\n"
        f"      - {{provider: {EMAIL}, identity: 'user:al2', expires: 2027-01-31}}\n",
        {ALIAS: ({"mappings": [AL, AL + "2"]}, None)},
        {ALIAS: ({"mappings": [AL]}, None)},
        ("mapping", ALIAS, AL + "2"),
        id="one mapping of an alias",
    ),
    pytest.param(
        f"aliases:\n  - {{of: 'user:al', is: [{{provider: {EMAIL}, identity: 'user:al', expires: 2027-01-31}}]}}\n",
        {ALIAS: ({"mappings": [AL]}, None)},
        {},
        ("mapping", ALIAS, AL),
        id="the last mapping of an alias",
    ),
    pytest.param(
        f"aliases:\n  - {{of: 'user:al', is: [{{provider: {EMAIL}, identity: 'user:al'}}], expires: 2027-01-31}}\n",
        {ALIAS: ({"mappings": [AL]}, None)},
        {},
        ("alias", ALIAS, "user/corp/al"),
        id="a whole alias",
    ),
]


@pytest.mark.parametrize(("text", "before", "after", "told"), PLACES)
@pytest.mark.parametrize("written", ["2027-01-31", "'2027-01-31T00:00:00Z'", "'2027-01-31T02:00+02:00'", "'${end}'"])
def test_a_grant_is_there_until_it_ends(
    tmp_path: Path, text: str, before: Any, after: Any, told: tuple[str, str, str], written: str
) -> None:
    text = HEAD + text.replace("2027-01-31", written)
    for as_of, there in ((0, before), (BEFORE, before), (AT, after), (AT + 10**9, after)):
        assert documents(tmp_path, text, as_of) == there
        [ending] = read(tmp_path, text, as_of).record.endings
        grant = ending.grant
        assert (grant.kind, grant.address, grant.entry, grant.expires) == (*told, END)
    assert (read(tmp_path, text, BEFORE).record.leans.since, read(tmp_path, text, BEFORE).record.leans.until) == (
        EVER,
        END,
    )
    assert (read(tmp_path, text, AT).record.leans.since, read(tmp_path, text, AT).record.leans.until) == (END, NEVER)


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ("user:bob, {user: bob, expires: 2027-01-31}", []),
        ("{user: bob, expires: 2027-01-31}, {user: bob}", []),
        ("{user: bob, expires: 2027-01-31}, {user: bob, expires: 2027-01-30}", [(0, "2027-01-31")]),
        ("{user: bob, expires: 2026-01-01}, {user: bob, expires: 2027-01-31}", [(1, "2027-01-31")]),
        ("{user: bob, expires: 2026-01-01}, {user: al, expires: 2026-01-01}", [(0, "2026-01-01"), (1, "2026-01-01")]),
    ],
)
def test_an_end_that_takes_nothing_away_is_none(tmp_path: Path, said: str, ends: list[tuple[int, str]]) -> None:
    """Whoever is given the same for longer, or for good, is not told to lose it."""
    for text in (
        f"groups:\n  - {{name: Staff, members: [{said}]}}\n",
        f"permissions:\n  m: {{allowed: [{said}]}}\n",
    ):
        for as_of in (BEFORE, AT):
            record = read(tmp_path, HEAD + text, as_of).record
            assert [(ending.path[-1], ending.grant.expires) for ending in record.endings] == [
                (place, parse_instant(end)) for place, end in ends
            ]


def test_a_date_is_a_text_to_both_parsers(tmp_path: Path) -> None:
    text = f"{HEAD}groups:\n  - {{name: Staff, members: [{{user: bob, expires: 2027-01-31}}]}} # 0x1f\n"
    assert needs_exact(text.encode())
    assert documents(tmp_path, text, BEFORE) == {GROUP: ({"members": ["user/corp/bob"]}, None)}
    assert documents(tmp_path, text, AT) == {GROUP: ({"members": []}, None)}


def test_both_ways_of_checking_an_entry_read_it_alike(tmp_path: Path) -> None:
    # An entry whose set has a level in long form goes the slow way; here the same one goes both.
    fast = "items:\n  - {uri: 'x:1', permissions: {levels: [[{allowed: [{user: bob, expires: 2027-01-31}]}]]}}\n"
    slow = fast.replace("[[{allowed", "[{sets: [{allowed").replace("}]]}}", "}]}]}}")
    for as_of in (BEFORE, AT):
        assert documents(tmp_path, HEAD + fast, as_of) == documents(tmp_path, HEAD + slow, as_of)


def test_a_named_model_that_ends_lets_nobody_in(tmp_path: Path) -> None:
    text = f"{HEAD}permissions:\n  guests:\n    allowed:\n      - {{group: Staff, expires: 2027-01-31}}\n"
    before, after = read(tmp_path, text, BEFORE).record, read(tmp_path, text, AT).record
    assert orjson.loads(before.models["guests"]) == in_set(allowed=["group/corp/Staff"])
    closed = read(tmp_path, f"{HEAD}permissions: {{guests: {{allowed: []}}}}\n").record
    assert after.models == closed.models
    assert orjson.loads(after.models["guests"]) == {"levels": [{"sets": [{}]}]}
    [ending] = after.endings
    assert (ending.grant.address, ending.path) == ("permissions/guests", ["guests", "allowed", 0])


def test_what_is_over_is_not_referred_to(tmp_path: Path) -> None:
    text = (
        f"{HEAD}groups:\n  - {{name: Staff, members: [{{group: Gone, expires: 2027-01-31}}]}}\n"
        f"aliases:\n  - {{of: group:Left, is: [{{provider: {EMAIL}, identity: 'user:x'}}], expires: 2027-01-31}}\n"
    )
    assert read(tmp_path, text, BEFORE).record.groups == ["group/corp/Gone", "group/corp/Left"]
    assert read(tmp_path, text, AT).record.groups == []


def test_a_row_may_say_when_its_grant_ends(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,who,until\n1,bob,2027-01-31\n2,al,2027-03-01\n3,eve,\n")
    text = (
        f"{HEAD}itemSets:\n  - from: {{csv: rows.csv}}\n    item:\n      uri: x:{{id}}\n      permissions:\n"
        "        allowed: [group:Staff, {user: '{who}', expires: \"{until|default:'9999-12-31'}\"}]\n"
    )
    before, after = documents(tmp_path, text, BEFORE), documents(tmp_path, text, AT)
    assert [len(doc[1]["levels"][0]["sets"][0]["allowed"]) for doc in before.values()] == [2, 2, 2]
    assert [len(doc[1]["levels"][0]["sets"][0]["allowed"]) for doc in after.values()] == [1, 2, 2]
    assert [ending.grant.address for ending in read(tmp_path, text).record.endings] == [
        "item/handbook/x:1",
        "item/handbook/x:2",
        "item/handbook/x:3",
    ]
    leans = read(tmp_path, text, AT).record.leans
    assert (leans.since, leans.until) == (END, parse_instant("2027-03-01"))
    (tmp_path / "rows.csv").write_text("id,who,until\n1,bob,someday\n")
    [problem] = read(tmp_path, text).problems
    assert (problem.code, str(problem.position)) == ("bad-expires", "a.yaml:7:57")
    assert problem.what.startswith("rows.csv:2: ")


def test_aliases_for_each_member_end_with_the_member_or_by_themselves(tmp_path: Path) -> None:
    members = "groups:\n  - {name: Staff, members: [user:al, {user: bob, expires: 2027-01-31}]}\n"
    each = f"aliases:\n  - {{ofEach: {{membersOf: '*'}}, is: [{{provider: {EMAIL}, identity: 'user:{{name}}'}}]MORE}}\n"
    both = ["alias/corp/user:al", "alias/corp/user:bob", GROUP]
    folder = Place(tmp_path)
    folder.write("a.yaml", HEAD + members + each.replace("MORE", ""))
    assert [sorted(folder.load(as_of).desired.fingerprints) for as_of in (BEFORE, AT)] == [both, [both[0], GROUP]]
    of_one = each.replace("MORE", "").replace("{name}'", "{name}', expires: 2027-01-31")
    for ending_each in (each.replace("MORE", ", expires: 2027-01-31"), of_one):
        folder.write("a.yaml", HEAD + members + ending_each)
        assert [sorted(folder.load(as_of).desired.fingerprints) for as_of in (BEFORE, AT)] == [both, [GROUP]]
        told = {(end.grant.kind, end.grant.address, end.grant.entry) for _, end in folder.load(AT).endings()}
        assert ("each", "alias/corp/user:*", f"user/{EMAIL}/{{name}}") in told


# -- what is refused -------------------------------------------------------------------------------

BAD = [
    ("groups:\n  - {name: A, members: [{user: bob, expires: soon}]}\n", "3:46 bad-expires"),
    ("groups:\n  - {name: A, members: [{user: bob, expires: 2027-02-30}]}\n", "3:46 bad-expires"),
    ("groups:\n  - {name: A, members: [{user: bob, expires: 2027-01-31T10:00:00}]}\n", "3:46 bad-expires"),
    ("groups:\n  - {name: A, members: [{user: bob, expires: ''}]}\n", "3:46 bad-expires"),
    ("groups:\n  - {name: A, members: [{user: bob, expires: 2027}]}\n", "3:46 wrong-type"),
    ("groups:\n  - {name: A, members: [{user: bob, expires: }]}\n", "3:37 wrong-type"),
    ("permissions:\n  m: {allowed: [{user: bob, expires: null}]}\n", "3:38 wrong-type"),
    (f"aliases:\n  - {{of: user:bob, is: [{{provider: {EMAIL}, identity: user:b, expires: ~}}]}}\n", "3:88 wrong-type"),
    (f"aliases:\n  - {{of: user:bob, is: [{{provider: {EMAIL}, identity: user:b}}], expires: ~}}\n", "3:90 wrong-type"),
    ("groups:\n  - {name: A, members: [{user: bob, expires: [2027-01-31]}]}\n", "3:46 wrong-type"),
    ("groups:\n  - {name: A, members: [user:bob], expires: 2027-01-31}\n", "3:36 misplaced-expires"),
    (
        "groups:\n  - {name: A, members: [], wellKnowns: [{group: B, expires: 2027-01-31}]}\n",
        "3:52 misplaced-expires",
    ),
    (
        "users:\n  - {name: A, wellKnowns: [{group: B, expires: 2027-01-31}]}\n",
        "3:39 misplaced-expires",
    ),
    (
        "items:\n  - uri: x:1\n    permissions:\n      denied: [{user: bob, expires: 2027-01-31}]\n",
        "5:28 misplaced-expires",
    ),
    (
        "permissions:\n  m:\n    levels:\n      - [{allowed: [user:a], denied: [{user: bob, expires: 2027-01-31}]}]\n",
        "5:51 misplaced-expires",
    ),
    ("permissions:\n  m: {anonymous: true, expires: 2027-01-31}\n", "3:24 misplaced-expires"),
    ("permissions:\n  m: {allowed: [{user: bob, expires: never}]}\n", "3:38 bad-expires"),
    (
        "accessTests:\n  - {who: {user: bob, expires: 2027-01-31}, canView: ['*']}\n",
        "3:23 misplaced-expires",
    ),
    (
        "accessTests:\n  - {items: ['*'], onlyVisibleTo: [{user: bob, expires: 2027-01-31}]}\n",
        "3:48 misplaced-expires",
    ),
    (
        f"aliases:\n  - {{of: {{user: bob, expires: 2027-01-31}}, is: [{{provider: {EMAIL}, identity: user:b}}]}}\n",
        "3:22 misplaced-expires",
    ),
    (
        f"aliases:\n  - of: user:bob\n    is: [{{provider: {EMAIL}, identity: user:b}}]\n    expires: 31/01/2027\n",
        "5:14 bad-expires",
    ),
    (
        f"aliases:\n  - of: user:bob\n    is: [{{provider: {EMAIL}, identity: user:b, expires: tomorrow}}]\n",
        "4:73 bad-expires",
    ),
    (
        f"aliases:\n  - of: user:bob\n    is: [{{provider: {EMAIL}, identity: user:b}}]\n"
        "    protect: true\n    expires: 2027-01-31\n",
        "5:5 protected-expires",
    ),
    (
        f"aliases:\n  - of: user:bob\n    protect: true\n"
        f"    is: [{{provider: {EMAIL}, identity: user:b, expires: 2027-01-31}}]\n",
        "4:5 protected-expires",
    ),
    (
        "aliases:\n  - ofEach: {membersOf: '*'}\n    expires: whenever\n"
        f"    is: [{{provider: {EMAIL}, identity: 'user:{{name}}'}}]\n",
        "4:14 bad-expires",
    ),
    (
        "itemSets:\n  - from: {files: '*.txt'}\n    allowEmpty: true\n    expires: 2027-01-31\n"
        "    item: {uri: 'x:{path}'}\n",
        "5:5 misplaced-expires",
    ),
    ("items:\n  - {uri: 'x:1', expires: 2027-01-31, permissions: {anonymous: true}}\n", "3:18 misplaced-expires"),
]


@pytest.mark.parametrize(("text", "told"), BAD, ids=[told for _, told in BAD])
@pytest.mark.parametrize("as_of", [BEFORE, AT])
def test_what_cannot_be_meant_is_refused_where_it_stands(tmp_path: Path, text: str, told: str, as_of: int) -> None:
    found = [
        f"{problem.position.line}:{problem.position.column} {problem.code}"
        for problem in read(tmp_path, HEAD + text, as_of).problems
        if problem.position
    ]
    assert found == [told]


def test_a_denial_says_why_it_does_not_end(tmp_path: Path) -> None:
    text = f"{HEAD}permissions: {{m: {{denied: [{{user: bob, expires: 2027-01-31}}]}}}}\n"
    [problem] = read(tmp_path, text).problems
    assert problem.what == '"expires" has no place under "denied"'
    assert problem.why == "a denial that ended by itself would let people in, and nobody would have decided it."


# -- the cache -------------------------------------------------------------------------------------


class Place:
    """A project's folder with a warm cache, read as of any instant."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = ManifestCache(root / ".reconciler" / "cache.db", "1")
        self.write("reconciler.yaml", "sources: {}\n")

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def load(self, as_of: int, *, cached: bool = True) -> Loaded:
        loaded = load_manifests(
            PROJECT,
            ProjectFolder(self.root),
            "reconciler.yaml",
            recorded={},
            cache=self.cache if cached else ManifestCache(None, ""),
            as_of=as_of,
            clock=lambda: time.time_ns() + LATER,
        )
        assert loaded.problems == ()
        return loaded


ENDS = {
    "groups.yaml": f"{HEAD}groups:\n  - {{name: Staff, members: [user:al, {{user: bob, expires: 2027-01-31}}]}}\n"
    "  - {name: Other, members: [user:al]}\n",
    "models.yaml": f"{HEAD}permissions:\n  m: {{allowed: [group:Staff, {{user: eve, expires: 2027-03-01}}]}}\n",
    "items.yaml": f"{HEAD}items:\n  - {{uri: 'x:1', permissions: m}}\n  - {{uri: 'x:2', permissions: m}}\n",
}


def test_a_warm_cache_reads_every_instant_as_none_does(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for name, text in ENDS.items():
        place.write(name, text)
    march = parse_instant("2027-03-01")
    for as_of in (BEFORE, AT, BEFORE, march, march - 1, END - 10**8, march + 10**9, AT, AT):
        cached, fresh = place.load(as_of), place.load(as_of, cached=False)
        assert cached.desired.fingerprints == fresh.desired.fingerprints
        assert cached.resources(cached.desired.fingerprints) == fresh.resources(fresh.desired.fingerprints)
        assert cached.endings() == fresh.endings()
        assert cached.lines_of(cached.endings()) == [3, 3] == fresh.lines_of(fresh.endings())
        assert cached.key == fresh.key


def test_only_files_in_which_a_grant_came_to_its_end_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconciler.manifest import manyfiles

    place = Place(tmp_path)
    for name, text in ENDS.items():
        place.write(name, text)
    place.load(BEFORE)
    read_files: list[str] = []
    original = manyfiles.read_text

    def noted(folder: ProjectFolder, file: str) -> bytes:
        read_files.append(file)
        return original(folder, file)

    monkeypatch.setattr(manyfiles, "read_text", noted)
    place.load(BEFORE - 86_400)
    assert read_files == []
    place.load(AT)
    assert read_files == ["groups.yaml"]
    place.load(AT + 60)
    assert read_files == ["groups.yaml"]


def test_unchanged_entries_are_still_taken_over_beside_one_that_ends(tmp_path: Path) -> None:
    text = ENDS["groups.yaml"]
    old = read(tmp_path, text, BEFORE).record
    edited = text + "  - {name: New, members: []}\n"
    for as_of in (BEFORE, AT):
        again, fresh = read(tmp_path, edited, as_of, old=old).record, read(tmp_path, edited, as_of).record
        assert again == fresh
        assert hashlib.sha256(again.fingerprints).digest() == hashlib.sha256(fresh.fingerprints).digest()


def test_without_ends_the_instant_means_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write("a.yaml", f"{HEAD}groups:\n  - {{name: Staff, members: [user:al]}}\n")
    first, second = place.load(0), place.load(AT)
    assert first.key == second.key
    assert first.endings() == []
    reading = read(tmp_path, f"{HEAD}groups:\n  - {{name: Staff, members: [user:al]}}\n")
    assert not reading.record.leans.has_grants_that_end


def test_lines_are_told_whatever_the_form_of_the_file(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(
        "a.yaml",
        "defaults: {provider: corp}\n---\npermissions:\n  m:\n    allowed:\n      - user:al\n"
        "      - {user: bob, expires: 2027-01-31}\n---\ngroups: [\n  {name: A, members: []},\n"
        "  {name: B, members: [{user: bob,\n    expires: 2027-01-31}]}]\n",
    )
    loaded = place.load(AT)
    endings = loaded.endings()
    assert [
        (ending.grant.address, line) for (_, ending), line in zip(endings, loaded.lines_of(endings), strict=True)
    ] == [
        ("permissions/m", 7),
        ("group/corp/B", 11),
    ]
