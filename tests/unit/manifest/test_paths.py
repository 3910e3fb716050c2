from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from reconciler.manifest import paths
from reconciler.manifest.paths import Globbed, ProjectFolder, SafePath, file_stat
from reconciler.problems import ManifestError, Problem


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def code(root: Path, relative: str) -> str:
    found = ProjectFolder(root).resolve(relative)
    assert isinstance(found, Problem)
    assert found.what
    assert found.why
    assert found.fix
    with pytest.raises(ManifestError) as caught:
        ProjectFolder(root).open(relative)
    assert caught.value.problems == (found,)
    return found.code


def names(globbed: Globbed) -> list[str]:
    assert globbed.problems == []
    return [found.path for found in globbed.files]


def test_a_file_is_named_by_its_relative_path(root: Path) -> None:
    put(root, "a/b.txt")
    stat = file_stat((root / "a/b.txt").stat())
    real = str(root.resolve() / "a/b.txt")
    folder = ProjectFolder(root)
    for name in ("a/b.txt", "./a//b.txt", "a/../a/b.txt"):
        assert folder.resolve(name) == SafePath("a/b.txt", real, stat)
    with folder.open("a/b.txt") as file:
        assert file.read() == b"a/b.txt"


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.txt", "a/../../secret.txt", "a/../../project/f", ".."])
def test_a_path_that_leaves_by_its_text_is_refused(root: Path, name: str) -> None:
    put(root, "f", "a/g")
    assert code(root, name) == "path-outside"


@pytest.mark.parametrize("name", ["", "a\0b", "\udcff.txt"])
def test_what_is_no_file_name_is_refused(root: Path, name: str) -> None:
    assert code(root, name) == "bad-file-name"


def test_links_are_followed_only_inside(root: Path) -> None:
    put(root, "real/x.txt")
    (root / "inside").symlink_to("real/x.txt")
    (root / "folder").symlink_to("real")
    (root / "outside").symlink_to("../secret.txt")
    (root / "up").symlink_to("..")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "device").symlink_to("/dev/zero")
    (root / "nowhere-outside").symlink_to("../nothing")
    folder = ProjectFolder(root)
    real = str(root.resolve() / "real/x.txt")
    stat = file_stat((root / "real/x.txt").stat())
    assert folder.resolve("inside") == SafePath("inside", real, stat)
    assert folder.resolve("folder/x.txt") == SafePath("folder/x.txt", real, stat)
    assert folder.resolve("folder/../real/x.txt") == SafePath("real/x.txt", real, stat)
    with folder.open("folder/x.txt") as file:
        assert file.read() == b"real/x.txt"
    for name in ("outside", "up/secret.txt", "absolute", "device", "nowhere-outside"):
        assert code(root, name) == "path-outside"


def test_a_neighbouring_folder_of_like_name_is_outside(tmp_path: Path, root: Path) -> None:
    put(tmp_path / "project-2", "x")
    (root / "x").symlink_to("../project-2/x")
    assert code(root, "x") == "path-outside"


def test_circles_of_links_are_unreadable(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "self").symlink_to("self")
    assert [code(root, name) for name in ("a", "self", "self/x")] == ["file-unreadable"] * 3


def test_a_missing_file_names_its_neighbour(root: Path) -> None:
    put(root, "content/handbook.md")
    (root / "dangling").symlink_to("nothing")
    found = ProjectFolder(root).resolve("content/handbok.md")
    assert found == Problem(
        "file-missing",
        'there is no file "content/handbok.md"',
        "paths are relative to the folder of reconciler.yaml.",
        'did you mean "handbook.md"?',
    )
    for name in ("content/handbook.md/x", "no/where", "dangling"):
        assert code(root, name) == "file-missing"


def test_only_regular_files_are_files(root: Path) -> None:
    put(root, "folder/x")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        try:
            os.chdir(root)  # the name of a socket must be short
            server.bind("socket")
        finally:
            os.chdir(here)
        problems = [ProjectFolder(root).resolve(name) for name in ("folder", "folder/", "fifo", "socket", ".")]
    assert [problem.what for problem in problems if isinstance(problem, Problem)] == [
        '"folder" is a folder, where a file is wanted',
        '"folder/" is a folder, where a file is wanted',
        '"fifo" is a FIFO, where a file is wanted',
        '"socket" is a socket, where a file is wanted',
        '"." is a folder, where a file is wanted',
    ]
    assert [code(root, name) for name in ("folder", "fifo", "socket")] == ["not-a-file"] * 3


