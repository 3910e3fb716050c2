"""Names that differ in case alone: one identity, unless the provider tells them apart (push-api.md 2.4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.load import Loaded, load_manifests
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Environment, Project, Provider, Source
from reconciler.manifest.spelling import Spelling

PROJECT = Project(
    Environment("local", "emulator", "local", "x"),
    ("*.yaml",),
    (Source("s", "1", "secured", "corp"),),
    (Provider("corp", "p", ("Email",)),),
)
STRICT = replace(PROJECT, providers=(replace(PROJECT.providers[0], case_sensitive=True),))


def load(root: Path, text: str, project: Project) -> Loaded:
    (root / "reconciler.yaml").write_text("sources: {}\n")
    (root / "a.yaml").write_text(f"defaults: {{provider: corp}}\n{text}")
    return load_manifests(project, ProjectFolder(root), "reconciler.yaml", recorded={}, cache=ManifestCache(None, ""))


def told(loaded: Loaded) -> list[str]:
    return [f"{found.position} {found.code}: {found.what}" for found in loaded.problems]


TWINS = """groups:
  - {name: Team, members: []}
  - {name: TEAM, members: []}
users: [{name: Straße}, {name: strasse}]
"""


def test_two_declarations_of_one_identity_are_an_error_where_both_are_shown(tmp_path: Path) -> None:
    loaded = load(tmp_path, TWINS, PROJECT)
    assert told(loaded) == [
        'a.yaml:4:12 duplicate: group "TEAM" of provider "corp" is declared as "Team", too',
        'a.yaml:5:32 duplicate: user "strasse" of provider "corp" is declared as "Straße", too',
    ]
    first = loaded.problems[0]
    assert [str(entry.position) for entry in first.related] == ["a.yaml:3:12"]
    assert "caseSensitive: true" in first.fix and first.excerpt == "  - {name: TEAM, members: []}"


def test_a_provider_that_tells_case_has_two_identities(tmp_path: Path) -> None:
    loaded = load(tmp_path, TWINS, STRICT)
    assert told(loaded) == []
    assert sorted(loaded.desired.groups) == ["group/corp/TEAM", "group/corp/Team"]


REFERENCE = """groups: [{name: Team, members: []}]
items: [{uri: 'x:1', source: s, permissions: {allowed: ['group:team']}}]
"""


def test_a_group_may_be_named_in_any_case(tmp_path: Path) -> None:
    assert told(load(tmp_path, REFERENCE, PROJECT)) == []


def test_a_group_must_be_named_as_it_is_spelled_where_case_counts(tmp_path: Path) -> None:
    [found] = load(tmp_path, REFERENCE, STRICT).problems
    assert (found.code, found.fix) == ("unknown-group", 'did you mean "Team"?')


ALIASES = """groups: [{name: A, members: ['user:Ann', 'user:Bob']}, {name: B, members: ['user:ann']}]
users: [{name: ann, wellKnowns: ['group:A']}]
aliases:
  - {of: 'user:BOB', is: [{provider: Email, identity: 'user:other'}]}
  - {ofEach: {membersOf: '*', type: user}, is: [{provider: Email, identity: 'user:{name}'}]}
"""


def aliases(loaded: Loaded) -> list[str]:
    return sorted(address for address in loaded.desired.fingerprints if address.startswith("alias/"))


def test_one_alias_is_made_for_one_member_and_shares_what_the_user_was_granted(tmp_path: Path) -> None:
    loaded = load(tmp_path, ALIASES, PROJECT)
    assert told(loaded) == []
    assert aliases(loaded) == ["alias/corp/user:Ann", "alias/corp/user:BOB"]
    found = loaded.resources(["alias/corp/user:Ann"])["alias/corp/user:Ann"]
    assert found.shared_doc() == {"wellKnowns": ["group/corp/A"]}


def test_where_case_counts_each_member_has_an_alias(tmp_path: Path) -> None:
    loaded = load(tmp_path, ALIASES, STRICT)
    assert aliases(loaded) == [f"alias/corp/user:{name}" for name in ("Ann", "BOB", "Bob", "ann")]
    found = loaded.resources(aliases(loaded))
    assert [address for address, entry in found.items() if entry.shared] == ["alias/corp/user:ann"]


def test_additional_information_is_spelled_alike_but_for_its_keys() -> None:
    plain, other = 'user/corp/A?info={"Key":"X"}', 'user/corp/a?info={"Key":"x"}'
    assert Spelling().twins([plain, other]) == [[plain, other]]
    assert Spelling().twins([plain, 'user/corp/a?info={"key":"x"}']) == []
    assert Spelling(frozenset({"corp"})).twins([plain, other]) == []
