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
    providers=(Provider("corp", "p1", (EMAIL,)), Provider("other", "p2", (EMAIL,))),
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
        },
        "item/handbook/x:2": {
            "levels": [{"name": "L1", "sets": [{"allowed": ["group/corp/A"]}]}, {"sets": [{"anonymous": True}]}]
        },
    }


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (
            "{allowed: [user:a], levels: [[{allowed: [user:b]}]]}",
            '18 bad-value "permissions" does not say exactly one thing',
        ),
        ("{}", '18 bad-value "permissions" does not say exactly one thing'),
        ("{sets: []}", '25 bad-value "sets" is empty'),
        ("{levels: [[]]}", '28 bad-value "levels" is empty'),
        ("[alpha]", '19 wrong-type "permissions" is a text; it should be a mapping (key: value)'),
        ("{allowed: [{user: a, group: b}]}", '29 bad-value "allowed" does not say exactly one thing'),
        ("{allowed: [{user: ''}]}", '36 bad-value "user" is empty'),
        ("{alowed: [user:a]}", '19 unknown-key unknown key "alowed"'),
        ("{allowed: [alice]}", '29 not-an-identity "alice" names no identity'),
        (
            "{allowed: ['us-er:alice']}",
            '29 not-an-identity "us-er:alice" names no identity',
        ),
        ("{allowed: ['user: alice']}", '29 bad-name " alice" cannot be the name of an identity'),
        ("{allowed: [{user: a, provider: crop}]}", '29 unknown-provider no provider is named "crop"'),
        (
            "[{allowAnonymous: true}, {permissionSets: []}]",
            "5 bad-body permissions mix levels (with permissionSets) and sets (without)",
        ),
        (
            "[{allowedPermissions: [{identity: a, identityType: Grp}]}]",
            '5 bad-body "Grp" is no type of identity: User, Group, VirtualGroup or Unknown',
        ),
    ],
)
def test_permissions_that_cannot_be_meant(tmp_path: Path, form: str, said: str) -> None:
    text = f"{HEAD}items:\n  - uri: x:1\n    permissions: {form}\n"
    found = complaints(tmp_path, text)
    line = 3 if said.startswith("5 ") else 4
    assert found == [f"{line}:{said}"]


# -- identities and providers ----------------------------------------------------------------------


def test_an_identity_lives_in_the_provider_of_its_group_not_in_the_default(tmp_path: Path) -> None:
    text = (
        HEAD + "groups:\n"
        "  - {name: A, members: [user:a, 'virtualGroup:V', {unknown: u, additionalInfo: {k: v}}]}\n"
        "  - {name: A, provider: other, members: [user:a], wellKnowns: [group:E], protect: true}\n"
        "virtualGroups: [{name: V, members: [], additionalInfo: {dept: '7'}}]\n"
        "users: [{name: bob, provider: p2, wellKnowns: [group:E]}]\n"
        "aliases:\n"
        "  - {of: user:a, provider: other, is: [{provider: Email Security Provider, identity: user:a@x}]}\n"
        "  - {of: {group: A, provider: other}, is: [{provider: Email Security Provider, identity: 'USER:b@x'},"
        " {provider: Email Security Provider, identity: user:a@x, additionalInfo: {k: v}}], protect: true}\n"
    )
    assert resources(tmp_path, text) == {
        "group/corp/A": ({"members": ['unknown/corp/u?info={"k":"v"}', "user/corp/a", "virtual-group/corp/V"]}, None),
        "group/other/A": ({"members": ["user/other/a"], "protect": True}, {"wellKnowns": ["group/other/E"]}),
        'virtual-group/corp/V?info={"dept":"7"}': ({"members": []}, None),
        "user/other/bob": ({}, {"wellKnowns": ["group/other/E"]}),
        "alias/other/user:a": ({"mappings": [f"user/{EMAIL}/a@x"]}, None),
        "alias/other/group:A": (
            {"mappings": [f'user/{EMAIL}/a@x?info={{"k":"v"}}', f"user/{EMAIL}/b@x"], "protect": True},
            None,
        ),
    }


