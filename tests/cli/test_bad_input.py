"""Bad input ends in a clear error: where, a code, what, why, a fix; exit code 1 or 2; and nothing is changed."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import ORGANIZATION, PROJECT, Folder, Ran, run_here

HEAD = "defaults: {source: handbook, provider: corp}\n"
GOOD = "defaults: {source: blog, provider: corp}\nitems:\n  - {uri: 'x:1'}\n  - {uri: 'x:2'}\n"
STATE = ".reconciler/local.state.db"
PLACED = re.compile(r"^[^\s:][^:\n]*:\d+:\d+: (?:error|warning)\[[a-z0-9-]+\]: .+$")


def refuse(folder: Folder, *, code: int = 1) -> str:
    """Run all commands that read manifests; each refuses, none changes anything. Returns what `validate` says."""
    validated = folder.ok("validate", code=code)
    for arguments in (("plan",), ("plan", "--no-cache"), ("apply", "--auto-approve")):
        ran = folder.ok(*arguments, code=code)
        assert ran.out == ""
        assert "internal" not in ran.err and "Traceback" not in ran.err
        assert problems_of(ran) == problems_of(validated)
    assert not (folder.root / STATE).exists()
    return validated.err


def problems_of(ran: Ran) -> list[str]:
    """Return the lines that tell a problem, without the folder before the file's name."""
    return [
        re.sub(r"^\S*/project/", "", line) for line in ran.err.splitlines() if re.search(r"(error|warning)\[", line)
    ]


def told(folder: Folder, *, code: int = 1) -> list[str]:
    """Return the problems that all commands agree on; each is placed, and says what to do."""
    text = refuse(folder, code=code)
    blocks = text.strip().split("\n\n")[:-1]
    for block in blocks:
        lines = block.splitlines()
        assert PLACED.match(re.sub(r"^\S*/project/", "", lines[0])), block
        assert any(line.startswith("  fix: ") for line in lines), block
    return [problems_of(Ran(code, "", block))[0] for block in blocks]


def write_case(folder: Folder, text: str | bytes) -> None:
    folder.write("a.yaml", text)


