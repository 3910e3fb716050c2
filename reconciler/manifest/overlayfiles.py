"""Finds the overlay files of an environment and reads their texts; what stands in them is read in `overlayread`."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.manifest.files import read_text
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Overlay, Project
from reconciler.problems import Problem


@dataclass(frozen=True, slots=True)
class OverlayText:
    """One overlay file: its path, its text, and all that the project says of such files (`rules`, at least one)."""

    path: str
    text: bytes
    rules: tuple[Overlay, ...]


def overlay_files(project: Project, folder: ProjectFolder) -> tuple[tuple[OverlayText, ...], list[Problem]]:
    """Return the overlays of a project's environment, sorted by path, and what is wrong with finding them.

    Raises ManifestError for a file that cannot be read.
    """
    rules: dict[str, list[Overlay]] = {}
    problems: list[Problem] = []
    for overlay in project.overlays:
        globbed = folder.glob(overlay.files)
        problems += globbed.problems
        if not globbed.files and not globbed.problems:
            problems.append(_none_found(project, overlay))
        for found in globbed.files:
            rules.setdefault(found.path, []).append(overlay)
    return tuple(OverlayText(path, read_text(folder, path), tuple(rules[path])) for path in sorted(rules)), problems


def _none_found(project: Project, overlay: Overlay) -> Problem:
    return Problem(
        "no-overlays",
        f'no file matches {", ".join(overlay.files)}, an overlay of environment "{project.environment.name}"',
        why="what it takes away from the manifests would be granted: nothing found is never taken for nothing wanted.",
        fix="add the file, or take the pattern out of `overlays` in reconciler.yaml.",
        where="reconciler.yaml",
    )
