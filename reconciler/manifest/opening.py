"""Finds a project and reads `reconciler.yaml` for one environment.

The project's folder is the one that holds the file: the folder asked for, or `manifests/` in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.manifest.cache import ManifestCache
from reconciler.manifest.files import read_text
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Project
from reconciler.manifest.sections import PROJECT_SECTIONS
from reconciler.problems import ManifestError, Problem, Related, UsageError

if TYPE_CHECKING:
    from reconciler.manifest.parts import Part

PROJECT_FILES = ("reconciler.yaml", "reconciler.yml")


def find_project(directory: str | None) -> tuple[ProjectFolder, str]:
    """Return the project's folder and its file. Raises UsageError when there is none."""
    start = Path(directory or ".")
    if not start.is_dir():
        raise UsageError(
            Problem(
                "no-folder",
                f'"{start}" is no folder' if start.exists() else f'there is no folder "{start}"',
                fix="give the project's folder with -C.",
            )
        )
    for folder in (start, start / "manifests"):
        for name in PROJECT_FILES:
            if (folder / name).is_file():
                return ProjectFolder(folder), name
    raise UsageError(
        Problem(
            "no-project",
            f'there is no reconciler.yaml in "{start}" nor in "{start / "manifests"}"',
            why="it names the sources and providers that manifests speak of.",
            fix="go to the project's folder, or name it with -C DIR.",
        )
    )


def open_project(
    folder: ProjectFolder,
    file: str,
    environment: str | None,
    cache: ManifestCache,
    clock: Callable[[], int] = time.time_ns,
) -> Project:
    """Return what a project's file says for an environment, from the cache where it did not change.

    Raises UsageError for an unknown environment, ManifestError with all problems of the file.
    """
    found = folder.resolve(file)
    if isinstance(found, Problem):
        raise ManifestError(found)
    known = cache.project(environment or "", file, found.stat)
    if known is not None:
        return known
    read_at = clock()
    project = read_project(folder, file, environment)
    cache.save_project(environment or "", file, found.stat, read_at, project)
    return project


def read_project(folder: ProjectFolder, file: str, environment: str | None) -> Project:
    """Return what `reconciler.yaml` says for an environment; raises as `open_project` does."""
    from reconciler.manifest.parts import PieceError, parts_of, whole_parts

    text = read_text(folder, file)
    parts, problems = parts_of(text, file)
    values: dict[str, Any] = {}
    if not problems:
        try:
            values = _values(parts)
        except PieceError as error:
            parts, problems = whole_parts(text, file, error.problems)
            values = _values(parts)
    problems = problems or _repeated(text, parts)
    if problems:
        raise ManifestError(*problems)
    return _resolved(text, parts, values, environment)


def _repeated(text: bytes, parts: list[Part]) -> list[Problem]:
    """Return a problem for each section of the project that stands in a second document, too."""
    from reconciler.manifest.locate import excerpt

    first: dict[str, Part] = {}
    problems = []
    for part in parts:
        if part.name in PROJECT_SECTIONS and first.setdefault(part.name, part) is not part:
            position = part.locate_name()
            problem = Problem(
                "repeated-section",
                f'section "{part.name}" stands twice in this file',
                why="only one of the two could count.",
                fix="join the two.",
                related=(Related(first[part.name].locate_name(), "it stands here first"),),
            )
            problems.append(problem.at(position, excerpt(text, position)))
    return problems


def _values(parts: list[Part]) -> dict[str, Any]:
    return {part.name: part.whole() for part in parts if part.name in PROJECT_SECTIONS}


def _resolved(text: bytes, parts: list[Part], values: dict[str, Any], environment: str | None) -> Project:
    from pydantic import ValidationError

    from reconciler.manifest.complaints import findings_of
    from reconciler.manifest.locate import excerpt
    from reconciler.manifest.projectfile import resolve
    from reconciler.manifest.schema import ProjectSections

    found = []
    project = None
    try:
        sections = ProjectSections.model_validate(values)
    except ValidationError as error:
        found = findings_of(error, values, ProjectSections)
    else:
        project, doubts = resolve(sections, environment)
        found = list(doubts)
    if found or project is None:
        by_name = {part.name: part for part in parts}
        problems = []
        for entry in found:
            part = by_name[str(entry.path[0])]
            position = part.locate(None, entry.path[1:], on_key=entry.on_key)
            problems.append(entry.problem.at(position, excerpt(text, position)))
        raise ManifestError(*sorted(problems, key=lambda problem: problem.sort_key))
    return project
