"""`reconciler test`: access tests of manifests, held against the manifests and the state, told in every form."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.builders import Folder, Remote

MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - uri: file:///alpha/1
    permissions: {allowed: [group:AlphaTeam], denied: [user:bob@example.com]}
    metadata: {Classification: secret}
  - {uri: file:///alpha/2, permissions: {allowed: [group:AlphaTeam]}}
  - {uri: file:///ghost, permissions: {allowed: [group:AlphaTeam], denied: [user:ghost@example.com]}}
  - {uri: "http://post", source: blog, title: Post}
groups:
  - {name: AlphaTeam, members: [user:alice@example.com, user:bob@example.com, group:Inner]}
  - {name: Inner, members: [user:carol@example.com]}
"""

TESTS = """accessTests:
  - {who: user:alice@example.com, canView: ["file:///alpha/*"]}
  - {who: [user:bob@example.com, user:carol@example.com], cannotView: ["file:///alpha/**"]}
  - items: ["file:///alpha/*"]
    onlyVisibleTo: [user:alice@example.com, group:Inner]
    where: {classification: secret}
"""


def told(folder: Folder, tests: str) -> Folder:
    folder.write("all.yaml", MANIFEST)
    folder.write("tests.yaml", f"# Who must not see what.\ndefaults: {{provider: corp}}\n{tests}")
    return folder


def test_tests_that_hold_pass(folder: Folder) -> None:
    passing = TESTS.replace('cannotView: ["file:///alpha/**"]', 'canView: ["http://post"]')
    assert told(folder, passing).ok("test").out == (
        "3 access tests: 3 passed, 0 failed\nNo test speaks of 1 of 4 items and 1 of 4 people\n"
    )


def test_a_failure_names_the_place_the_item_the_person_and_the_chain(folder: Folder) -> None:
    ran = told(folder, TESTS).ok("test", code=1)
    assert (
        ran.out
        == """\
tests.yaml:5:5: failed: user:bob@example.com, user:carol@example.com cannot view file:///alpha/**
  user:carol@example.com sees file:///alpha/1 of handbook
  `-- level 1 decides: all of its sets let them in
      |-- set 1 allows group:AlphaTeam (corp)
      |     user:carol@example.com (corp) member of group:Inner (corp)
      |     group:Inner (corp) member of group:AlphaTeam (corp)
  user:bob@example.com sees file:///alpha/2 of handbook
  `-- level 1 decides: all of its sets let them in
      |-- set 1 allows group:AlphaTeam (corp)
      |     user:bob@example.com (corp) member of group:AlphaTeam (corp)
  user:carol@example.com sees file:///alpha/2 of handbook
  `-- level 1 decides: all of its sets let them in
      |-- set 1 allows group:AlphaTeam (corp)
      |     user:carol@example.com (corp) member of group:Inner (corp)
      |     group:Inner (corp) member of group:AlphaTeam (corp)
3 access tests: 2 passed, 1 failed
No test speaks of 2 of 4 items and 1 of 4 people
"""
    )


def test_who_must_see_and_is_denied_is_told_by_what(folder: Folder) -> None:
    ran = told(folder, "accessTests: [{who: user:bob@example.com, canView: [file:///alpha/1]}]\n").ok("test", code=1)
    assert "user:bob@example.com does not see file:///alpha/1 of handbook" in ran.out
    assert "set 1 denies user:bob@example.com (corp)" in ran.out


def test_what_the_documents_leave_open_fails_and_says_so(folder: Folder) -> None:
    ran = told(folder, 'accessTests: [{who: user:alice@example.com, cannotView: ["file:///ghost"]}]\n').ok(
        "test", code=1
    )
    assert "alice@example.com may see file:///ghost of handbook: the documents leave open whether they do" in ran.out
    assert "set 1 allows group:AlphaTeam (corp)" in ran.out


def test_what_is_public_is_seen_by_whoever_did_not_log_in(folder: Folder) -> None:
    ran = told(folder, 'accessTests: [{items: ["http://**"], onlyVisibleTo: [group:AlphaTeam]}]\n').ok("test", code=1)
    assert "whoever did not log in sees http://post of blog" in ran.out
    assert "the source is shared: everybody sees its items" in ran.out


