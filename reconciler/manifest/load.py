"""The front door: a project's folder -> its desired state, and every problem that its files have.

Files that did not change are not read, changed ones are read entry by entry, many at once by several
processes. The order of files and the number of processes never show in what comes out.
"""

from __future__ import annotations

import gc
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import orjson

from reconciler.manifest.cache import CachedFile, ManifestCache, is_racy
from reconciler.manifest.desired import Desired, assemble
from reconciler.manifest.entries import Emitted, Reader, empty_record, found_digest
from reconciler.manifest.files import read_text
from reconciler.manifest.paths import FileStat, FoundFile, ProjectFolder
from reconciler.manifest.project import Project
from reconciler.manifest.record import FileRecord, decode_record, encode_record
from reconciler.manifest.sets import set_inputs
from reconciler.model.address import Address
from reconciler.model.states import Resource
from reconciler.problems import ManifestError, Problem, Severity

# Below this many bytes of text a second process costs more than it saves.
PARALLEL_BYTES = 4 << 20


@dataclass(slots=True)
class Loaded:
    """A project's manifests, read. `problems` are sorted by position; with an error among them `desired` is partial."""

    project: Project
    folder: ProjectFolder
    desired: Desired
    problems: tuple[Problem, ...]
    files: tuple[str, ...]
    _records: list[FileRecord] = field(default_factory=list)
    _reader: Reader | None = None

    def resources(self, addresses: Iterable[str]) -> dict[str, Resource]:
        """Return the desired resources at these addresses, reading again what was only counted."""
        entries = self.entries(addresses)
        return {address: Resource(Address(address), entry.doc, entry.shared) for address, entry in entries.items()}

    def entries(self, addresses: Iterable[str]) -> dict[str, Emitted]:
        """Return what the manifests say of these addresses, with where the bodies come from."""
        emitted = self.desired.emitted
        wanted = [address for address in addresses if address in self.desired.fingerprints]
        missing = {address for address in wanted if address not in emitted}
        if missing:
            self._read_again(missing)
        return {address: emitted[address] for address in wanted}

    def _read_again(self, missing: set[str]) -> None:
        assert self._reader is not None
        reader = replace(self._reader, recorded={})
        again: list[list[Emitted]] = []
        for file, record in zip(self.files, self._records, strict=True):
            anew = _entries_of(record, missing)
            if anew or (record.of_each and any(address.startswith("alias/") for address in missing)):
                reading = reader.read(read_text(self.folder, file), file, is_project=True, old=record, anew=anew)
                again.append(reading.emitted)
        fresh = assemble(self._records, again, {})
        for address in missing:
            entry = fresh.emitted.get(address)
            if entry is None:
                raise ManifestError(_changed_meanwhile())
            shared = self.desired.shared.get(address)
            models = entry if shared is None else replace(entry, shared=shared)
            self.desired.emitted[address] = models


@dataclass(frozen=True, slots=True)
class _Job:
    """One file to look at: `cached` is what the cache has of it, `fresh` whether its inputs are unchanged."""

    path: str
    stat: FileStat
    is_project: bool
    cached: CachedFile | None
    inputs_unchanged: bool
    old: FileRecord | None


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a job: the row for the cache, and what was found beside it."""

    row: CachedFile
    emitted: list[Emitted]
    problems: list[Problem]


def load_manifests(
    project: Project,
    folder: ProjectFolder,
    project_file: str,
    *,
    recorded: Mapping[str, bytes] | None,
    cache: ManifestCache,
    keep_bodies: bool = False,
    clock: Callable[[], int] = time.time_ns,
) -> Loaded:
    """Read a project's manifests against what is recorded, or (None) without handing out any resource.

    `keep_bodies` hands out the content that manifests hold themselves. Raises ManifestError when
    there is no manifest at all: nothing found is never "nothing wanted".
    """
    reader = Reader(project, folder, _context(project), recorded, keep_bodies)
    found, problems = manifest_files(project, folder, project_file)
    cached = cache.load()
    with _bulk():
        done = _read_all(reader, found, project_file, cached, clock)
        records = [decode_record(entry.row.packed) for entry in done]
        desired = assemble(records, [entry.emitted for entry in done], recorded or {})
    problems += [problem for entry in done for problem in entry.problems]
    files = tuple(entry.path for entry in found)
    if desired.suspicions:
        from reconciler.manifest.crossfile import confirm

        problems += confirm(desired, files, records, lambda file: read_text(folder, file))
    rows = [
        (file, entry.row)
        for file, entry in zip(files, done, strict=True)
        if cached.get(file) is not entry.row and not entry.problems
    ]
    cache.save(rows, (path for path in cached if path not in set(files)))
    return Loaded(
        project, folder, desired, tuple(sorted(problems, key=lambda found: found.sort_key)), files, records, reader
    )


def manifest_files(project: Project, folder: ProjectFolder, project_file: str) -> tuple[list[FoundFile], list[Problem]]:
    """Return the manifest files of a project, the project's own file among them, sorted by path."""
    globbed = folder.glob(project.manifests)
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


def _holds_resources(folder: ProjectFolder, file: str) -> bool:
    from reconciler.manifest.entries import SECTIONS
    from reconciler.manifest.parts import parts_of

    parts, problems = parts_of(read_text(folder, file), file)
    return bool(problems) or any(part.name in SECTIONS for part in parts)


def _context(project: Project) -> bytes:
    """Digest what entries mean beside their text: names, ids and variables, not guardrails or hosts."""
    meaning = repr((project.sources, project.providers, project.variables))
    return hashlib.sha256(meaning.encode()).digest()


# -- reading many files ----------------------------------------------------------------------------