def test_a_group_cannot_list_who_lives_elsewhere(tmp_path: Path) -> None:
    text = HEAD + "groups:\n  - {name: A, members: [user:a, {user: b, provider: other}]}\n"
    assert complaints(tmp_path, text) == [
        '3:53 other-provider this identity lives in provider "other", the group in "corp"'
    ]


def test_an_alias_leads_nowhere_where_its_provider_does_not_cascade_to(tmp_path: Path) -> None:
    text = (
        HEAD + "aliases:\n  - {of: user:a, is: [{provider: other, identity: user:b}]}\n"
        "  - {ofEach: {membersOf: '*', type: user}, is: [{provider: other, identity: 'user:{name}'}]}\n"
    )
    assert complaints(tmp_path, text) == [
        '3:34 outside-cascade provider "corp" does not cascade to "p2"',
        '4:60 outside-cascade provider "corp" does not cascade to "p2"',
    ]


def test_what_has_no_provider_or_source_says_so(tmp_path: Path) -> None:
    text = (
        "groups:\n  - {name: A, members: []}\n"
        "  - {name: B, provider: Email Security Provider, members: []}\n"
        "items:\n  - {uri: 'x:1'}\n  - {uri: 'x:2', source: bolg}\n"
        "aliases:\n  - {of: user:a, provider: Email Security Provider, is: [{provider: nope, identity: user:a}]}\n"
    )
    assert complaints(tmp_path, text) == [
        "2:12 provider-needed nothing says which security identity provider this identity lives in",
        f'3:25 foreign-provider provider "{EMAIL}" is not one of this project',
        "5:5 source-needed the item does not say which source it is in",
        '6:26 unknown-source no source is named "bolg"',
        f'8:10 foreign-provider provider "{EMAIL}" is not one of this project',
        '8:69 unknown-provider no provider is named "nope"',
    ]


# -- items -----------------------------------------------------------------------------------------