def test_what_tests_nothing_fails_and_whom_nobody_knows_is_noted(folder: Folder) -> None:
    ran = told(
        folder,
        'accessTests:\n  - {who: user:bbo@example.com, cannotView: ["file:///alpha/1", "file:///beta/*"]}\n'
        '  - {who: group:Nobodies, cannotView: ["file:///alpha/1"]}\n'
        '  - {who: user:bob@example.com, cannotView: ["file:///**"], where: {classification: top}}\n',
    ).ok("test", code=1)
    assert "no item matches file:///beta/*: it tests nothing" in ran.out
    assert "note: user:bbo@example.com is declared nowhere" in ran.out
    assert "there is nobody in group:Nobodies: it tests nothing" in ran.out
    assert 'no item matches file:///** where classification is "top": it tests nothing' in ran.out


def test_what_is_not_named_is_counted(folder: Folder) -> None:
    crowd = ", ".join(f"user:p{number}@example.com" for number in range(8))
    told(folder, 'accessTests: [{who: "user:p*", cannotView: [file:///crowd]}]\n')
    folder.write("crowd.yaml", f"defaults: {{provider: corp}}\ngroups: [{{name: Crowd, members: [{crowd}]}}]\n")
    folder.write("all.yaml", MANIFEST + "---\nitems: [{uri: file:///crowd, permissions: {allowed: [group:Crowd]}}]\n")
    assert "  and 3 more pairs of somebody and an item that they see\n" in folder.ok("test", code=1).out


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("accessTests:\n- TEST\n# between\n- TEST\n---\naccessTests:\n\n- TEST\n", [3, 5, 9]),
        ("accessTests: [TEST,\n  TEST]\n", [2, 3]),
        ('{"accessTests": [\n  TEST]}\n', [3]),
    ],
)
def test_places_are_told_in_every_style(folder: Folder, text: str, lines: list[int]) -> None:
    told(folder, "users: []\n")
    test = '{who: {user: alice@example.com, provider: corp}, canView: ["http://post"]}'
    folder.write("tests.yaml", "# A comment before.\n" + text.replace("TEST", test))
    found = folder.ok("test", "--format", "json").json["tests"]
    assert [(entry["file"], entry["line"]) for entry in found] == [("tests.yaml", line) for line in lines]


def test_that_there_are_none_is_told(folder: Folder) -> None:
    assert told(folder, "users: []\n").ok("test").out == "There are no access tests.\n"
    assert folder.ok("test", "--format", "json").json["tests"] == []


def test_as_json(folder: Folder) -> None:
    found = told(folder, TESTS).ok("test", "--format", "json", code=1).json
    assert (found["passed"], found["failed"]) == (2, 1)
    assert found["coverage"] == {"items": 4, "items_untested": 2, "people": 4, "people_untested": 1}
    failed = found["tests"][1]
    assert (failed["file"], failed["line"], failed["counts"]) == ("tests.yaml", 5, {"seen": 3})
    first = failed["failures"][0]
    assert (first["subject"], first["identity"]) == ("item/handbook/file:///alpha/1", "user/corp/carol@example.com")
    assert [step["to"] for step in first["why"]["chain"]] == ["group/corp/Inner", "group/corp/AlphaTeam"]


def test_what_no_test_speaks_of_is_listed_on_demand(folder: Folder) -> None:
    told(folder, "accessTests: [{who: group:Inner, canView: ['file:///alpha/*']}]\n")
    assert folder.ok("test", "--coverage").out == (
        "1 access test: 1 passed, 0 failed\nNo test speaks of 2 of 4 items and 3 of 4 people\n"
        "  item/blog/http://post\n  item/handbook/file:///ghost\n"
        "  user:alice@example.com\n  user:bob@example.com\n  user:ghost@example.com\n"
    )
    assert folder.ok("test", "--coverage", "--format", "json").json["coverage"]["untested"] == {
        "items": ["item/blog/http://post", "item/handbook/file:///ghost"],
        "people": [f"user/corp/{name}@example.com" for name in ("alice", "bob", "ghost")],
    }
    root = ElementTree.fromstring(folder.ok("test", "--coverage", "--format", "junit").out)
    listed = root.findtext("testsuite/system-out")
    assert listed is not None and listed.splitlines()[::4] == ["item/blog/http://post", "user:ghost@example.com"]
    assert "untested" not in folder.ok("test", "--format", "json").json["coverage"]