ONE_FILE: dict[str, tuple[str | bytes, list[str]]] = {
    "empty file": ("", ["a.yaml:1:1: error[empty-file]: the file holds no section"]),
    "section without entries": (
        "items:\n",
        ['a.yaml:1:1: error[wrong-type]: section "items" is empty; it should be a list'],
    ),
    "an entry that is only a dash": (
        HEAD + "items:\n  -\n",
        ["a.yaml:3:3: error[wrong-type]: the entry is empty; it should be a mapping (key: value)"],
    ),
    "binary": (
        b"\x7fELF\x02\x01\x01\x00\xff\xfe",
        ["a.yaml:1:9: error[not-utf8]: the byte 0xFF is no UTF-8 text here"],
    ),
    "UTF-16": ("items: []\n".encode("utf-16"), ["a.yaml:1:1: error[not-utf8]: the byte 0xFF is no UTF-8 text here"]),
    "tab": ("items:\n\t- uri: x:1\n", ["a.yaml:2:1: error[tab-indent]: a tab stands in the indentation"]),
    "unknown section": ("itms: []\n", ['a.yaml:1:1: error[unknown-section]: unknown section "itms"']),
    "unknown key": (
        HEAD + "items:\n  - uri: x:1\n    permisions: m\n",
        ['a.yaml:4:5: error[unknown-key]: unknown key "permisions"'],
    ),
    "wrong type": (
        HEAD + "groups:\n  - name: A\n    members: user:a\n",
        ['a.yaml:4:14: error[wrong-type]: "members" is a text; it should be a list'],
    ),
    "no scheme": (
        "defaults: {source: blog}\nitems: [{uri: docs/a}]\n",
        ['a.yaml:2:15: error[uri-no-scheme]: uri "docs/a" has no scheme'],
    ),
    "fragment": (
        "defaults: {source: blog}\nitems: [{uri: 'x:a#b'}]\n",
        ['a.yaml:2:15: error[uri-fragment]: uri "x:a#b" has a fragment (#)'],
    ),
    "space": (
        "defaults: {source: blog}\nitems: [{uri: 'x:a b'}]\n",
        ['a.yaml:2:15: error[uri-space]: uri "x:a b" has a space or a control character'],
    ),
    "metadata": (
        "defaults: {source: blog}\nitems:\n  - uri: x:1\n    metadata:\n      Data: 1\n"
        "      a-b: 2\n      c: {d: 1}\n      E: 1\n      e: 2\n",
        [
            'a.yaml:5:7: error[reserved-key]: "Data" cannot be a metadata key',
            'a.yaml:6:7: error[metadata-key]: "a-b" cannot be a metadata key',
            'a.yaml:7:10: error[metadata-value]: metadata "c" is a nested object',
            'a.yaml:9:7: error[repeated-key]: metadata "e" is given twice',
        ],
    ),
    "missing body": (
        "defaults: {source: blog}\nitems:\n  - {uri: 'x:1', body: {file: docs/gone.html}}\n",
        ['a.yaml:3:31: error[file-missing]: there is no file "docs/gone.html"'],
    ),
    "body outside": (
        "defaults: {source: blog}\nitems:\n  - {uri: 'x:1', body: {file: ../../etc/passwd}}\n"
        "  - {uri: 'x:2', body: {file: /etc/passwd}}\n",
        [
            'a.yaml:3:31: error[path-outside]: "../../etc/passwd" leads out of the project folder',
            'a.yaml:4:31: error[path-outside]: "/etc/passwd" leads out of the project folder',
        ],
    ),
    "unknown group": (
        HEAD + "permissions:\n  m: {allowed: [group:Ghosts]}\nitems: [{uri: 'x:1', permissions: m}]\n"
        "groups: [{name: Ghost, members: [group:Nobody]}]\n",
        [
            'a.yaml:3:17: error[unknown-group]: no manifest declares group "Ghosts" of provider "corp"',
            'a.yaml:5:34: error[unknown-group]: no manifest declares group "Nobody" of provider "corp"',
        ],
    ),
    "unknown permission model": (
        HEAD + "permissions: {staff: {anonymous: true}}\nitems: [{uri: 'x:1', permissions: saff}]\n",
        ['a.yaml:3:35: error[unknown-permissions]: no permission model is named "saff"'],
    ),
    "unknown group by a variable, a wire form and a row": (
        HEAD + "items:\n  - {uri: 'x:1', permissions: {allowed: ['group:${team}']}}\n"
        "  - {uri: 'x:2', permissions: [{allowedPermissions: [{identity: Gone, identityType: Group}]}]}\n"
        "itemSets:\n  - from: {csv: rows.csv}\n    item: {uri: 'x:row{id}', permissions: '{model}'}\n",
        [
            'a.yaml:3:42: error[unknown-group]: no manifest declares group "Ghost" of provider "corp"',
            'a.yaml:4:65: error[unknown-group]: no manifest declares group "Gone" of provider "corp"',
            'a.yaml:7:43: error[unknown-permissions]: no permission model is named "rowmodel"',
        ],
    ),
    "undefined variable": (
        "defaults: {source: blog}\nitems: [{uri: '${bse}/x'}]\n",
        ['a.yaml:2:15: error[undefined-variable]: the variable "bse" is not defined'],
    ),
    "duplicate keys": (
        "defaults: {source: blog}\nitems:\n  - uri: x:1\n    uri: x:2\n",
        ['a.yaml:4:5: error[duplicate-key]: the key "uri" stands twice in one mapping'],
    ),
    "tag": (
        "defaults: {source: blog}\nitems:\n  - uri: !!python/object x:1\n",
        ['a.yaml:3:26: error[yaml-tag]: the tag "!!python/object" is no part of the manifest language'],
    ),
    "deep nesting": (
        "items: " + "[" * 3000,
        ["a.yaml:1:261: error[too-deep]: collections are nested more than 254 deep"],
    ),
    "alias bomb": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)),
        ["a.yaml:6:8: error[too-many-aliases]: aliases expand to more than 100,000 values"],
    ),
    "NUL": (
        b"defaults: {source: blog}\nitems:\n  - uri: x:\0\n",
        ["a.yaml:3:12: error[control-character]: the character U+0000 is not allowed in YAML"],
    ),
    "lone surrogate": (
        'defaults: {source: blog}\nitems:\n  - {uri: "x:1", title: "\\ud800"}\n',
        ["a.yaml:3:25: error[yaml-syntax]: an escape gives half of a character"],
    ),
    "BOM and CRLF": (
        "\ufeffdefaults: {source: blog}\r\nitems:\r\n  - uri: x:1\r\n    titel: é\r\n",
        ['a.yaml:4:5: error[unknown-key]: unknown key "titel"'],
    ),
    "columns count characters": (
        'defaults: {source: blog}\nitems:\n  - {title: "日本語 éé 🎉", titel: x, uri: "x:1"}\n',
        ['a.yaml:3:25: error[unknown-key]: unknown key "titel"'],
    ),
    "anchors": (
        HEAD
        + "items:\n  - uri: x:1\n    permissions: &p {allowed: [user:a], oops: 1}\n  - uri: x:2\n    permissions: *p\n",
        [
            'a.yaml:4:41: error[unknown-key]: unknown key "oops"',
            'a.yaml:6:18: error[unknown-key]: unknown key "oops"',
        ],
    ),
    "anchors across entries": (
        "defaults: {source: blog}\nitems:\n  - {uri: 'x:1', metadata: &m {a: 1}}\n"
        "  - {uri: 'x:2', metadata: *m, titel: t}\n",
        ['a.yaml:4:32: error[unknown-key]: unknown key "titel"'],
    ),
    "flow style": (
        "{defaults: {source: blog}, items: [{uri: 'x:1'},\n {uri: 'x:2', titel: t}]}\n",
        ['a.yaml:2:15: error[unknown-key]: unknown key "titel"'],
    ),
    "item set": (
        "defaults: {source: blog}\nitemSets:\n  - from: {csv: rows.csv}\n"
        "    item: {uri: 'x y:{id}', title: '{nmae}'}\n",
        ['a.yaml:4:36: error[unknown-field]: there is no field "nmae"'],
    ),
    "item set without files": (
        "defaults: {source: blog}\nitemSets:\n  - from: {files: 'none/**'}\n    item: {uri: 'x:{path}'}\n",
        ['a.yaml:3:11: error[empty-set]: no file matches "none/**"'],
    ),
    "row of an item set": (
        "defaults: {source: blog}\nitemSets:\n  - from: {csv: rows.csv}\n    item: {uri: 'no scheme {id}'}\n",
        ['a.yaml:4:17: error[uri-no-scheme]: rows.csv:2: uri "no scheme 1" has no scheme'],
    ),
    "source of another name": (
        "items: [{uri: 'x:1', source: handbok}]\n",
        ['a.yaml:1:30: error[unknown-source]: no source is named "handbok"'],
    ),
    "sections of the project": (
        "groups: []\nenvironments: {}\n",
        ['a.yaml:2:1: error[misplaced-section]: section "environments" belongs in reconciler.yaml'],
    ),
    "aliases of other providers": (
        HEAD + "aliases:\n  - {of: user:a, is: [{provider: Email Provider, identity: user:a}]}\n",
        ['a.yaml:3:34: error[unknown-provider]: no provider is named "Email Provider"'],
    ),
}