def _read_all(
    reader: Reader,
    found: Sequence[FoundFile],
    project_file: str,
    cached: Mapping[str, CachedFile],
    clock: Callable[[], int],
) -> list[_Done]:
    jobs: list[_Job] = []
    done: dict[int, _Done] = {}
    for number, file in enumerate(found):
        row = cached.get(file.path)
        if row is not None and row.context != reader.context:
            row = None
        record = row.record() if row is not None else None
        if row is None or record is None:
            jobs.append(_Job(file.path, file.stat, file.path == project_file, None, False, None))
            continue
        old, unchanged = _without_stale_inputs(reader, record, row.read_at)
        if unchanged and row.is_fresh(file.stat):
            # What differs from the state is read again when the plan asks for it.
            done[number] = _Done(row, [], [])
            continue
        jobs.append(_Job(file.path, file.stat, file.path == project_file, row, unchanged, old))
    results = iter(_run_jobs(reader, jobs, clock))
    return [done[number] if number in done else next(results) for number in range(len(found))]


def _without_stale_inputs(reader: Reader, record: FileRecord, read_at: int) -> tuple[FileRecord, bool]:
    """Return the record with only those inputs that are surely unchanged, and whether that is all of them."""
    if not record.inputs and not record.patterns:
        return record, True
    known = {}
    variables = dict(reader.project.variables)
    unchanged = True
    for pattern in record.patterns:
        inputs = set_inputs(orjson.loads(pattern.spec), reader.folder, variables)
        known.update({file.path: file.stat for file in inputs.files})
        unchanged = unchanged and found_digest(inputs) == pattern.found and not inputs.problems
        unchanged = unchanged and not any(is_racy(file.stat, read_at) for file in inputs.files)
    fresh = []
    for entry in record.inputs:
        stat = known.get(entry.path)
        if stat is None:
            now = reader.folder.resolve(entry.path)
            stat = None if isinstance(now, Problem) else now.stat
        if stat == entry.stat and not is_racy(stat, read_at):
            fresh.append(entry)
    if len(fresh) == len(record.inputs):
        return record, unchanged
    record.inputs = fresh
    return record, False


def _run_jobs(reader: Reader, jobs: Sequence[_Job], clock: Callable[[], int]) -> list[_Done]:
    size = sum(job.stat[0] for job in jobs)
    workers = min(os.cpu_count() or 1, 8)
    if size < PARALLEL_BYTES or workers < 2 or len(jobs) < 2 or not hasattr(os, "fork"):
        return [_run_job(reader, job, clock) for job in jobs]
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Forked workers inherit reader and jobs, so nothing is copied on the way in.
    _SHARED[:] = [reader, jobs, clock]
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
            chunks = _shares([job.stat[0] for job in jobs], workers * 4)
            return [done for part in pool.map(_run_shared, chunks) for done in part]
    finally:
        _SHARED.clear()


_SHARED: list[object] = []


def _run_shared(numbers: range) -> list[_Done]:
    reader, jobs, clock = _SHARED
    gc.disable()
    return [_run_job(reader, jobs[number], clock) for number in numbers]  # type: ignore[index,arg-type]


def _shares(sizes: Sequence[int], count: int) -> list[range]:
    """Cut a sequence of jobs into consecutive runs of about the same number of bytes."""
    share = sum(sizes) / count
    runs: list[range] = []
    first, total = 0, 0
    for number, size in enumerate(sizes):
        total += size
        if total >= share * (len(runs) + 1):
            runs.append(range(first, number + 1))
            first = number + 1
    if first < len(sizes):
        runs.append(range(first, len(sizes)))
    return runs


def _run_job(reader: Reader, job: _Job, clock: Callable[[], int]) -> _Done:
    read_at = clock()
    try:
        text = read_text(reader.folder, job.path)
    except ManifestError as error:
        return _Done(_row(job, read_at, b"", empty_record(reader.context), reader), [], list(error.problems))
    digest = hashlib.sha256(text).digest()
    if job.cached is not None and job.inputs_unchanged and job.cached.digest == digest:
        row = replace(job.cached, stat=job.stat, read_at=read_at)
        return _Done(row, [], [])
    reading = reader.read(text, job.path, is_project=job.is_project, old=job.old)
    return _Done(_row(job, read_at, digest, reading.record, reader), reading.emitted, reading.problems)


def _row(job: _Job, read_at: int, digest: bytes, record: FileRecord, reader: Reader) -> CachedFile:
    return CachedFile(job.stat, read_at, digest, reader.context, encode_record(record))


def _entries_of(record: FileRecord, addresses: set[str]) -> set[int]:
    """Return the numbers of the entries that gave any of these addresses."""
    hits = [number for number, address in enumerate(record.address_list()) if address in addresses]
    if not hits:
        return set()
    entries = set()
    first = 0
    remaining: Iterator[int] = iter(hits)
    hit = next(remaining, None)
    for entry, count in enumerate(record.counts):
        first += count
        while hit is not None and hit < first:
            entries.add(entry)
            hit = next(remaining, None)
    return entries


@contextmanager
def _bulk() -> Iterator[None]:
    """Switch the cyclic garbage collector off: values by the hundred thousand hold no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def has_errors(problems: Iterable[Problem]) -> bool:
    """Whether any of the problems stops a command."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def _no_manifests(project: Project) -> Problem:
    return Problem(
        "no-manifests",
        f"no file matches {', '.join(project.manifests)}",
        why="nothing found is never taken for nothing wanted: a folder may have vanished.",
        fix="add manifests, or correct `manifests` in reconciler.yaml.",
        where="reconciler.yaml",
    )


def _changed_meanwhile() -> Problem:
    return Problem(
        "changed-meanwhile",
        "a manifest changed while the plan was being made",
        why="the plan would mix two versions.",
        fix="run the command again.",
    )