def test_a_person_with_aliases_is_listed_once(folder: Folder) -> None:
    told(
        folder,
        "aliases: [{of: user:alice@example.com, is: [{provider: Email Security Provider, identity: user:a@x.org}]}]\n",
    )
    out = folder.ok("test", "--coverage").out
    assert "  user:alice@example.com\n" in out and "user:a@x.org" not in out


def test_as_junit_xml(folder: Folder) -> None:
    root = ElementTree.fromstring(told(folder, TESTS).ok("test", "--format", "junit", code=1).out)
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    cases = root.findall("testsuite/testcase")
    assert [(case.get("file"), case.get("line"), case.find("failure") is None) for case in cases] == [
        ("tests.yaml", "4", True),
        ("tests.yaml", "5", False),
        ("tests.yaml", "6", True),
    ]
    failure = cases[1].find("failure")
    assert failure is not None and failure.text is not None
    assert failure.get("message") == "user:carol@example.com sees file:///alpha/1 of handbook"
    assert "group:Inner (corp) member of group:AlphaTeam (corp)" in failure.text


def test_names_stay_text_in_xml_and_on_terminals(folder: Folder) -> None:
    tests = 'accessTests: [{who: "user:<b>\\u202e&\\u0008", cannotView: ["x:]]>*"]}]\n'
    root = ElementTree.fromstring(told(folder, tests).ok("test", "--format", "junit", code=1).out)
    (case,) = root.findall("testsuite/testcase")
    assert case.get("name") == "user:<b>\\u202e&\\x08 cannot view x:]]>*"


def test_what_was_accepted_is_tested_apart_from_what_is_asked_for(folder: Folder, remote: Remote) -> None:
    told(folder, 'accessTests: [{who: user:dora@example.com, cannotView: ["file:///alpha/*"]}]\n').at(remote)
    folder.ok("apply", "--auto-approve")
    since = remote.total
    folder.write("all.yaml", MANIFEST.replace("[user:carol@example.com]", "[user:dora@example.com]"))

    assert "dora@example.com sees file:///alpha/1" in folder.ok("test", code=1).out
    assert "1 passed, 0 failed" in folder.ok("test", "--of", "recorded").out
    assert remote.total == since


def test_a_second_run_reads_tests_from_the_cache_and_says_the_same(folder: Folder) -> None:
    first = told(folder, TESTS).ok("test", "--format", "json", code=1).out
    assert folder.ok("test", "--format", "json", code=1).out == first
    folder.write("all.yaml", MANIFEST + "users: []\n")
    assert folder.ok("test", "--format", "json", code=1).out == first


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{who: user:a, canVeiw: ['x:1']}", 'unknown key "canVeiw"'),
        ("{who: user:a}", "give who with canView or cannotView, or items or where with onlyVisibleTo"),
        ("{canView: ['x:1']}", "give who with canView or cannotView, or items or where with onlyVisibleTo"),
        ("{onlyVisibleTo: [user:a]}", "give who with canView or cannotView, or items or where with onlyVisibleTo"),
        ("{items: ['x:1']}", "give who with canView or cannotView, or items or where with onlyVisibleTo"),
        ("{who: {user: a, provider: crop}, canView: ['x:1']}", 'did you mean "corp"?'),
        ("{who: [user:b, 'user: a'], canView: ['x:1']}", '" a" cannot be the name of an identity'),
    ],
)
def test_tests_that_say_nothing_or_that_nobody_understands_are_errors(folder: Folder, entry: str, says: str) -> None:
    ran = told(folder, f"accessTests:\n  - {entry}\n").ok("test", code=1)
    assert "tests.yaml:4:" in ran.err and says in ran.err
    assert ran.out == ""
