"""From records to the desired state: names resolved, aliases made, well-knowns copied, doubts noted."""

from __future__ import annotations

from typing import Any

import orjson

from reconciler.manifest.desired import Desired, Suspicion, assemble
from reconciler.manifest.entries import Reader
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Environment, Project, Provider, Source
from reconciler.model.address import Address
from reconciler.model.states import Resource

PROJECT = Project(
    Environment("local", "emulator", "local", "x"),
    (),
    (Source("s", "1", "shared", "corp"),),
    (Provider("corp", "p", ("Email",)), Provider("other", "o")),
)
IS = "is: [{provider: Email, identity: 'user:{name}'}]"


def desired(tmp_path: Any, *texts: str, recorded: dict[str, bytes] | None = None) -> Desired:
    reader = Reader(PROJECT, ProjectFolder(tmp_path), b"", recorded or {})
    readings = [
        reader.read(f"defaults: {{provider: corp}}\n{text}".encode(), f"{n}.yaml") for n, text in enumerate(texts)
    ]
    assert [problem for reading in readings for problem in reading.problems] == []
    return assemble([reading.record for reading in readings], [reading.emitted for reading in readings], recorded or {})


def documents(found: Desired) -> dict[str, tuple[Any, Any]]:
    """Return all documents; what is handed out must fit the fingerprints."""
    out = {}
    for address, entry in found.emitted.items():
        assert Resource(Address(address), entry.doc, entry.shared).fingerprint == found.fingerprints[address]
        out[address] = (orjson.loads(entry.doc), orjson.loads(entry.shared) if entry.shared else None)
    return out


def test_named_models_come_from_any_file(tmp_path: Any) -> None:
    item = "items: [{uri: 'x:1', permissions: m}]"
    found = desired(tmp_path, item, "permissions: {m: {allowed: [user:a]}}")
    model = {"levels": [{"sets": [{"allowed": ["user/corp/a"]}]}]}
    assert documents(found) == {"item/s/x:1": ({"metadata": {}}, model)}
    inline = desired(tmp_path, "items: [{uri: 'x:1', permissions: {sets: [{allowed: [user:a]}]}}]")
    assert inline.fingerprints == found.fingerprints
    assert found.suspicions == []


def test_an_alias_for_each_member_once_and_those_spelled_out_win(tmp_path: Any) -> None:
    found = desired(
        tmp_path,
        "groups: [{name: A1, members: [user:a, user:b, group:B]}, {name: B, members: [user:c, unknown:d]}]",
        f"aliases: [{{ofEach: {{membersOf: 'A*', type: user}}, {IS}}}]",
        "aliases: [{of: user:a, is: [{provider: Email, identity: user:other}], protect: true}]",
        "groups: [{name: A2, provider: other, members: [user:b, user:z]}]\n"
        "virtualGroups: [{name: A3, members: [user:e]}]",
    )
    aliases = {address: own for address, (own, _) in documents(found).items() if address.startswith("alias/")}
    assert aliases == {
        "alias/corp/user:a": {"mappings": ["user/Email/other"], "protect": True},
        "alias/corp/user:b": {"mappings": ["user/Email/b"]},
        "alias/corp/user:e": {"mappings": ["user/Email/e"]},
    }


def test_of_each_takes_other_types_and_all_groups(tmp_path: Any) -> None:
    text = "groups: [{name: A, members: [user:a, unknown:d, group:A]}]\n"
    found = desired(
        tmp_path,
        text + f"aliases: [{{ofEach: {{membersOf: '*', type: unknown}}, {IS}}}, "
        f"{{ofEach: {{membersOf: '*', type: group}}, {IS}}}]",
    )
    assert sorted(found.fingerprints) == ["alias/corp/group:A", "alias/corp/unknown:d", "group/corp/A"]


def test_well_knowns_of_an_identity_are_those_of_its_alias(tmp_path: Any) -> None:
    texts = (
        "users: [{name: a, wellKnowns: [group:E]}]\n"
        "groups: [{name: E, members: []}, {name: G, members: [user:a], wellKnowns: [group:E]}]",
        f"aliases: [{{ofEach: {{membersOf: '*'}}, {IS}}}, {{of: group:G, {IS.replace('{name}', 'g')}}},"
        f" {{of: user:x, {IS.replace('{name}', 'x')}}}]",
    )
    found = desired(tmp_path, *texts)
    shared = {"wellKnowns": ["group/corp/E"]}
    assert {address: known for address, (_, known) in documents(found).items()} == {
        "user/corp/a": shared,
        "group/corp/E": None,
        "group/corp/G": shared,
        "alias/corp/user:a": shared,
        "alias/corp/group:G": shared,
        "alias/corp/user:x": None,
    }
    assert desired(tmp_path, *reversed(texts)).fingerprints == found.fingerprints
    assert desired(tmp_path, *texts, recorded=found.fingerprints).emitted == {}


def test_only_what_is_not_as_recorded_is_handed_out(tmp_path: Any) -> None:
    text = "items: [{uri: 'x:1', permissions: m}, {uri: 'x:2'}]\npermissions: {m: {anonymous: true}}"
    known = desired(tmp_path, text).fingerprints
    changed = desired(tmp_path, text.replace("'x:2'", "'x:2', title: t"), recorded=known)
    assert set(changed.emitted) == {"item/s/x:2"}


def test_the_digest_follows_content_not_files(tmp_path: Any) -> None:
    one = desired(tmp_path, "items: [{uri: 'x:1'}, {uri: 'x:2'}]")
    two = desired(tmp_path, "items: [{uri: 'x:2'}]", "items: [{uri: 'x:1'}]")
    assert one.digest() == two.digest() != desired(tmp_path, "items: [{uri: 'x:1'}]").digest()


def test_doubts_are_noted_by_file(tmp_path: Any) -> None:
    found = desired(
        tmp_path,
        "items: [{uri: 'x:1', permissions: gone}, {uri: 'x:2', permissions: {allowed: [group:No]}}]\n"
        "permissions: {m: {}}".replace("{}", "{anonymous: true}"),
        "items: [{uri: 'x:1'}, {uri: 'x:1'}]\npermissions: {m: {denied: [{group: Far, provider: Email}]}}",
    )
    assert sorted(found.suspicions, key=str) == [
        Suspicion("duplicate", 1, "item/s/x:1"),
        Suspicion("duplicate", 1, "item/s/x:1"),
        Suspicion("duplicate-permissions", 1, "m"),
        Suspicion("unknown-group", 0, "group/corp/No"),
        Suspicion("unknown-permissions", 0, "gone"),
    ]


def test_moved(tmp_path: Any) -> None:
    found = desired(tmp_path, "moved: [{from: 'x:1', to: 'x:2'}]", "moved: [{from: 'x:3', to: 'x:4'}]")
    assert found.moved == {"item/s/x:1": "item/s/x:2", "item/s/x:3": "item/s/x:4"}