def test_an_item_whole(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(b"<p>")
    text = (
        HEAD + "items:\n"
        "  - uri: file://folder/mytext.txt\n"
        "    title: mytext\n"
        "    clickableUri: ${base}/mytext\n"
        "    fileExtension: .txt\n"
        "    parent: file://folder\n"
        "    permanentId: stable\n"
        "    protect: true\n"
        "    permissions: staff\n"
        "    metadata: {Author: Alice, date: 2017-11-08T12:18:41.666Z, language: [English], Size: 7,"
        " ok: true, f: 1.5}\n"
        "    body: {text: 'costs $${base}: é'}\n"
        "  - {uri: 'x:file', body: {file: ./page.html}, source: blog}\n"
        "  - {uri: 'x:own', body: {file: page.html}, source: blog, fileExtension: .htm}\n"
        "  - {uri: 'x:bytes', body: {base64: 'AAEC'}, source: blog}\n"
    )
    page = {"encoding": "binary", "sha256": hashlib.sha256(b"<p>").hexdigest(), "size": 3}
    assert resources(tmp_path, text) == {
        "item/handbook/file://folder/mytext.txt": (
            {
                "title": "mytext",
                "clickableUri": "https://x.example/mytext",
                "fileExtension": ".txt",
                "parent": "file://folder",
                "protect": True,
                "metadata": {
                    "author": "Alice",
                    "date": "2017-11-08T12:18:41.666Z",
                    "language": ["English"],
                    "size": 7,
                    "ok": True,
                    "f": 1.5,
                    "permanentid": "stable",
                },
                "body": {
                    "encoding": "text",
                    "sha256": hashlib.sha256("costs ${base}: é".encode()).hexdigest(),
                    "size": 17,
                },
            },
            "staff",
        ),
        "item/blog/x:file": ({"metadata": {}, "body": page, "fileExtension": ".html"}, None),
        "item/blog/x:own": ({"metadata": {}, "body": page, "fileExtension": ".htm"}, None),
        "item/blog/x:bytes": (
            {
                "metadata": {},
                "body": {"encoding": "binary", "sha256": hashlib.sha256(b"\0\1\2").hexdigest(), "size": 3},
            },
            None,
        ),
    }


def test_the_seeds_request_bodies_are_items_and_identities(tmp_path: Path) -> None:
    packed = base64.b64encode(zlib.compress(b"<html>")).decode()
    body = {
        "DocumentId": "https://x.example/1",
        "FileExtension": ".html",
        "CompressedBinaryData": packed,
        "Title": "T",
        "Author": "Alice",
        "Permissions": [
            {
                "PermissionSets": [
                    {
                        "AllowAnonymous": False,
                        "AllowedPermissions": [{"IdentityType": "User", "Identity": "allowed@coveo.com"}],
                        "DeniedPermissions": [{"IdentityType": "User", "Identity": "denied@coveo.com"}],
                    }
                ]
            }
        ],
    }
    group = {"identity": {"name": "AlphaTeam", "type": "GROUP"}, "members": [{"name": "alice", "type": "USER"}]}
    virtual = {"Identity": {"Name": "V", "Type": "VIRTUAL_GROUP", "AdditionalInfo": {"k": "v"}}}
    user = {"identity": {"name": "u", "type": "User"}, "wellKnowns": [{"name": "AlphaTeam", "type": "Group"}]}
    alias = {
        "Identity": {"Name": "alice", "Type": "USER"},
        "Mappings": [{"Name": "alice@x", "Type": "USER", "Provider": EMAIL}],
    }
    text = orjson.dumps(
        {
            "defaults": {"source": "handbook", "provider": "corp"},
            "items": [body],
            "groups": [group],
            "virtualGroups": [virtual],
            "users": [user],
            "aliases": [alias],
        }
    ).decode()
    assert resources(tmp_path, text) == {
        "item/handbook/https://x.example/1": (
            {
                "title": "T",
                "fileExtension": ".html",
                "metadata": {"author": "Alice"},
                "body": {"encoding": "binary", "sha256": hashlib.sha256(b"<html>").hexdigest(), "size": 6},
            },
            {
                "levels": [
                    {"sets": [{"allowed": ["user/corp/allowed@coveo.com"], "denied": ["user/corp/denied@coveo.com"]}]}
                ]
            },
        ),
        "group/corp/AlphaTeam": ({"members": ["user/corp/alice"]}, None),
        'virtual-group/corp/V?info={"k":"v"}': ({"members": []}, None),
        "user/corp/u": ({}, {"wellKnowns": ["group/corp/AlphaTeam"]}),
        "alias/corp/user:alice": ({"mappings": [f"user/{EMAIL}/alice@x"]}, None),
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{uri: no-scheme}", '11 uri-no-scheme uri "no-scheme" has no scheme'),
        ("{uri: 'x:a#b'}", '11 uri-fragment uri "x:a#b" has a fragment (#)'),
        ("{uri: 'x:a b'}", '11 uri-space uri "x:a b" has a space or a control character'),
        ("{uri: 'x:'}", '11 uri-empty uri "x:" names nothing'),
        ("{uri: ''}", '11 bad-value "uri" is empty'),
        ("{uri: 7}", '11 wrong-type "uri" is the number 7; it should be a text'),
        ("{title: t}", '5 missing-key "uri" is missing'),
        ("plain", "5 wrong-type the entry is a text; it should be a mapping (key: value)"),
        ("null", "5 wrong-type the entry is empty; it should be a mapping (key: value)"),
        ("{uri: 'x:1', titel: t}", '18 unknown-key unknown key "titel"'),
        ("{uri: 'x:1', fileExtension: txt}", '33 file-extension file extension "txt" does not start with a dot'),
        ("{uri: 'x:1', fileextension: .txt, body: {text: t}}", '18 unknown-key unknown key "fileextension"'),
        ("{uri: 'x:1', parent: up}", '26 uri-no-scheme uri "up" has no scheme'),
        ("{uri: 'x:1', body: {text: t, file: f}}", '24 bad-value "body" does not say exactly one thing'),
        ("{uri: 'x:1', body: {}}", '24 bad-value "body" does not say exactly one thing'),
        ("{uri: 'x:1', body: {file: gone.txt}}", '31 file-missing there is no file "gone.txt"'),
        ("{uri: 'x:1', body: {file: ../up.txt}}", '31 path-outside "../up.txt" leads out of the project folder'),
        ("{uri: 'x:1', body: {base64: '@'}}", "33 bad-base64 the body is not valid base64"),
        (r"""{uri: 'x:1', title: "a\0"}""", "5 nul-character a text holds a NUL character"),
        ("{uri: 'x:1', title: '${tem}'}", '25 undefined-variable the variable "tem" is not defined'),
        ("{uri: '${nowhere}'}", '11 undefined-variable the variable "nowhere" is not defined'),
        ("{uri: 'x:1', metadata: {Data: x}}", '29 reserved-key "Data" cannot be a metadata key'),
        ("{uri: 'x:1', metadata: {a-b: x}}", '29 metadata-key "a-b" cannot be a metadata key'),
        ("{uri: 'x:1', metadata: {a: {b: 1}}}", '32 metadata-value metadata "a" is a nested object'),
        ("{uri: 'x:1', metadata: {a: [[1]]}}", '32 metadata-value metadata "a" is a nested list'),
        ("{uri: 'x:1', metadata: {a: null}}", '32 metadata-value metadata "a" is null'),
        ("{uri: 'x:1', metadata: {A: 1, a: 2}}", '35 repeated-key metadata "a" is given twice'),
        ("{uri: 'x:1', title: t, metadata: {Title: t}}", '38 repeated-key metadata "title" is given twice'),
        (
            "{uri: 'x:1', clickableUri: 'x:2', metadata: {clickableuri: u}}",
            '18 repeated-key metadata "clickableuri" is given twice',
        ),
        (
            "{uri: 'x:1', permanentId: t, metadata: {permanentid: t}}",
            '18 repeated-key metadata "permanentid" is given twice',
        ),
        ("{documentId: 'x:1', Data: a, data: b}", '5 bad-body the key "data" stands twice, differing only in case'),
        (
            "{documentId: 'x:1', data: a, compressedBinaryData: b}",
            '5 bad-body the item has both "data" and "compressedBinaryData"',
        ),
        ("{documentId: 'x:1', uri: 'x:2'}", '5 bad-body the item has both "uri" and "documentId"'),
        (
            "{documentId: 'x:1', author: a, metadata: {Author: b}}",
            '5 bad-body the item has "Author" beside its metadata and in it',
        ),
        ("{documentId: 'x:1', orderingId: 5}", '5 reserved-key "orderingid" cannot be a metadata key'),
    ],
)
def test_items_that_are_refused(tmp_path: Path, entry: str, said: str) -> None:
    text = f"defaults: {{source: blog}}\nitems:\n  - {entry}\n"
    assert complaints(tmp_path, text) == [f"3:{said}"]