def test_a_file_swapped_for_a_fifo_is_refused_without_waiting(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "x")
    folder = ProjectFolder(root)
    found = folder.resolve("x")
    (root / "x").unlink()
    os.mkfifo(root / "x")
    monkeypatch.setattr(ProjectFolder, "_resolve", lambda *_args: found)
    errors: list[ManifestError] = []

    def attempt() -> None:
        with pytest.raises(ManifestError) as caught:
            folder.open("x")
        errors.append(caught.value)

    worker = threading.Thread(target=attempt, daemon=True)
    worker.start()
    worker.join(5)
    assert [error.problems[0].code for error in errors] == ["not-a-file"]


@pytest.mark.parametrize("swapped", ["a", "a/x"])
def test_a_component_swapped_for_a_link_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch, swapped: str) -> None:
    put(root, "a/x")
    put(root.parent, "other/x")
    folder = ProjectFolder(root)
    found = folder.resolve("a/x")
    (root / swapped).rename(root / "old")
    (root / swapped).symlink_to(root.parent / "other" / ("x" if swapped == "a/x" else ""))
    monkeypatch.setattr(ProjectFolder, "_resolve", lambda *_args: found)
    with pytest.raises(ManifestError) as caught:
        folder.open("a/x")
    # A folder that became a link is "no directory" to the system, a file that did is a circle of links.
    assert caught.value.problems[0].code == ("file-missing" if swapped == "a" else "file-unreadable")


def test_an_unreadable_file_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "x")

    def refuse(*_args: object) -> int:
        raise PermissionError(13, "no")

    monkeypatch.setattr(paths, "_open_beneath", refuse)
    with pytest.raises(ManifestError) as caught:
        ProjectFolder(root).open("x")
    assert caught.value.problems[0].what == '"x" cannot be read: permission denied'
    assert code(root, "n" * 300) == "file-unreadable"


TREE = (
    "a.yaml",
    "B.yaml",
    "b.YAML",
    "é.yaml",
    "content/a.html",
    "content/a.md",
    "content/deep/er/b.html",
    "content/deep/c.html",
    "content-2/x.html",
    "x.html",
    "[abc].txt",
    ".hidden.yaml",
    ".git/config.yaml",
    "content/.drafts/d.html",
)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["**/*.yaml"], ["B.yaml", "a.yaml", "é.yaml"]),
        (["*.yaml", "a.yaml"], ["B.yaml", "a.yaml", "é.yaml"]),
        (["content/**/*.html"], ["content/a.html", "content/deep/c.html", "content/deep/er/b.html"]),
        (["./content//*"], ["content/a.html", "content/a.md"]),
        (["content/**"], ["content/a.html", "content/a.md", "content/deep/c.html", "content/deep/er/b.html"]),
        (["**/deep/**/*.html"], ["content/deep/c.html", "content/deep/er/b.html"]),
        (["**/**/c.html"], ["content/deep/c.html"]),
        (["content*/?.html"], ["content-2/x.html", "content/a.html"]),
        (["[a-b].yaml", "[!a-b].html"], ["a.yaml", "x.html"]),
        (["[[]abc].txt"], ["[abc].txt"]),
        ([".git/*", "**/.hidden.yaml"], [".git/config.yaml", ".hidden.yaml"]),
        (["content/.*/d.html"], ["content/.drafts/d.html"]),
        (["nothing/**/*.html", "a.yaml/b"], []),
    ],
)
def test_patterns(root: Path, patterns: list[str], expected: list[str]) -> None:
    put(root, *TREE)
    assert names(ProjectFolder(root).glob(patterns)) == expected