@pytest.mark.parametrize("name", ONE_FILE)
def test_one_bad_file(folder: Folder, name: str) -> None:
    text, wanted = ONE_FILE[name]
    folder.write("reconciler.yaml", PROJECT + "vars: {team: Ghost, base: 'https://x.example'}\n")
    folder.write("rows.csv", "id,model\n1,rowmodel\n")
    write_case(folder, text)
    assert told(folder) == wanted


PROJECTS: dict[str, tuple[str, list[str]]] = {
    "unknown section": (PROJECT + "oops: 1\n", ['reconciler.yaml:9:1: error[unknown-section]: unknown section "oops"']),
    "unknown key": (
        PROJECT.replace("visibility: shared", "visibilty: shared"),
        ['reconciler.yaml:3:30: error[unknown-key]: unknown key "visibilty"'],
    ),
    "no such visibility": (
        PROJECT.replace("visibility: shared", "visibility: shard"),
        ['reconciler.yaml:3:42: error[bad-value]: "visibility" is "shard"'],
    ),
    "two documents": (
        PROJECT + "---\nsources: {x: {id: y}}\n",
        ['reconciler.yaml:10:1: error[repeated-section]: section "sources" stands twice in this file'],
    ),
    "override of an unknown source": (
        PROJECT.replace("target: emulator,", "target: emulator, sources: {hanbook: {id: z}},"),
        ['reconciler.yaml:7:39: error[unknown-source]: no source is named "hanbook"'],
    ),
    "unknown provider": (
        PROJECT.replace("provider: corp", "provider: crop"),
        ['reconciler.yaml:2:69: error[unknown-provider]: no provider is named "crop"'],
    ),
    "no organization": (
        PROJECT.replace(f"target: emulator, organization: {ORGANIZATION}", "region: us"),
        ['reconciler.yaml:7:3: error[organization-needed]: environment "local" does not say which organization it is'],
    ),
    "one id twice": (
        PROJECT.replace("mysourceidb10g", "mysourceidg3c5d1r2"),
        [
            'reconciler.yaml:2:18: error[repeated-id]: sources "blog" and '
            '"handbook" have the same id "mysourceidg3c5d1r2"'
        ],
    ),
    "a state store that does not exist": (
        PROJECT.replace("target: emulator", "target: emulator, state: 'mysql://h/d'"),
        ['reconciler.yaml:7:36: error[state-store]: there is no state store for "mysql://"'],
    ),
    "a state outside": (
        PROJECT.replace("target: emulator", "target: emulator, state: ../other.db"),
        ['reconciler.yaml:7:36: error[path-outside]: "../other.db" leads out of the project folder'],
    ),
    "a slash in a provider": (
        PROJECT.replace("Email Security Provider", "Email/Security"),
        ['reconciler.yaml:5:61: error[bad-name]: "Email/Security" cannot be the name of a provider here'],
    ),
    "a list": (
        "- a\n",
        ["reconciler.yaml:1:1: error[not-a-manifest]: the file holds a list where sections are expected"],
    ),
    "a tab": ("sources:\n\ta: {id: b}\n", ["reconciler.yaml:2:1: error[tab-indent]: a tab stands in the indentation"]),
    "a pattern that leads out": (
        PROJECT + "manifests: ['../**/*.yaml']\n",
        ['reconciler.yaml:9:13: error[path-outside]: "../**/*.yaml" leads out of the project folder'],
    ),
}