def test_text_that_only_looks_like_a_nul(tmp_path: Path) -> None:
    text = r"""defaults: {source: blog}
items: [{uri: 'x:1', title: 'a\u0000'}, {uri: 'x:2', title: "\\\\u0000"}]"""
    assert [doc["title"] for doc, _ in resources(tmp_path, text).values()] == [r"a\u0000", r"\\u0000"]


@pytest.mark.parametrize(
    ("section", "entry", "said"),
    [
        (
            "groups",
            "{identity: {name: A, type: USER}, members: []}",
            '5 bad-body identity "A" has the type USER, and this section is for groups',
        ),
        ("groups", "{identity: {type: GROUP}, members: []}", "5 bad-body identity has no name"),
        ("groups", "{identity: {name: A, typo: GROUP}}", '5 bad-body identity has an unknown key "typo"'),
        ("groups", "{identity: {name: A}, memebers: []}", '27 unknown-key unknown key "memebers"'),
        ("groups", "{identity: A}", "5 bad-body identity is no object with name and type"),
        (
            "aliases",
            "{identity: {name: A}, mappings: [{provider: Email Security Provider}]}",
            "5 bad-body a mapping has no name",
        ),
        ("aliases", "{identity: {name: A}, mappings: []}", '5 bad-value "is" is empty'),
        ("aliases", "{of: user:a, is: []}", '22 bad-value "is" is empty'),
        (
            "aliases",
            "{of: user:a, ofEach: {membersOf: '*'}, is: [{provider: x, identity: user:a}]}",
            "5 bad-value the entry does not say exactly one thing",
        ),
        ("groups", "{name: A}", '5 missing-key "members" is missing'),
        ("groups", "{name: ' A', members: []}", '12 bad-name " A" cannot be the name of an identity'),
        ("users", "{name: a, members: []}", '15 unknown-key unknown key "members"'),
        ("moved", "{from: 'x:1'}", '5 missing-key "to" is missing'),
        ("accessTests", "{who: user:a, canVeiw: []}", '19 unknown-key unknown key "canVeiw"'),
    ],
)
def test_identities_and_other_entries_that_are_refused(tmp_path: Path, section: str, entry: str, said: str) -> None:
    assert complaints(tmp_path, f"{HEAD}{section}:\n  - {entry}\n") == [f"3:{said}"]