def test_excluded_files_and_folders_are_left_out(root: Path) -> None:
    put(root, *TREE)
    folder = ProjectFolder(root)
    assert names(folder.glob(["**/*.html"], ["content/deep"])) == ["content-2/x.html", "content/a.html", "x.html"]
    assert names(folder.glob(["**/*.html"], ["**/[bc].html", "x*"])) == ["content-2/x.html", "content/a.html"]
    assert names(folder.glob(["content/.drafts/*"], ["**/d.html"])) == []
    assert names(folder.glob(["**/*.html"], ["**"])) == []


def test_stat_is_that_of_the_file(root: Path) -> None:
    put(root, "a", "target")
    (root / "link").symlink_to("target")
    found = {file.path: file.stat for file in ProjectFolder(root).glob(["*"]).files}
    assert found == {
        "a": file_stat((root / "a").stat()),
        "link": file_stat((root / "target").stat()),
        "target": file_stat((root / "target").stat()),
    }


def test_folders_behind_links_are_entered_only_by_name(root: Path) -> None:
    put(root, "real/x.html")
    (root / "link").symlink_to("real")
    (root / "loop").symlink_to(".")
    (root / "out").symlink_to("..")
    (root / "real/up").symlink_to("..")
    folder = ProjectFolder(root)
    assert names(folder.glob(["**/*.html"])) == ["real/x.html"]
    assert names(folder.glob(["**"])) == ["real/x.html"]
    assert names(folder.glob(["link/*.html", "l*/*"])) == ["link/x.html"]
    assert names(folder.glob(["loop/loop/real/*"])) == ["loop/loop/real/x.html"]
    assert names(folder.glob(["loop/**/loop/**"])) == ["loop/loop/real/x.html"]
    assert [problem.code for problem in folder.glob(["out/*"]).problems] == ["path-outside"]


def test_what_matches_but_cannot_be_used_is_reported(root: Path) -> None:
    put(root, "fine.yaml")
    os.mkfifo(root / "fifo.yaml")
    os.mkfifo(root / "fifo.txt")
    (root / "folder.yaml").mkdir()
    (root / "out.yaml").symlink_to("../secret.txt")
    (root / "zero.yaml").symlink_to("/dev/zero")
    (root / "gone.yaml").symlink_to("nothing")
    (root / "loop.yaml").symlink_to("loop.yaml")
    Path(os.fsdecode(bytes(root) + b"/\xff.yaml")).write_text("")
    globbed = ProjectFolder(root).glob(["**/*.yaml"])
    assert [found.path for found in globbed.files] == ["fine.yaml"]
    assert [(problem.code, problem.what) for problem in globbed.problems] == [
        ("bad-file-name", "'\\udcff.yaml' is not a file name that a manifest can hold"),
        ("file-missing", 'there is no file "gone.yaml"'),
        ("file-unreadable", '"loop.yaml" cannot be read: its symbolic links lead in a circle'),
        ("not-a-file", '"fifo.yaml" is a FIFO, where a file is wanted'),
        ("path-outside", '"out.yaml" leads out of the project folder by a symbolic link'),
        ("path-outside", '"zero.yaml" leads out of the project folder by a symbolic link'),
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", "bad-pattern"),
        ("a\\b", "bad-pattern"),
        ("**.html", "bad-pattern"),
        ("content/", "bad-pattern"),
        (".", "bad-pattern"),
        ("/etc/*", "path-outside"),
        ("a/../../*", "path-outside"),
        ("[z-a]*", None),
        ("[", None),
        ("*" * 1, None),
        ("**/" * 200 + "*a*a*a*a*a*a*a*a*a*b", None),
    ],
)
def test_bad_patterns(root: Path, pattern: str, expected: str | None) -> None:
    put(root, "a" * 200)
    problems = ProjectFolder(root).glob([pattern]).problems
    assert [problem.code for problem in problems] == ([expected] if expected else [])


def test_an_unreadable_folder_is_no_empty_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "a/x", "b/x")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("a"):
            raise PermissionError(13, "no")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    globbed = ProjectFolder(root).glob(["**/x"])
    assert [found.path for found in globbed.files] == ["b/x"]
    assert [problem.what for problem in globbed.problems] == ['"a" cannot be read: permission denied']
    assert [problem.code for problem in ProjectFolder(root / "no").glob(["*"]).problems] == ["file-missing"]
