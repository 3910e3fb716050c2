"""`reconciler fmt`: writes YAML as it should look, and leaves alone what it could not give back exactly."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.files import put_in_place
from reconciler.cli.options import project_options
from reconciler.problems import ManifestError, Problem, UsageError

if TYPE_CHECKING:
    from reconciler.manifest.paths import ProjectFolder

_STDIN = "-"


@click.command("fmt")
@click.argument("paths", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--check", is_flag=True, help="Write nothing; list what is not formatted and exit with 1.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing; show what would change.")
@project_options
def command(
    paths: tuple[Path, ...],
    check: bool,
    show_diff: bool,
    directory: str | None,
    environment: str | None,  # noqa: ARG001 - goes with every command, and files are for all environments
) -> int:
    """Format manifests: indentation, quotes and spacing, and nothing that has a meaning.

    Without FILE all manifests of the project, with `-` what comes from stdin, onto stdout. Comments, anchors and
    blocks stay, no key and no entry changes its place. A file that cannot be given back exactly stays as it is, and
    the reason is told (exit code 1).

    Examples:

    \b
        reconciler fmt
        reconciler fmt --check --diff
        reconciler fmt - < manifests/handbook.yaml
    """
    from reconciler.cli.output import show_problems, write
    from reconciler.manifest.load import bulk

    if Path(_STDIN) in paths:
        if len(paths) > 1:
            raise UsageError(Problem("stdin-alone", "`-` stands for stdin alone", fix="leave out the files, or `-`."))
        texts = [_Text("<stdin>", None, sys.stdin.buffer.read())]
    else:
        texts = [_read(path) for path in paths] if paths else _project_texts(directory)
    problems: list[Problem] = []
    changed = 0
    for text in texts:
        with bulk():
            found, made = _formatted(text)
        problems += found
        if text.path is None and not check and not show_diff and not found:
            write(made.decode())
        if made == text.data:
            continue
        changed += 1
        if show_diff:
            write(_diff(text, made))
        elif check:
            write(f"{text.name}\n")
        elif text.path is not None:
            _replace(text.path, made)
            write(f"formatted {text.name}\n")
    if problems:
        show_problems(problems)
    return 1 if problems or (check and changed) else 0


@dataclass(frozen=True, slots=True)
class _Text:
    """A text, what it is called, and where it goes back to (None: stdin)."""

    name: str
    path: Path | None
    data: bytes


def _formatted(text: _Text) -> tuple[Sequence[Problem], bytes]:
    """Return the formatted text, or why it stays as it is."""
    from reconciler.manifest.formatting import Refused, format_yaml

    try:
        return (), format_yaml(text.data, text.name)
    except Refused as refused:
        return refused.problems, text.data


def _read(path: Path) -> _Text:
    try:
        return _Text(path.as_posix(), path, path.read_bytes())
    except OSError as error:
        raise UsageError(
            Problem(
                "no-file", f'"{path}" cannot be read: {os.strerror(error.errno or 0)}', fix="name a manifest, or `-`."
            )
        ) from None


def _project_texts(directory: str | None) -> list[_Text]:
    """Return the project's file and all of its manifests, whichever environment they are for."""
    from reconciler.manifest.files import read_text
    from reconciler.manifest.opening import find_project

    folder, file = find_project(directory)
    found = folder.glob(_patterns(folder, file))
    if found.problems:
        raise ManifestError(*found.problems)
    names = [file, *(entry.path for entry in found.files if entry.path != file)]
    here = os.path.relpath(folder.root)
    return [_Text(Path(here, name).as_posix(), folder.root / name, read_text(folder, name)) for name in names]


def _patterns(folder: ProjectFolder, file: str) -> Sequence[str]:
    from reconciler.manifest.files import read_text
    from reconciler.manifest.projectfile import DEFAULT_MANIFESTS
    from reconciler.manifest.read import read_documents

    values, problems = read_documents(read_text(folder, file), file)
    if problems:
        raise ManifestError(*problems)
    given = [value["manifests"] for value in values if isinstance(value, dict) and value.get("manifests")]
    if not given:
        return DEFAULT_MANIFESTS
    patterns = given[0]
    if isinstance(patterns, list) and all(isinstance(pattern, str) for pattern in patterns):
        return [str(pattern) for pattern in patterns]
    raise ManifestError(
        Problem("bad-manifests", f'`manifests` of "{file}" is no list of patterns', fix="see `reconciler validate`.")
    )


def _diff(text: _Text, made: bytes) -> str:
    before, after = (data.decode(errors="replace").splitlines(keepends=True) for data in (text.data, made))
    lines = unified_diff(before, after, fromfile=text.name, tofile=f"{text.name} (formatted)")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _replace(path: Path, data: bytes) -> None:
    """Put the text in place of the file; a link stays a link, and the mode what it was.

    Raises UsageError when the disk refuses.
    """
    target = Path(os.path.realpath(path))
    try:
        put_in_place(target, (data,), mode=stat.S_IMODE(target.stat().st_mode))
    except OSError as error:
        raise UsageError(
            Problem(
                "cannot-write",
                f'"{path}" cannot be written: {os.strerror(error.errno or 0)}',
                why="the file is as it was.",
                fix="see whether you may write there, and whether the disk is full.",
            )
        ) from None