# -- files -----------------------------------------------------------------------------------------


def test_documents_sections_and_styles_mean_the_same(tmp_path: Path) -> None:
    block = HEAD + "items:\n  - uri: x:1\n    permissions: m\ngroups:\n  - name: A\n    members: [user:a]\nusers: []\n"
    flow = (
        "defaults: {source: handbook, provider: corp}\nitems: [{uri: 'x:1', permissions: m}]\n"
        "users: []\ngroups: [{name: A, members: ['user:a']}]\n"
    )
    documents = "items:\n- {uri: 'x:1', permissions: m}\n---\ngroups:\n- {name: A, members: [user:a]}\n---\n" + HEAD
    anchors = (
        HEAD + "groups: [{name: &a A, members: [&u 'user:a']}]\nitems: [{uri: 'x:1', permissions: m}]\nmoved: []\n"
    )
    wanted = {"item/handbook/x:1": ({"metadata": {}}, "m"), "group/corp/A": ({"members": ["user/corp/a"]}, None)}
    for text in (block, flow, documents, anchors, "\ufeff" + block.replace("\n", "\r\n")):
        assert resources(tmp_path, text) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1 empty-file the file holds no section"),
        ("# nothing\n", "1:1 empty-file the file holds no section"),
        ("items:\n", '1:1 wrong-type section "items" is empty; it should be a list'),
        ("items: {}\n", '1:1 wrong-type section "items" is a mapping; it should be a list'),
        ("permissions:\n", '1:1 wrong-type section "permissions" is empty; it should be a mapping'),
        ("permissions: []\n", '1:1 wrong-type section "permissions" is a list; it should be a mapping'),
        ("itms: []\n", '1:1 unknown-section unknown section "itms"'),
        ("groups: []\nsources: {}\n", '2:1 misplaced-section section "sources" belongs in reconciler.yaml'),
        ("defaults: {sorce: blog}\n", '1:12 unknown-key unknown key "sorce"'),
        ("defaults: {source: bolg}\nitems: [{uri: 'x:1'}]\n", '1:20 unknown-source no source is named "bolg"'),
        (
            "defaults: {source: blog}\n---\ndefaults: {source: blog}\n",
            "3:1 repeated-defaults the file has a second `defaults` section",
        ),
        ("items:\n\t- uri: x:1\n", "2:1 tab-indent a tab stands in the indentation"),
        ("items: []\t# none\n", "1:10 yaml-syntax a tab stands where YAML takes only spaces"),
        ("items: [\n", "1:9 yaml-syntax the text ends where a bracket is still open"),
        ("- a\n", "1:1 not-a-manifest the file holds a list where sections are expected"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    assert complaints(tmp_path, text) == [said]


def test_an_empty_list_is_said_and_fine(tmp_path: Path) -> None:
    assert resources(tmp_path, "items: []\ngroups: []\npermissions: {}\n") == {}


def test_moved_and_of_each_are_kept_for_all_files(tmp_path: Path) -> None:
    record = read(
        tmp_path,
        HEAD + "moved:\n  - {from: '${base}/a', to: '${base}/b'}\n  - {from: x:1, to: x:2, source: blog}\n"
        "aliases:\n  - {ofEach: {membersOf: 'A*'}, "
        "is: [{provider: Email Security Provider, identity: 'user:{name}@x'}]}\n",
    ).record
    assert [(entry.before, entry.after) for entry in record.moved] == [
        ("item/handbook/https://x.example/a", "item/handbook/https://x.example/b"),
        ("item/blog/x:1", "item/blog/x:2"),
    ]
    assert [(e.entry, e.pattern, e.type, e.provider, e.mappings, e.protect) for e in record.of_each] == [
        (2, "A*", "user", "corp", (f"user/{EMAIL}/{{name}}@x",), False)
    ]


# -- item sets -------------------------------------------------------------------------------------


def test_item_sets_of_all_four_kinds(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "p.html").write_text("<title>Page</title>")
    (tmp_path / "r.csv").write_text("id,size\n1,big\n")
    (tmp_path / "r.jsonl").write_text('{"id": 2, "tags": ["a", "b"]}\n')
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"id": [3]}), tmp_path / "r.parquet")
    text = (
        "defaults: {source: blog}\n"
        "itemSets:\n"
        "  - from: {files: 'c/*.html'}\n    item: {uri: '${base}/{path}', title: '{html.title}'}\n"
        "  - from: {csv: r.csv}\n    item: {uri: 'r:{id}', metadata: {size: '{size}'}}\n"
        "  - from: {jsonl: r.jsonl}\n    item: {uri: 'r:{id}', metadata: {tags: '{tags}'}}\n"
        "  - from: {parquet: r.parquet}\n    item: {uri: 'r:{id}', permissions: staff}\n"
        "  - from: {files: 'none/*'}\n    item: {uri: 'x:{path}'}\n    allowEmpty: true\n"
    )
    content = b"<title>Page</title>"
    body = {"encoding": "binary", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    assert resources(tmp_path, text) == {
        "item/blog/https://x.example/c/p.html": (
            {"metadata": {}, "title": "Page", "body": body, "fileExtension": ".html"},
            None,
        ),
        "item/blog/r:1": ({"metadata": {"size": "big"}}, None),
        "item/blog/r:2": ({"metadata": {"tags": ["a", "b"]}}, None),
        "item/blog/r:3": ({"metadata": {}}, "staff"),
    }


# -- reading again with what was read before -------------------------------------------------------


def test_only_changed_entries_are_read_again_and_a_section_counts(tmp_path: Path) -> None:
    before = HEAD + "groups:\n  - {name: A, members: []}\n  - {name: B, members: []}\n"
    old = read(tmp_path, before).record
    after = read(tmp_path, before.replace("name: B", "name: C"), old=old)
    assert after.record.address_list() == ["group/corp/A", "group/corp/C"]
    assert [entry.address for entry in after.emitted] == ["group/corp/C"]
    renamed = read(tmp_path, before.replace("groups:", "virtualGroups:"), old=old)
    assert renamed.record.address_list() == ["virtual-group/corp/A", "virtual-group/corp/B"]
    other = read(tmp_path, before.replace("provider: corp", "provider: other"), old=old)
    assert other.record.address_list() == ["group/other/A", "group/other/B"]
