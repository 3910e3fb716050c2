"""Looks at a project's files without reading them: which are there, and which surely did not change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from reconciler.manifest.cache import CachedFile, ManifestCache, is_racy, row_context
from reconciler.manifest.files import read_text
from reconciler.manifest.inputs import found_digest, set_inputs
from reconciler.manifest.paths import FileStat, FoundFile, ProjectFolder
from reconciler.manifest.project import Project
from reconciler.problems import ManifestError, Problem

if TYPE_CHECKING:
    from reconciler.manifest.overlayfiles import OverlayText


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One manifest file as it lies there, and what the cache has of it.

    `fresh` are the paths of content files that surely are as they were; `leans_hold` says that this is
    all of them, that no other file has come to the sets, and that no grant ended or came back since.
    `unchanged` that the text is as it was, too.
    """

    file: FoundFile
    row: CachedFile | None
    fresh: frozenset[str]
    leans_hold: bool
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """A project's manifest files and overlays, sorted by path, and what is wrong with finding them.

    `as_of` is the instant that they are read for, in seconds since 1970.
    """

    project: Project
    folder: ProjectFolder
    project_file: str
    files: tuple[Surveyed, ...]
    gone: tuple[str, ...]
    problems: tuple[Problem, ...]
    as_of: int
    overlays: tuple[OverlayText, ...] = ()

    @property
    def key(self) -> bytes | None:
        """A digest of all that the manifests say, or None when that cannot be told without reading."""
        if self.problems or not all(entry.unchanged for entry in self.files):
            return None
        rows = {entry.file.path: entry.row for entry in self.files if entry.row is not None}
        return key_of(self.project, rows, self.as_of, self.overlays)


def key_of(project: Project, rows: Mapping[str, CachedFile], as_of: int, overlays: Sequence[OverlayText] = ()) -> bytes:
    """Return a digest of a project and of what its files were when they were read, and as of when if that matters."""
    total = hashlib.sha256(repr(project).encode())
    if any(row.leans.has_grants_that_end for row in rows.values()):
        total.update(str(as_of).encode())
    for path in sorted(rows):
        total.update(path.encode() + b"\0" + rows[path].digest + rows[path].leans.digest())
    for overlay in overlays:
        total.update(overlay.path.encode() + b"\0" + hashlib.sha256(overlay.text).digest())
    return total.digest()


def survey(project: Project, folder: ProjectFolder, project_file: str, cache: ManifestCache, *, as_of: int) -> Survey:
    """Return what lies in a project's folder.

    Raises ManifestError when there is no manifest at all: nothing found is never "nothing wanted".
    """
    found, problems = manifest_files(project, folder, project_file)
    overlays: tuple[OverlayText, ...] = ()
    if project.overlays:
        from reconciler.manifest.overlayfiles import overlay_files

        overlays, missing = overlay_files(project, folder)
        problems += missing
    cached = cache.load()
    context = context_of(project)
    files = tuple(
        _surveyed(
            project,
            folder,
            file,
            cached.get(file.path),
            row_context(context, is_project=file.path == project_file),
            as_of,
        )
        for file in found
    )
    present = {file.path for file in found}
    gone = tuple(path for path in cached if path not in present)
    return Survey(project, folder, project_file, files, gone, tuple(problems), as_of, overlays)


def _surveyed(
    project: Project, folder: ProjectFolder, file: FoundFile, row: CachedFile | None, context: bytes, as_of: int
) -> Surveyed:
    if row is None or row.context != context:
        return Surveyed(file, None, frozenset(), leans_hold=False, unchanged=False)
    fresh, holds = _leans(project, folder, row)
    holds = holds and row.leans.holds_at(as_of)
    return Surveyed(file, row, fresh, holds, holds and row.is_fresh(file.stat))


def _leans(project: Project, folder: ProjectFolder, row: CachedFile) -> tuple[frozenset[str], bool]:
    """Return the content files that surely did not change since the row was written, and whether all hold."""
    leans = row.leans
    if not leans.inputs and not leans.patterns:
        return frozenset(), True
    known: dict[str, FileStat] = {}
    holds = True
    variables = dict(project.variables)
    for pattern in leans.patterns:
        inputs = set_inputs(orjson.loads(pattern.spec), folder, variables)
        known.update({file.path: file.stat for file in inputs.files})
        holds = holds and not inputs.problems and found_digest(inputs) == pattern.found
        holds = holds and not any(is_racy(file.stat, row.read_at) for file in inputs.files)
    fresh = set()
    for entry in leans.inputs:
        stat = known.get(entry.path) or _stat(folder, entry.path)
        if stat is not None and stat == entry.stat and not is_racy(stat, row.read_at):
            fresh.add(entry.path)
        else:
            holds = False
    return frozenset(fresh), holds


def _stat(folder: ProjectFolder, path: str) -> FileStat | None:
    found = folder.resolve(path)
    return None if isinstance(found, Problem) else found.stat


def manifest_files(project: Project, folder: ProjectFolder, project_file: str) -> tuple[list[FoundFile], list[Problem]]:
    """Return the manifest files of a project, the project's own file among them, sorted by path."""
    # What lies beside policies is their data, and an overlay is one in every environment.
    set_apart = (*(() if project.policies is None else (project.policies,)), *project.overlay_files)
    globbed = folder.glob(project.manifests, set_apart)
    found = {entry.path: entry for entry in globbed.files}
    if not found.keys() - {project_file} and not globbed.problems:
        own = folder.resolve(project_file)
        if isinstance(own, Problem):
            raise ManifestError(own)
        if not _holds_resources(folder, project_file):
            raise ManifestError(_no_manifests(project))
    if project_file not in found:
        own = folder.resolve(project_file)
        if isinstance(own, Problem):
            raise ManifestError(own)
        found[project_file] = FoundFile(own.relative, own.stat)
    return [found[path] for path in sorted(found)], list(globbed.problems)


def context_of(project: Project) -> bytes:
    """Digest what entries mean beside their text: names, ids and variables, not guardrails or hosts."""
    meaning = repr((project.sources, project.providers, project.variables))
    return hashlib.sha256(meaning.encode()).digest()


def _holds_resources(folder: ProjectFolder, file: str) -> bool:
    from reconciler.manifest.parts import parts_of
    from reconciler.manifest.sections import SECTIONS

    parts, problems = parts_of(read_text(folder, file), file)
    return bool(problems) or any(part.name in SECTIONS for part in parts)


def _no_manifests(project: Project) -> Problem:
    return Problem(
        "no-manifests",
        f"no file matches {', '.join(project.manifests)}",
        why="nothing found is never taken for nothing wanted: a folder may have vanished.",
        fix="add manifests, or correct `manifests` in reconciler.yaml.",
        where="reconciler.yaml",
    )
