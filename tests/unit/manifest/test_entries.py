"""One file's text -> the resources it declares, whole, in every form that the language has."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from reconciler.manifest.entries import Reader, Reading
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Environment, Project, Provider, Source

EMAIL = "Email Security Provider"
PROJECT = Project(
    environment=Environment("local", "emulator", "local", ".reconciler/local.state.db"),
    manifests=("**/*.yaml",),
    sources=(Source("blog", "b1", "shared"), Source("handbook", "h1", "secured", "corp")),
    providers=(Provider("corp", "p1", (EMAIL,)), Provider("other", "p2")),
    variables=(("base", "https://x.example"), ("team", "Staff")),
)
HEAD = "defaults: {source: handbook, provider: corp}\n"


def read(root: Path, text: str | bytes, **more: Any) -> Reading:
    data = text.encode() if isinstance(text, str) else text
    reader = Reader(PROJECT, ProjectFolder(root), b"context", {}, keep_bodies=True)
    return reader.read(data, "a.yaml", **more)


def resources(root: Path, text: str) -> dict[str, Any]:
    """Return own and shared documents by address, as plain values; nothing may be wrong."""
    reading = read(root, text)
    assert [problem.what for problem in reading.problems] == []
    assert [entry.address for entry in reading.emitted] == reading.record.address_list()
    out = {}
    for entry, (address, fingerprint) in zip(reading.emitted, reading.record.pairs(), strict=True):
        assert entry.address == address
        assert fingerprint[:32] == hashlib.sha256(entry.doc).digest()
        shared = orjson.loads(entry.shared) if entry.shared else entry.named
        out[address] = (orjson.loads(entry.doc), shared)
    return out


def complaints(root: Path, text: str | bytes) -> list[str]:
    """Return `line:column code what` of each problem."""
    return [
        f"{problem.position.line}:{problem.position.column} {problem.code} {problem.what}"
        for problem in read(root, text).problems
        if problem.position
    ]


# -- permissions: every form comes to one ----------------------------------------------------------

ONE_SET = {"levels": [{"sets": [{"allowed": ["group/corp/Staff"], "denied": ["user/corp/bob"]}]}]}


@pytest.mark.parametrize(
    "form",
    [
        "{allowed: [group:Staff], denied: [user:bob]}",
        "{denied: [user:bob, user:bob], allowed: [Group:Staff], anonymous: false}",
        "{sets: [{allowed: [GROUP:Staff], denied: [USER:bob]}]}",
        "{levels: [[{allowed: [{group: Staff}], denied: [{user: bob, provider: corp}]}]]}",
        "{levels: [{sets: [{allowed: [group:Staff], denied: [user:bob]}]}]}",
        "{allowed: [{group: Staff, provider: p1}], denied: [{user: bob}]}",
        "[{allowedPermissions: [{identity: Staff, identityType: Group}],"
        " deniedPermissions: [{identity: bob, identityType: User}]}]",
        "[{AllowAnonymous: false, AllowedPermissions: [{Identity: Staff, IdentityType: GROUP}],"
        " DeniedPermissions: [{IdentityType: USER, Identity: bob, SecurityProvider: p1}]}]",
        "[{PermissionSets: [{AllowAnonymous: false, AllowedPermissions: [{IdentityType: Group, Identity: Staff}],"
        " DeniedPermissions: [{IdentityType: User, Identity: bob}]}]}]",
        "[{allowedPermissions: ['group:Staff'], deniedPermissions: [{user: bob}]}]",
    ],
)
def test_forms_of_one_permission_model(tmp_path: Path, form: str) -> None:
    text = f"{HEAD}items:\n  - uri: x:1\n    permissions: {form}\n"
    assert resources(tmp_path, text) == {"item/handbook/x:1": ({"metadata": {}}, ONE_SET)}


def test_named_models_are_canonical_like_inline_ones(tmp_path: Path) -> None:
    record = read(
        tmp_path,
        HEAD + "permissions:\n"
        "  simple: {allowed: [group:Staff], denied: [user:bob]}\n"
        "  wire: [{PermissionSets: [{AllowedPermissions: [{Identity: Staff, IdentityType: Group}],"
        " DeniedPermissions: [{Identity: bob, IdentityType: User}]}]}]\n"
        "  everybody: {anonymous: true}\n"
        "  nobody: {allowed: []}\n",
    ).record
    assert {name: orjson.loads(doc) for name, doc in record.models.items()} == {
        "simple": ONE_SET,
        "wire": ONE_SET,
        "everybody": {"levels": [{"sets": [{"anonymous": True}]}]},
        "nobody": {"levels": [{"sets": [{}]}]},
    }
    assert record.groups == ["group/corp/Staff"]


def test_levels_keep_their_order_and_sets_do_not(tmp_path: Path) -> None:
    text = (
        HEAD + "items:\n"
        "  - uri: x:1\n"
        "    permissions:\n"
        "      levels:\n"
        "        - [{allowed: [group:B]}, {allowed: [group:A], name: first}]\n"
        "        - {name: second, sets: [{denied: [virtualGroup:V, unknown:u], anonymous: true}]}\n"
        "        - [{allowed: [{user: eve, additionalInfo: {b: '2', a: '1'}, provider: Email Security Provider}]}]\n"
    )
    assert resources(tmp_path, text)["item/handbook/x:1"][1] == {
        "levels": [
            {"sets": [{"allowed": ["group/corp/A"], "name": "first"}, {"allowed": ["group/corp/B"]}]},
            {
                "name": "second",
                "sets": [{"denied": ["unknown/corp/u", "virtual-group/corp/V"], "anonymous": True}],
            },
            {"sets": [{"allowed": [f'user/{EMAIL}/eve?info={{"a":"1","b":"2"}}']}]},
        ]
    }


def test_several_wire_elements_are_sets_of_one_level_or_levels_in_order(tmp_path: Path) -> None:
    sets = "[{allowAnonymous: true}, {name: n, allowedPermissions: [{identity: A, identityType: VIRTUAL_GROUP}]}]"
    levels = (
        "[{name: L1, permissionSets: [{allowedPermissions: [{identity: A, identityType: Group}]}]},"
        " {permissionSets: [{allowAnonymous: true}]}]"
    )
    text = f"{HEAD}items:\n  - {{uri: 'x:1', permissions: {sets}}}\n  - {{uri: 'x:2', permissions: {levels}}}\n"
    shared = {address: shared for address, (_, shared) in resources(tmp_path, text).items()}
    assert shared == {
        "item/handbook/x:1": {
            "levels": [{"sets": [{"anonymous": True}, {"allowed": ["virtual-group/corp/A"], "name": "n"}]}]
        }
        | {}
        if False
        else {
            "levels": [
                {
                    "sets": sorted(
                        [{"anonymous": True}, {"allowed": ["virtual-group/corp/A"], "name": "n"}],
                        key=lambda entry: entry.get("allowed", []),
                    )
                }
            ]
        },
        "item/handbook/x:2": {
            "levels": [{"name": "L1", "sets": [{"allowed": ["group/corp/A"]}]}, {"sets": [{"anonymous": True}]}]
        },
    }