@pytest.mark.parametrize("name", PROJECTS)
def test_a_bad_project_file(folder: Folder, name: str) -> None:
    text, wanted = PROJECTS[name]
    folder.write("reconciler.yaml", text)
    write_case(folder, GOOD)
    refuse(folder)
    assert problems_of(folder.run("validate")) == wanted


# -- files that are no ordinary files --------------------------------------------------------------


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link_out(path: Path) -> None:
    outside = path.parent.parent / "outside.yaml"
    outside.write_text(GOOD)
    path.symlink_to(outside)


def make_circle(path: Path) -> None:
    path.symlink_to(path.name)


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere.yaml")


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may be 107 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_fifo, 'error[not-a-file]: "odd.yaml" is a FIFO, where a file is wanted'),
        (make_link_out, 'error[path-outside]: "odd.yaml" leads out of the project folder by a symbolic link'),
        (make_circle, 'error[file-unreadable]: "odd.yaml" cannot be read: its symbolic links lead in a circle'),
        (make_dangling, 'error[file-missing]: there is no file "odd.yaml"'),
        (make_socket, 'error[not-a-file]: "odd.yaml" is a socket, where a file is wanted'),
    ],
)
def test_a_manifest_that_is_no_file(folder: Folder, make: Callable[[Path], None], said: str) -> None:
    write_case(folder, GOOD)
    make(folder.root / "odd.yaml")
    refuse(folder)
    assert problems_of(folder.run("validate")) == [said]


def test_an_unreadable_manifest_and_folder(plain_user: Path) -> None:
    folder = Folder(plain_user / "project")
    write_case(folder, GOOD)
    path = folder.write("shut.yaml", GOOD)
    path.chmod(0)
    closed = folder.root / "closed"
    closed.mkdir(mode=0)
    refuse(folder)
    assert [line.split(": ", 1)[0] for line in problems_of(folder.run("validate"))] == [
        "error[file-unreadable]",
        "shut.yaml:1:1",
    ]
    closed.chmod(0o700)


def test_a_folder_with_the_name_of_a_manifest_is_only_a_folder(folder: Folder) -> None:
    write_case(folder, GOOD)
    folder.write("odd.yaml/inner.yaml", "groups: []\n")
    assert folder.ok("validate").out == "Valid: 2 resources in 3 files.\n"


# -- what is wrong between files -------------------------------------------------------------------


