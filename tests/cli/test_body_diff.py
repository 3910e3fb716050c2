"""`plan --body-diff`: what changes inside small texts, and what an apply keeps for it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence

import pytest

from reconciler.cli import bodydiffs
from tests.builders import Folder

ITEM = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [user:a@example.com]}, body: BODY}
"""


def diff_of(folder: Folder, before: str, after: str) -> list[str]:
    """Return the diff lines of a body that was applied and then changed, as the plan shows them."""
    folder.write("items.yaml", ITEM.replace("BODY", before))
    folder.ok("apply", "--auto-approve")
    folder.write("items.yaml", ITEM.replace("BODY", after))
    return shown(folder)


def shown(folder: Folder) -> list[str]:
    out = folder.ok("plan", "--body-diff", "--detail", "full").out
    return [line[8:] for line in out.splitlines() if line.startswith("      | ")]


def test_texts_in_manifests(folder: Folder) -> None:
    assert diff_of(folder, '{text: "one\\ntwo\\n"}', '{text: "one\\nthree\\n"}') == [
        "@@ -1,2 +1,2 @@",
        " one",
        "-two",
        "+three",
    ]


def test_only_when_asked(folder: Folder) -> None:
    diff_of(folder, "{text: one}", "{text: two}")
    assert "      | " not in folder.ok("plan").out


def test_content_files(folder: Folder) -> None:
    folder.write("page.html", "<p>one</p>\n<p>two</p>\n")
    folder.write("items.yaml", ITEM.replace("BODY", "{file: page.html}"))
    folder.ok("apply", "--auto-approve")
    folder.write("page.html", "<p>one</p>\n<p>2</p>\n")
    assert shown(folder) == ["@@ -1,2 +1,2 @@", " <p>one</p>", "-<p>two</p>", "+<p>2</p>"]
    folder.ok("apply", "--auto-approve")
    folder.write("page.html", "<p>2</p>\n")
    assert shown(folder) == ["@@ -1,2 +1 @@", "-<p>one</p>", " <p>2</p>"]


def test_from_a_file_to_a_text(folder: Folder) -> None:
    folder.write("page.txt", "one\n")
    assert diff_of(folder, "{file: page.txt}", '{text: "two\\n"}') == ["@@ -1 +1 @@", "-one", "+two"]


def test_a_rename_with_changes(folder: Folder) -> None:
    diff_of(folder, '{text: "one\\n"}', '{text: "two\\n"}')
    text = (folder.root / "items.yaml").read_text().replace("/a,", "/b,")
    folder.write("items.yaml", text + "moved: [{from: https://example.com/a, to: https://example.com/b}]\n")
    assert shown(folder) == ["@@ -1 +1 @@", "-one", "+two"]


def test_control_characters_are_visible(folder: Folder) -> None:
    lines = diff_of(folder, "{text: x}", '{text: "a\\e[31mb\\u202e\\rc\\u2028\\x85"}')
    assert "+a\\x1b[31mb\\u202e\\rc\\u2028\\x85" in lines
    for form in ("text", "markdown"):
        out = folder.ok("plan", "--body-diff", "--format", form).out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", out)


def test_line_break_at_the_end(folder: Folder) -> None:
    assert diff_of(folder, '{text: "one\\n"}', '{text: "one"}') == [
        "@@ -1 +1,2 @@",
        " one",
        "+\\ no line break at the end",
    ]


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfe", b"x" * (64 * 1024 + 1)], ids=["nul", "not utf-8", "large"])
def test_no_diff_of_what_is_no_small_text(folder: Folder, content: bytes) -> None:
    folder.write("page.txt", content)
    folder.write("items.yaml", ITEM.replace("BODY", "{file: page.txt}"))
    folder.ok("apply", "--auto-approve")
    folder.write("page.txt", "text\n")
    assert shown(folder) == []
    folder.ok("apply", "--auto-approve")
    folder.write("page.txt", content)
    assert shown(folder) == []


def test_no_diff_of_what_was_not_kept(folder: Folder) -> None:
    diff_of(folder, "{text: one}", "{text: two}")
    for path in (folder.root / ".reconciler").glob("*bodies*"):
        path.unlink()
    assert shown(folder) == []


def test_at_most_200_lines(folder: Folder) -> None:
    before, after = ("".join(f"{word} {n}\\n" for n in range(500)) for word in ("old", "new"))
    lines = diff_of(folder, f'{{text: "{before}"}}', f'{{text: "{after}"}}')
    assert len(lines) == 201
    assert lines[-1] == "... 801 lines left out"


def test_files_are_kept_up_to_a_bound(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodydiffs, "KEPT_FILES", 2)
    names = ["a", "b", "c"]
    for name in names:
        folder.write(f"{name}.txt", f"{name}\n")
    sets = ITEM.partition("items:")[0] + (
        "itemSets:\n  - from: {files: '*.txt'}\n    item: {uri: 'https://example.com/{path}', "
        "permissions: {allowed: [user:a@example.com]}}\n"
    )
    folder.write("items.yaml", sets)
    folder.ok("apply", "--auto-approve")
    for name in names:
        folder.write(f"{name}.txt", f"{name} new\n")
    assert shown(folder).count("@@ -1 +1 @@") == 2


def patched(old: Sequence[str], diff: Sequence[str]) -> list[str]:
    """Apply a unified diff, as `patch` does."""
    made: list[str] = []
    at = 0
    for line in diff:
        if match := re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,\d+)? @@", line):
            start = int(match[1]) - (match[2] != "0")
            made += old[at:start]
            at = start
            assert len(made) + 1 == int(match[3]) + (line.split("+")[1].split(" ")[0].endswith(",0"))
        elif line[0] == "+":
            made.append(line[1:])
        else:
            assert old[at] == line[1:]
            at += 1
            if line[0] == " ":
                made.append(line[1:])
    return [*made, *old[at:]]


@pytest.mark.parametrize("pairs", [bodydiffs._PAIRS, 0])
def test_diffs_make_the_new_text_of_the_old(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodydiffs, "_PAIRS", pairs)
    rng = random.Random(3)
    for _ in range(500):
        old = [rng.choice("abcdefgh") for _ in range(rng.randrange(40))]
        new = list(old)
        for _ in range(rng.randrange(1, 5)):
            place = rng.randrange(len(new) + 1)
            new[place : place + rng.randrange(4)] = [rng.choice("abcxyz") for _ in range(rng.randrange(4))]
        lines = list(bodydiffs.unified(old, new))
        assert patched(old, lines) == new
        assert bool(lines) == (old != new)


def test_no_text_takes_long() -> None:
    rng = random.Random(1)
    cases = [
        (["x"] * 32_000, ["x", "y"] * 16_000),
        ([str(rng.randrange(90)) for _ in range(1000)], [str(rng.randrange(90)) for _ in range(1000)]),
        ([str(rng.randrange(9000)) for _ in range(1000)], [str(rng.randrange(9000)) for _ in range(1000)]),
        ([str(n) for n in range(1000)], [str(n) for n in range(999, -1, -1)]),
        (["x"] * 10_000, ["x", "y"] * 50),
        ([str(n % 100) for n in range(1000)], [str((n * 7 + n // 100) % 100) for n in range(1000)]),
    ]
    started = time.process_time()
    for old, new in cases:
        list(bodydiffs.unified(old, new))
    assert time.process_time() - started < 5
