"""The front door: a project's folder -> its desired state, and every problem that its files have.

Files that did not change are not read, changed ones are read entry by entry, many at once by several
processes. The order of files and the number of processes never show in what comes out.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from reconciler.manifest.cache import SECOND_NS, CachedFile, ManifestCache
from reconciler.manifest.desired import Desired, assemble, documents, type_conflicts
from reconciler.manifest.entries import Reader
from reconciler.manifest.files import read_text
from reconciler.manifest.manyfiles import Done, Job, run_jobs
from reconciler.manifest.metatypes import MetadataUse, uses_of
from reconciler.manifest.parts import Part, PieceError, parts_of, whole_parts
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import LintLevel, Project
from reconciler.manifest.record import Emitted, Ending, FileRecord
from reconciler.manifest.sections import LIST_SECTIONS
from reconciler.manifest.spelling import Spelling
from reconciler.manifest.survey import Survey, Surveyed, context_of, key_of, survey
from reconciler.model.accesstest import AccessTest
from reconciler.model.address import Address
from reconciler.model.place import Place
from reconciler.model.states import Resource
from reconciler.problems import ManifestError, Position, Problem, Severity, errors_in

if TYPE_CHECKING:
    from reconciler.manifest.crossfile import Example
    from reconciler.manifest.origins import Field as Path
    from reconciler.manifest.origins import Lines
    from reconciler.manifest.overlaying import Patch


@dataclass(slots=True)
class Loaded:
    """A project's manifests, read for the instant `as_of` (seconds since 1970).

    `problems` are sorted by position; with an error among them `desired` is partial. `patched` are the patches of
    overlays by the address that they change; `desired` is what they made of it.
    """

    project: Project
    folder: ProjectFolder
    desired: Desired
    problems: tuple[Problem, ...]
    files: tuple[str, ...]
    key: bytes | None
    as_of: int
    _records: list[FileRecord] = field(default_factory=list)
    _reader: Reader | None = None
    patched: dict[str, tuple[Patch, ...]] = field(default_factory=dict)

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

    def metadata(self) -> tuple[MetadataUse, ...]:
        """Return every metadata key that the items of a source have, with its type."""
        return uses_of([record.types for record in self._records])

    def examples_of(self, uses: Sequence[MetadataUse]) -> list[Example]:
        """Return the first item whose metadata shows each use, and where: their files are read again, once each."""
        from reconciler.manifest.crossfile import examples_of

        assert self._reader is not None
        return examples_of(uses, self.files, self._records, lambda file: read_text(self.folder, file), self._reader)

    def files_of(self, addresses: Iterable[str]) -> dict[str, str]:
        """Return the file that declares each of these addresses, where one does; none is read for it."""
        wanted = set(addresses)
        found: dict[str, str] = {}
        for file, record in zip(self.files, self._records, strict=True):
            for address in wanted.intersection(record.address_list()):
                found.setdefault(address, file)
        return found

    def entries_beside(self, other: Loaded) -> Iterator[tuple[str, str]]:
        """Yield the addresses that an entry gave here and in another reading of the same texts, in order of files.

        An entry that gave another number of resources there, or an item set that found other files, is passed over.
        """
        theirs = dict(zip(other.files, other._records, strict=True))
        for file, record in zip(self.files, self._records, strict=True):
            beside = theirs.get(file)
            if beside is not None and len(record.counts) == len(beside.counts):
                yield from _side_by_side(record, beside)

    @property
    def has_access_tests(self) -> bool:
        """Whether there is any access test; no file is read for it."""
        return any(record.access_tests for record in self._records)

    def identities(self) -> list[Resource]:
        """Return the desired groups, virtual groups, users and aliases, sorted; no file is read for it."""
        docs = dict(documents(self._records, shared=False))
        docs |= {
            address: entry.doc
            for address, entry in self.desired.emitted.items()
            if address not in docs or address in self.patched
        }
        shared = {**dict(documents(self._records, shared=True)), **self.desired.shared}
        return [
            Resource(Address(address), docs[address], shared.get(address, b""))
            for address in sorted(self.desired.fingerprints)
            if not address.startswith("item/")
        ]

    def inline_models(self) -> dict[bytes, bytes]:
        """Return the permission models that items have of their own, by digest; no file is read for it."""
        return {digest: doc for record in self._records for digest, doc in record.inline.items()}

    def find_places(self, places: Collection[Place]) -> dict[Place, tuple[Position, str]]:
        """Return where places are, each with its whole line; the files that they are in are read again, once each."""
        from reconciler.manifest.places import find_places

        return find_places(places, self.files, self._records, lambda file: read_text(self.folder, file), self.project)

    def find_origins(self, wanted: Mapping[str, Sequence[Path]]) -> dict[tuple[str, Path], list[Lines]]:
        """Return the lines that say each wanted field of each address; their files are read again, once each."""
        from reconciler.manifest.origins import find_origins

        found = find_origins(wanted, self.files, self._records, lambda file: read_text(self.folder, file))
        if self.patched:
            from reconciler.manifest.overlays import patch_lines

            for place, lines in patch_lines(wanted, self.patched):
                found.setdefault(place, []).append(lines)
        return found

    def access_tests(self) -> list[tuple[Position, AccessTest]]:
        """Return every access test and where it stands, in order of files; their files are read again, once each."""
        found: list[tuple[Position, AccessTest]] = []
        for file, record in zip(self.files, self._records, strict=True):
            tests = [AccessTest.from_json(text) for text in record.access_tests]
            places = self._places(file) if tests else []
            if len(places) != len(tests):
                raise ManifestError(_changed_meanwhile())
            found += zip(places, tests, strict=True)
        return found

    def endings(self) -> list[tuple[str, Ending]]:
        """Return every grant that ends, gone or not, with its file, in order of files; none is read for it."""
        return [
            (file, ending) for file, record in zip(self.files, self._records, strict=True) for ending in record.endings
        ]

    def lines_of(self, endings: Sequence[tuple[str, Ending]]) -> list[int]:
        """Return the lines on which grants stand; their files are read again, once each."""
        parts = {file: self._parts(file) for file in sorted({file for file, _ in endings})}
        known: dict[tuple[str, int, tuple[str | int, ...]], int] = {}
        for file, ending in endings:
            place = file, ending.entry, tuple(ending.path)
            if place not in known:
                known[place] = line_of_ending(parts[file], ending)
        return [known[file, ending.entry, tuple(ending.path)] for file, ending in endings]

    def _parts(self, file: str) -> list[Part]:
        """Return the sections of a file, each entry of which can be located."""
        text = read_text(self.folder, file)
        parts, _ = parts_of(text, file)
        try:
            for part in parts:
                if part.name in LIST_SECTIONS:
                    part.values()
        except PieceError:
            return whole_parts(text, file)[0]
        return parts

    def _places(self, file: str) -> list[Position]:
        """Return where the access tests of a file stand."""
        text = read_text(self.folder, file)
        parts, _ = parts_of(text, file)
        try:
            return _places_in(parts)
        except PieceError:
            return _places_in(whole_parts(text, file)[0])

    def _read_again(self, missing: set[str]) -> None:
        assert self._reader is not None
        reader = replace(self._reader, recorded={})
        again: list[list[Emitted]] = []
        for file, record in zip(self.files, self._records, strict=True):
            anew = _entries_of(record, missing)
            if anew or (record.of_each and any(address.startswith("alias/") for address in missing)):
                reading = reader.read(read_text(self.folder, file), file, is_project=True, old=record, anew=anew)
                again.append(reading.emitted)
        fresh = assemble(self._records, again, {}, Spelling.of(self.project))
        for address in missing:
            entry = fresh.emitted.get(address)
            if entry is not None and address in self.desired.shared:
                entry = replace(entry, shared=self.desired.shared[address])
            if entry is None:
                raise ManifestError(_changed_meanwhile())
            if Resource(Address(address), entry.doc, entry.shared).fingerprint != self.desired.fingerprints[address]:
                raise ManifestError(_changed_meanwhile())
            self.desired.emitted[address] = entry


def load_manifests(
    project: Project,
    folder: ProjectFolder,
    project_file: str,
    *,
    recorded: Mapping[str, bytes] | None,
    cache: ManifestCache,
    keep_bodies: bool = False,
    as_of: int | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> Loaded:
    """Survey and load a project's manifests, for now without `as_of`; see `survey` and `load_surveyed`."""
    surveyed = survey(project, folder, project_file, cache, as_of=clock() // SECOND_NS if as_of is None else as_of)
    return load_surveyed(surveyed, recorded=recorded, cache=cache, keep_bodies=keep_bodies, clock=clock)


def load_surveyed(
    surveyed: Survey,
    *,
    recorded: Mapping[str, bytes] | None,
    cache: ManifestCache,
    keep_bodies: bool = False,
    clock: Callable[[], int] = time.time_ns,
) -> Loaded:
    """Read manifests against what is recorded, or (None) without handing out any resource.

    `keep_bodies` hands out the content that manifests hold themselves.
    """
    project, folder = surveyed.project, surveyed.folder
    reader = Reader(project, folder, context_of(project), recorded, keep_bodies, surveyed.as_of)
    with bulk():
        done = _read_all(reader, surveyed, cache, clock)
        records = [entry.record for entry in done]
        desired = assemble(records, [entry.emitted for entry in done], recorded or {}, Spelling.of(project))
    files = tuple(entry.file.path for entry in surveyed.files)
    problems = [*surveyed.problems, *(problem for entry in done for problem in entry.problems)]
    outdated: frozenset[str] = frozenset()
    if project.fields != "ignore":
        desired.suspicions += type_conflicts(records)
    if desired.suspicions:
        from reconciler.manifest.crossfile import confirm

        confirmed = confirm(desired, files, records, lambda file: read_text(folder, file), reader)
        problems += confirmed.problems
        outdated = confirmed.outdated
    _save(cache, surveyed, done, outdated)
    rows = {entry.path: entry.row for entry in done}
    key = None if problems else key_of(project, rows, surveyed.as_of, surveyed.overlays)
    problems = _graded(problems, dict(project.lints))
    problems.sort(key=lambda found: found.sort_key)
    loaded = Loaded(project, folder, desired, tuple(problems), files, key, surveyed.as_of, records, reader)
    if surveyed.overlays and not errors_in(problems):
        from reconciler.manifest.overlays import lay_over

        if told := lay_over(loaded, surveyed.overlays, reader, records):
            loaded.problems = tuple(sorted((*problems, *told), key=lambda found: found.sort_key))
            loaded.key = None
    return loaded


def _read_all(reader: Reader, surveyed: Survey, cache: ManifestCache, clock: Callable[[], int]) -> list[Done]:
    """Return what each file says: from the cache where nothing changed, else by reading it."""
    packed = cache.records({entry.file.path: entry.row for entry in surveyed.files if entry.row is not None})
    jobs: list[Job] = []
    done: dict[str, Done] = {}
    for entry in surveyed.files:
        record = _record(packed.get(entry.file.path, b""))
        if record is not None and entry.row is not None and entry.unchanged:
            # What differs from the state is read again when the plan asks for it.
            done[entry.file.path] = Done(entry.file.path, entry.row, record)
        else:
            jobs.append(_job(entry, record, surveyed.project_file))
    done.update({result.path: result for result in run_jobs(reader, jobs, clock)})
    return [done[entry.file.path] for entry in surveyed.files]


def _record(packed: bytes) -> FileRecord | None:
    try:
        return CachedFile.unpack(packed) if packed else None
    except msgspec.DecodeError:
        return None


def _job(entry: Surveyed, record: FileRecord | None, project_file: str) -> Job:
    if record is not None and not entry.leans_hold:
        record.leans.inputs[:] = [known for known in record.leans.inputs if known.path in entry.fresh]
    row = entry.row if record is not None and entry.leans_hold else None
    return Job(entry.file.path, entry.file.stat, entry.file.path == project_file, row, record)


def _save(cache: ManifestCache, surveyed: Survey, done: Sequence[Done], outdated: Collection[str]) -> None:
    """Keep what was read; a file whose record names what its text does not is read anew next time."""
    known = {entry.file.path: entry.row for entry in surveyed.files}
    fresh = [entry for entry in done if entry.row is not known[entry.path] and not entry.problems]
    fresh = [entry for entry in fresh if entry.path not in outdated]
    cache.save([(entry.path, entry.row) for entry in fresh if entry.row.packed], (*surveyed.gone, *outdated))
    cache.touch([(entry.path, entry.row) for entry in fresh if not entry.row.packed])


def _graded(problems: Iterable[Problem], levels: Mapping[str, LintLevel]) -> list[Problem]:
    """Return the problems with warnings left out or made errors as the project has it."""
    graded = []
    for problem in problems:
        level = levels.get(problem.code, "warning")
        if level == "warning" or problem.severity is not Severity.WARNING:
            graded.append(problem)
        elif level == "error":
            graded.append(replace(problem, severity=Severity.ERROR))
    return graded


def line_of_ending(parts: Sequence[Part], ending: Ending) -> int:
    """Return the line on which a grant that ends is written. Raises ManifestError when it is there no more."""
    number = ending.entry
    for part in parts:
        if number < 0:
            if part.name == "permissions" and ending.path[0] in (part.whole() or {}):
                return part.locate(None, tuple(ending.path)).line
        elif part.name in LIST_SECTIONS and part.entries is not None:
            if number < part.entries:
                return part.locate(number, tuple(ending.path)).line
            number -= part.entries
    raise ManifestError(_changed_meanwhile())


def _places_in(parts: Sequence[Part]) -> list[Position]:
    return [
        part.locate(number, ()) for part in parts if part.name == "accessTests" for number in range(part.entries or 0)
    ]


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


def _side_by_side(one: FileRecord, other: FileRecord) -> Iterator[tuple[str, str]]:
    found, beside = ({entry.entry: entry.found for entry in record.leans.patterns} for record in (one, other))
    here, there = iter(one.address_list()), iter(other.address_list())
    for entry, (count, counterpart) in enumerate(zip(one.counts, other.counts, strict=True)):
        pairs = list(islice(here, count)), list(islice(there, counterpart))
        if count == counterpart and found.get(entry) == beside.get(entry):
            yield from zip(*pairs, strict=True)


@contextmanager
def bulk() -> Iterator[None]:
    """Switch the cyclic garbage collector off: values by the hundred thousand hold no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _changed_meanwhile() -> Problem:
    return Problem(
        "changed-meanwhile",
        "a manifest changed while the plan was being made",
        why="the plan would mix two versions.",
        fix="run the command again.",
    )