def test_a_uri_twice_names_both_places(folder: Folder) -> None:
    folder.write("a.yaml", GOOD)
    folder.write("b/c.yaml", "items:\n  - {uri: 'x:9', source: blog}\n  - title: two\n    uri: x:2\n    source: blog\n")
    err = refuse(folder)
    prefix = err.partition("b/c.yaml")[0]
    assert err == (
        f'{prefix}b/c.yaml:4:10: error[duplicate]: item "x:2" of source "blog" is declared twice\n'
        "    4 |     uri: x:2\n"
        "      |          ^^^\n"
        f"  see: {prefix}a.yaml:4:11: first declared here\n"
        "  why: which of the two counts would depend on chance.\n"
        "  fix: keep one of them.\n"
        "\n"
        "1 error, 0 warnings.\n"
    )


def test_one_uri_in_two_sources_and_one_name_as_two_kinds_are_fine(folder: Folder) -> None:
    folder.write("a.yaml", GOOD)
    folder.write(
        "b.yaml",
        HEAD + "items: [{uri: 'x:1', permissions: {anonymous: true}}]\n"
        "groups: [{name: A, members: []}]\nvirtualGroups: [{name: A, members: []}]\n",
    )
    assert folder.ok("validate").out == "Valid: 5 resources in 3 files.\n"


def test_groups_in_a_circle_are_planned_and_end(folder: Folder) -> None:
    folder.write(
        "a.yaml",
        HEAD + "groups:\n  - {name: A, members: [group:B]}\n  - {name: B, members: [group:C]}\n"
        "  - {name: C, members: [group:A, group:C]}\n",
    )
    folder.ok("validate")
    folder.ok("plan")


def test_a_hundred_mistakes_at_once_in_order(folder: Folder) -> None:
    for name in ("b.yaml", "a.yaml"):
        folder.write(
            name, "items:\n" + "".join(f"  - {{uri: 'x:{name}{n}', source: blog, titel: t}}\n" for n in range(50))
        )
    problems = folder.ok("validate", "--format", "json", code=1).json["problems"]
    places = [(found["file"].rpartition("/")[2], found["line"], found["column"]) for found in problems]
    column = len("  - {uri: 'x:a.yaml1', source: blog, ") + 1
    assert places == [(name, line + 2, column + (line > 9)) for name in ("a.yaml", "b.yaml") for line in range(50)]


@pytest.mark.slow
def test_a_large_file_with_one_mistake_at_its_end_is_told_at_once(folder: Folder) -> None:
    entry = "  - uri: x:{n}\n    title: " + "t" * 400 + "\n"
    folder.write(
        "a.yaml",
        "defaults: {source: blog}\nitems:\n"
        + "".join(entry.format(n=n) for n in range(24_000))
        + "  - uri: x:z\n    titel: t\n",
    )
    started = time.monotonic()
    assert problems_of(folder.ok("validate", code=1)) == ['a.yaml:48004:5: error[unknown-key]: unknown key "titel"']
    assert time.monotonic() - started < 20


def test_a_thousand_mistakes_in_a_file_that_is_read_as_a_whole_are_told_at_once(folder: Folder) -> None:
    entries = ",\n ".join(f"{{uri: 'x:{n}', source: blog, titel: t}}" for n in range(1000))
    folder.write("a.yaml", f"{{items: [{entries}]}}\n")
    started = time.monotonic()
    assert len(problems_of(folder.ok("validate", code=1))) == 1000
    assert time.monotonic() - started < 20


def test_a_missing_group_is_shown_where_it_stands_and_counted(folder: Folder) -> None:
    folder.write(
        "a.yaml",
        HEAD
        + "items:\n"
        + "".join(f"  - {{uri: 'x:{n}', permissions: {{allowed: [group:Gone]}}}}\n" for n in range(50)),
    )
    lines = problems_of(folder.ok("validate", code=1))
    assert len(lines) == 20
    assert lines[-1].endswith('group "Gone" of provider "corp"; 30 more entries of this file name it')


# -- nothing is never "delete all" -----------------------------------------------------------------


def applied(folder: Folder) -> bytes:
    """Apply two items and two groups; return the state."""
    folder.write("reconciler.yaml", PROJECT.replace("deletes: 100%", "deletes: 60%"))
    folder.write("items/a.yaml", GOOD)
    folder.write("groups/g.yaml", HEAD + "groups:\n  - {name: A, members: []}\n  - {name: B, members: []}\n")
    folder.ok("apply", "--auto-approve")
    return (folder.root / STATE).read_bytes()


