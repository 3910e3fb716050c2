"""`fmt`: which files it writes, how, and what it says; what formatting itself keeps is in `test_formatting_laws`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.builders import Folder, child_environment, command_line, run_here

UGLY = """\
# a manifest
defaults:   {source: blog}


items:
- uri: 'https://example.com/a'   # the first
  title:    A
"""
FINE = """\
# a manifest
defaults: {source: blog}

items:
  - uri: "https://example.com/a" # the first
    title: A
"""
# ruamel.yaml moves a comment out of a list in brackets.
REFUSED = "items:\n  - uri: https://example.com/a\n    metadata: {k: [a, # why\n      b]}\n"


def piped(text: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command_line("fmt", "-", *arguments), input=text.encode(), env=child_environment(), capture_output=True
    )


def test_all_manifests_of_the_project_are_formatted_and_named(folder: Folder) -> None:
    path = folder.write("sub/a.yaml", UGLY)
    project = folder.root / "reconciler.yaml"
    before = folder.ok("plan", "--format", "json").json["changes"]

    ran = folder.ok("fmt")

    assert path.read_text() == FINE
    assert f"formatted {os.path.relpath(path)}\n" in ran.out
    assert folder.ok("fmt").out == ""
    assert folder.ok("fmt", "--check").out == ""
    assert folder.ok("plan", "--format", "json").json["changes"] == before
    assert project.exists()


def test_checking_writes_nothing_lists_what_is_not_formatted_and_exits_with_1(folder: Folder) -> None:
    folder.ok("fmt")
    path = folder.write("a.yaml", UGLY)
    folder.write("b.yaml", FINE.replace("/a", "/b"))

    ran = folder.run("fmt", "--check")

    assert (ran.code, ran.out, ran.err) == (1, f"{os.path.relpath(path)}\n", "")
    assert path.read_text() == UGLY


def test_a_difference_is_shown_and_not_written(folder: Folder) -> None:
    path = folder.write("a.yaml", UGLY)
    ran = folder.run("fmt", str(path), "--diff")
    assert ran.code == 0
    assert '+  - uri: "https://example.com/a" # the first\n' in ran.out
    assert "-- uri: 'https://example.com/a'   # the first\n" in ran.out
    assert path.read_text() == UGLY
    assert folder.run("fmt", str(path), "--diff", "--check").code == 1


def test_what_comes_from_stdin_goes_to_stdout() -> None:
    done = piped(UGLY)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, FINE, b"")
    assert piped(FINE).stdout.decode() == FINE
    checked = piped(UGLY, "--check")
    assert (checked.returncode, checked.stdout) == (1, b"<stdin>\n")


def test_what_cannot_be_given_back_exactly_stays_and_the_rest_is_written(folder: Folder) -> None:
    refused = folder.write("a.yaml", REFUSED)
    other = folder.write("b.yaml", UGLY)

    ran = folder.run("fmt", str(refused), str(other))

    assert ran.code == 1 and "error[cannot-format]" in ran.err
    assert refused.read_text() == REFUSED
    assert other.read_text() == FINE
    assert piped(REFUSED).stdout == b""


@pytest.mark.parametrize("text", ["items: [\n", "a: 1\na: 2\n", "a: !!set {b}\n", "\x01"])
def test_what_is_no_manifest_stays_and_its_problem_is_told(folder: Folder, text: str) -> None:
    path = folder.write("a.yaml", text)
    ran = folder.run("fmt", str(path))
    assert ran.code == 1 and "error[" in ran.err and "a.yaml" in ran.err
    assert path.read_text() == text


def test_the_mode_stays_and_a_link_stays_a_link(folder: Folder) -> None:
    path = folder.write("a.yaml", UGLY)
    path.chmod(0o640)
    link = folder.root / "link.yaml"
    link.symlink_to("a.yaml")

    folder.ok("fmt", str(link))

    assert link.is_symlink()
    assert path.read_text() == FINE
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(found.name for found in folder.root.glob("*.yaml")) == ["a.yaml", "link.yaml", "reconciler.yaml"]


@pytest.mark.parametrize("ends", ["\r\n", "\n"])
def test_lines_end_as_they_did(folder: Folder, ends: str) -> None:
    path = folder.write("a.yaml", UGLY.replace("\n", ends).encode())
    folder.ok("fmt", str(path))
    assert path.read_bytes() == FINE.replace("\n", ends).encode()


def test_a_folder_that_cannot_be_written_is_told_and_the_file_stays(plain_user: Path) -> None:
    path = plain_user / "a.yaml"
    path.write_text(UGLY)
    plain_user.chmod(0o500)
    ran = run_here("fmt", str(path))
    plain_user.chmod(0o700)
    assert ran.code == 2 and "error[cannot-write]" in ran.err
    assert path.read_text() == UGLY
    assert [found.name for found in plain_user.iterdir()] == ["a.yaml"]


def test_a_file_that_is_not_there_is_named(folder: Folder) -> None:
    ran = folder.run("fmt", "nothing.yaml")
    assert ran.code == 2 and 'error[no-file]: "nothing.yaml"' in ran.err


def test_files_of_every_environment_are_formatted_without_naming_one(folder: Folder) -> None:
    folder.write(
        "reconciler.yaml", "manifests: [m/*.yaml]\nenvironments: {a: {organization: x}, b: {organization: y}}\n"
    )
    path = folder.write("m/a.yaml", UGLY)
    other = folder.write("other.yaml", UGLY)
    folder.ok("fmt")
    assert (path.read_text(), other.read_text()) == (FINE, UGLY)
