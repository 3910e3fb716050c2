"""Reads many manifest files, by several processes where that pays."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from reconciler.manifest.cache import CachedFile, row_context
from reconciler.manifest.entries import Reader
from reconciler.manifest.files import read_text
from reconciler.manifest.paths import FileStat
from reconciler.manifest.record import Emitted, FileRecord, Leans, decode_record, empty_record, encode_record
from reconciler.problems import ManifestError, Position, Problem

# Below this many bytes of text a second process costs more than it saves.
PARALLEL_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """One file to read.

    `old` is what an earlier text of it came to. With `row` it is still true if the text has the same
    digest: only the file's stat is in doubt.
    """

    path: str
    stat: FileStat
    is_project: bool
    row: CachedFile | None
    old: FileRecord | None


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a file: its row for the cache, its record, and what was found beside it."""

    path: str
    row: CachedFile
    record: FileRecord
    emitted: list[Emitted] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def run_jobs(reader: Reader, jobs: Sequence[Job], clock: Callable[[], int]) -> list[Done]:
    """Return what became of each job, in their order."""
    workers = min(os.cpu_count() or 1, 8)
    sizes = [_work(job) for job in jobs]
    if sum(sizes) < PARALLEL_BYTES or workers < 2 or len(jobs) < 2 or not hasattr(os, "fork"):
        return [_unpacked(_run_job(reader, job, clock), job) for job in jobs]
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Forked workers inherit reader and jobs, so nothing is copied on the way in.
    _SHARED[:] = [reader, jobs, clock]
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
            shares = _shares(sizes, workers * 4)
            results = [done for part in pool.map(_run_shared, shares) for done in part]
    finally:
        _SHARED.clear()
    return [_unpacked(result, job) for result, job in zip(results, jobs, strict=True)]


def _work(job: Job) -> int:
    """Return how many bytes a job will probably have to parse: of a file that was read before, few."""
    return job.stat.size // 10 if job.old is not None and job.old.reusable else job.stat.size


# A record travels packed, and unpacked only once: None means that the old one is still true.
_Result = tuple[CachedFile, FileRecord | None, list[Emitted], list[Problem]]

_SHARED: list[object] = []


def _run_shared(numbers: range) -> list[_Result]:
    reader, jobs, clock = _SHARED
    gc.disable()
    results: list[_Result] = []
    for number in numbers:
        row, _, emitted, problems = _run_job(reader, jobs[number], clock)  # type: ignore[index,arg-type]
        results.append((row, None, emitted, problems))
    return results


def _unpacked(result: _Result, job: Job) -> Done:
    row, record, emitted, problems = result
    if record is None:
        record = decode_record(row.packed) if row.packed or job.old is None else job.old
    return Done(job.path, row, record, emitted, problems)


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


def _run_job(reader: Reader, job: Job, clock: Callable[[], int]) -> _Result:
    read_at = clock()
    try:
        text = read_text(reader.folder, job.path)
    except ManifestError as error:
        empty = empty_record(reader.context)
        row = CachedFile(job.stat, read_at, b"", reader.context, Leans([], []), encode_record(empty))
        return row, empty, [], [problem.at(Position(job.path, 1, 1)) for problem in error.problems]
    digest = hashlib.sha256(text).digest()
    if job.row is not None and job.row.digest == digest:
        return replace(job.row, stat=job.stat, read_at=read_at), job.old, [], []
    reading = reader.read(text, job.path, is_project=job.is_project, old=job.old)
    record = reading.record
    context = row_context(reader.context, is_project=job.is_project)
    row = CachedFile(job.stat, read_at, digest, context, record.leans, encode_record(record))
    return row, record, reading.emitted, reading.problems
