"""`reconciler validate`: the wording of typical problems, whole, and its three forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import PROJECT, Folder, run_here

HEAD = "defaults: {source: handbook, provider: corp}\n"

MESSAGES = {
    "unknown-key": (
        HEAD + "groups:\n  - name: A\n    membres: [user:a]\n    members: []\n",
        """\
a.yaml:4:5: error[unknown-key]: unknown key "membres"
    4 |     membres: [user:a]
      |     ^^^^^^^
  why: a key that is not read would silently not be applied.
  fix: did you mean "members"?
""",
    ),
    "missing-key": (
        HEAD + "groups:\n  - name: A\n",
        """\
a.yaml:3:5: error[missing-key]: "members" is missing
    3 |   - name: A
      |     ^^^^^^^
  why: it has no default.
  fix: add `members:`.
""",
    ),
    "wrong-type": (
        HEAD + "items:\n  - uri: x:1\n    title: 2024\n",
        """\
a.yaml:4:12: error[wrong-type]: "title" is the number 2024; it should be a text
    4 |     title: 2024
      |            ^^^^
  fix: quote it: "2024".
""",
    ),
    "bad-value": (
        HEAD + "items:\n  - uri: x:1\n    body: {text: a, file: b}\n    permissions: {anonymous: true}\n",
        """\
a.yaml:4:11: error[bad-value]: "body" does not say exactly one thing
    4 |     body: {text: a, file: b}
      |           ^^^^^^^^^^^^^^^^^^
  why: with none of them nothing is said, and of several only one could count.
  fix: give exactly one of text, file, base64.
""",
    ),
    "unknown-group": (
        HEAD + "permissions:\n  board:\n    allowed:\n      - group: hr-mangers\n"
        "groups: [{name: hr-managers, members: []}]\n",
        """\
a.yaml:5:16: error[unknown-group]: no manifest declares group "hr-mangers" of provider "corp"
    5 |       - group: hr-mangers
      |                ^^^^^^^^^^
  why: a name that the provider does not know resolves to nobody: the people it stands for would be locked out.
  fix: did you mean "hr-managers"?
""",
    ),
    "unknown-permissions": (
        "defaults: {source: handbook, permissions: staf}\nitems: [{uri: 'x:1'}]\n"
        "permissions: {staff: {anonymous: true}}\n",
        """\
a.yaml:1:43: error[unknown-permissions]: no permission model is named "staf"
    1 | defaults: {source: handbook, permissions: staf}
      |                                           ^^^^
  why: the item would have no permissions, and nobody would see it, or everybody.
  fix: did you mean "staff"?
""",
    ),
    "undefined-variable": (
        HEAD + "items:\n  - {uri: '${bse}/a', permissions: {anonymous: true}}\n",
        """\
a.yaml:3:11: error[undefined-variable]: the variable "bse" is not defined
    3 |   - {uri: '${bse}/a', permissions: {anonymous: true}}
      |           ^^^^^^^^^^
  why: variables come from `vars` of reconciler.yaml and of the chosen environment.
  fix: did you mean "base"?
""",
    ),
    "uri-fragment": (
        HEAD + "items:\n  - {title: Überblick 日本, uri: 'x:a#b', permissions: {anonymous: true}}\n",
        """\