@pytest.mark.parametrize(
    "vanish",
    [
        lambda root: (root / "items" / "a.yaml").unlink(),
        lambda root: ((root / "items" / "a.yaml").unlink(), (root / "items").rmdir()),
        lambda root: (root / "items" / "a.yaml").write_text("items: []\n"),
        lambda root: (root / "items" / "a.yaml").write_text("users: []\n"),
        lambda root: (root / "items" / "a.yaml").write_text(""),
        lambda root: (root / "items" / "a.yaml").write_text(GOOD[: GOOD.index("  -")]),
        lambda root: (root / "items" / "a.yaml").rename(root / "items" / "a.yaml.off"),
        lambda root: ((root / "items" / "a.yaml").unlink(), (root / "groups" / "g.yaml").unlink()),
    ],
)
def test_what_vanished_is_not_deleted(folder: Folder, vanish: Callable[[Path], object]) -> None:
    state = applied(folder)
    vanish(folder.root)
    ran = folder.ok("apply", "--auto-approve", code=1)
    assert re.search(r"error\[(hazard-emptied|empty-file|wrong-type|no-manifests)\]", ran.err)
    assert (folder.root / STATE).read_bytes() == state


# -- environments, keys and states -----------------------------------------------------------------


def test_an_environment_that_does_not_exist(folder: Folder) -> None:
    write_case(folder, GOOD)
    ran = folder.ok("validate", "-e", "locla", code=2)
    assert (ran.out, ran.err) == (
        "",
        'error[unknown-environment]: no environment is named "locla"\n'
        "  why: reconciler.yaml declares local.\n"
        '  fix: did you mean "local"?\n'
        "\n"
        "1 error, 0 warnings.\n",
    )


def test_no_project(tmp_path: Path) -> None:
    assert run_here("-C", str(tmp_path), "plan").code == 2
    assert "error[no-project]" in run_here("-C", str(tmp_path), "plan").err
    assert "error[no-folder]" in run_here("-C", str(tmp_path / "gone"), "plan").err


def test_no_manifest_at_all(folder: Folder) -> None:
    assert problems_of(folder.ok("plan", code=1)) == [
        "reconciler.yaml: error[no-manifests]: no file matches **/*.yaml, **/*.yml"
    ]


def test_an_api_key_that_is_not_set(folder: Folder) -> None:
    folder.write("reconciler.yaml", PROJECT.replace("target: emulator,", "apiKey: {env: COVEO_TEST_KEY},"))
    write_case(folder, GOOD)
    folder.ok("plan")
    ran = folder.ok("apply", "--auto-approve", code=2)
    assert "error[api-key-needed]: the environment variable COVEO_TEST_KEY is not set\n" in ran.err
    assert not (folder.root / STATE).exists()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 100), "state-not-a-database"),
        (lambda path: (path.unlink(), path.mkdir()), "state-not-a-database"),
        (lambda path: set_version(path, 99), "state-newer-version"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "state-"),
    ],
)
def test_a_state_that_cannot_be_used(folder: Folder, spoil: Callable[[Path], object], code: str) -> None:
    applied(folder)
    spoil(folder.root / STATE)
    for arguments in (("plan",), ("apply", "--auto-approve")):
        ran = folder.ok(*arguments, code=1)
        assert ran.out == ""
        assert f"error[{code}" in ran.err
        assert "  why: " in ran.err and "  fix: " in ran.err
    folder.ok("validate")


def set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()


def test_a_plan_made_for_another_state(folder: Folder) -> None:
    write_case(folder, GOOD)
    folder.ok("plan", "--out", str(folder.root / "plan.json"))
    folder.write("a.yaml", GOOD.replace("x:2", "x:3"))
    folder.ok("apply", "--auto-approve")
    ran = folder.ok("apply", "--auto-approve", str(folder.root / "plan.json"), code=1)
    assert re.search(r"error\[(stale|foreign)-plan\]", ran.err)


def test_a_state_of_another_remote(folder: Folder) -> None:
    applied(folder)
    folder.write("reconciler.yaml", PROJECT.replace("mysourceidb10g", "elsewhere"))
    ran = folder.ok("plan", code=1)
    assert 'error[other-target]: the state speaks of another remote: source "blog" was "mysourceidb10g"' in ran.err