a.yaml:3:32: error[uri-fragment]: uri "x:a#b" has a fragment (#)
    3 |   - {title: Überblick 日本, uri: 'x:a#b', permissions: {anonymous: true}}
      |                                  ^^^^^^^
  why: what follows # never reaches the server, so items would overwrite each other.
  fix: remove it, or percent-encode it as %23.
""",
    ),
    "metadata-value": (
        HEAD + "items:\n  - uri: x:1\n    permissions: {anonymous: true}\n"
        "    metadata:\n      author:\n        name: Alice\n",
        """\
a.yaml:7:9: error[metadata-value]: metadata "author" is a nested object
    7 |         name: Alice
      |         ^^^^^^^^^^^
  why: the Push API takes strings, numbers, booleans and lists of those.
  fix: flatten it, for example author_name: value.
""",
    ),
    "file-missing": (
        HEAD + "items:\n  - {uri: 'x:1', body: {file: a.yml}, permissions: {anonymous: true}}\n",
        """\
a.yaml:3:31: error[file-missing]: there is no file "a.yml"
    3 |   - {uri: 'x:1', body: {file: a.yml}, permissions: {anonymous: true}}
      |                               ^^^^^
  why: paths are relative to the folder of reconciler.yaml.
  fix: did you mean "a.yaml"?
""",
    ),
    "tab-indent": (
        "items:\n\t- uri: x:1\n",
        """\
a.yaml:2:1: error[tab-indent]: a tab stands in the indentation
    2 | \\t- uri: x:1
      | ^^
  why: YAML takes only spaces there, since a tab has no width of its own.
  fix: replace the tab by spaces
""",
    ),
    "empty-set": (
        HEAD + "itemSets:\n  - from: {files: 'pages/*.html'}\n    item: {uri: 'x:{path}'}\n",
        """\
a.yaml:3:11: error[empty-set]: no file matches "pages/*.html"
    3 |   - from: {files: 'pages/*.html'}
      |           ^^^^^^^^^^^^^^^^^^^^^^^
  why: an emptied folder or file must not pass for the wish to delete all items that came from it.
  fix: correct `from`, or write `allowEmpty: true` in the item set if it may be empty.
""",
    ),
    "bad-body": (
        HEAD + "groups:\n  - {identity: {name: A, type: USER}, members: []}\n",
        """\
a.yaml:3:5: error[bad-body]: identity "A" has the type USER, and this section is for groups
    3 |   - {identity: {name: A, type: USER}, members: []}
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  why: the entry has the shape of a Push API body, and as such it is not clear what it means.
  fix: correct it, or write the entry in the form of the manifest language.
""",
    ),
}


@pytest.mark.parametrize("code", MESSAGES)
def test_messages(folder: Folder, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, wanted = MESSAGES[code]
    folder.write("reconciler.yaml", PROJECT + "vars: {base: 'https://x.example'}\n")
    folder.write("a.yaml", text)
    monkeypatch.chdir(folder.root)
    ran = run_here("validate")
    assert (ran.code, ran.out, ran.err) == (1, "", wanted + "\n1 error, 0 warnings.\n")


def test_valid_and_warned(folder: Folder) -> None:
    folder.write("a.yaml", HEAD + "items:\n  - {uri: 'x:1'}\n")
    ran = folder.ok("validate")
    assert ran.out == "Valid: 1 resource in 2 files.\n"
    assert 'a.yaml:3:5: warning[permissions-missing]: item "x:1" has no permissions' in ran.err
    # A warning stays as long as its cause: the cache does not swallow it.
    assert folder.ok("validate").err == ran.err


def test_files_are_named_from_where_one_stands(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("sub/a.yaml", "itms: []\n")
    for place, prefix in ((folder.root, ""), (folder.root.parent, "project/"), (folder.root / "sub", "../")):
        monkeypatch.chdir(place)
        text = run_here("-C", prefix or ".", "validate")
        assert text.err.startswith(f"{prefix}sub/a.yaml:1:1: error[unknown-section]")
        document = run_here("-C", prefix or ".", "validate", "--format", "json").json
        assert document["problems"][0]["file"] == f"{prefix}sub/a.yaml"


def test_a_project_below_manifests_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Folder(tmp_path / "manifests").write("a.yaml", "itms: []\n")
    monkeypatch.chdir(tmp_path)
    assert run_here("validate").err.startswith("manifests/a.yaml:1:1: error[unknown-section]")


def test_json_and_sarif(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.yaml", HEAD + "items: [{uri: 'x:1', titel: t}]\n")
    monkeypatch.chdir(folder.root)
    assert run_here("validate", "--format", "json").json == {
        "format_version": "1.0",
        "problems": [
            {
                "code": "unknown-key",
                "severity": "error",
                "where": "",
                "file": "a.yaml",
                "line": 2,
                "column": 22,
                "length": 5,
                "related": [],
                "what": 'unknown key "titel"',
                "why": "a key that is not read would silently not be applied.",
                "fix": 'did you mean "title"?',
            }
        ],
        "summary": {"errors": 1, "warnings": 0},
    }
    sarif = json.loads(run_here("validate", "--format", "sarif").out)
    [result] = sarif["runs"][0]["results"]
    assert result["ruleId"] == "unknown-key"
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 2, "startColumn": 22, "endColumn": 27}


def test_validate_needs_no_state_and_leaves_it_alone(folder: Folder) -> None:
    folder.write("a.yaml", "groups: []\n")
    path = folder.write(".reconciler/local.state.db", b"not a database")
    folder.ok("validate")
    assert path.read_bytes() == b"not a database"


def test_the_cache_does_not_show(folder: Folder) -> None:
    folder.write("a.yaml", HEAD + "items: [{uri: 'x:1', titel: t}]\ngroups: [{name: A, members: [group:B]}]\n")
    first = folder.run("validate")
    assert [folder.run("validate"), folder.run("validate", "--no-cache")] == [first, first]
