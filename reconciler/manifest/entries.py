"""One manifest file: from its text to a `FileRecord`, the resources worth a closer look, and all problems.

Entries that were read before, told by their digest, are taken over without being parsed. A resource
whose recorded fingerprint is the same is only counted; every other one is handed out with its
documents. Files are read by the caller; content files through the project's folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from reconciler.manifest import messages
from reconciler.manifest.filebase import FileBase
from reconciler.manifest.inputs import found_digest, set_inputs
from reconciler.manifest.metatypes import carried
from reconciler.manifest.normalize import Finding, Normal, Path
from reconciler.manifest.parts import Part, PieceError, parts_of, whole_parts
from reconciler.manifest.paths import ProjectFolder
from reconciler.manifest.project import Project
from reconciler.manifest.record import (
    ENTRY_DIGEST,
    FINGERPRINT,
    SEPARATOR,
    Emitted,
    FileRecord,
    Moved,
    OfEach,
    Pattern,
    empty_record,
)
from reconciler.manifest.sections import LIST_SECTIONS, PROJECT_SECTIONS, SECTIONS
from reconciler.manifest.sets import SetFault, expand_set
from reconciler.manifest.shapes import SHAPES, fast_check, fast_check_all
from reconciler.manifest.wireform import (
    alias_entry,
    identity_entry,
    is_wire_identity,
    is_wire_item,
    item_entry,
    permission_entry,
)
from reconciler.model.address import Kind
from reconciler.model.canonical import DIGEST_SIZE
from reconciler.model.grant import MODELS
from reconciler.model.identity import identity_type
from reconciler.problems import Position, Problem

# Above this many identities the memory of their texts starts afresh.
KNOWN_IDENTITIES = 200_000

# So many entries are parsed, checked and normalised before the next: a section of any length takes
# the memory of one block, and a block's values are still in the processor's cache when they are used.
BLOCK = 256


@dataclass(slots=True)
class Reading:
    """What reading a file came to. `emitted` follows file order; problems are placed."""

    record: FileRecord
    emitted: list[Emitted] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reader:
    """What reading any file of a project needs.

    `recorded` are the fingerprints of the state: a resource that has the same is not emitted; with
    None nothing is.
    `context` digests the project: entries mean the same only under the same context. `as_of` (seconds
    since 1970) is the instant for which they are read.
    """

    project: Project
    folder: ProjectFolder
    context: bytes
    recorded: Mapping[str, bytes] | None
    keep_bodies: bool = False
    as_of: int = 0
    _identities: dict[str | None, dict[str | None, dict[str, str]]] = field(default_factory=dict)

    def identities_of(self, provider: str | None) -> dict[str | None, dict[str, str]]:
        """Return what is known of identities by their text, in files whose default provider this is."""
        known = self._identities.setdefault(provider, {})
        if sum(map(len, known.values())) > KNOWN_IDENTITIES:
            known.clear()
        return known

    def read(
        self,
        text: bytes,
        file: str,
        *,
        is_project: bool = False,
        old: FileRecord | None = None,
        anew: Collection[int] = (),
    ) -> Reading:
        """Read one file; `old` is what an earlier text of it came to, save for the entries `anew`."""
        parts, problems = parts_of(text, file)
        if not problems and not parts and not is_project:
            problems = [messages.empty_file().at(Position(file, 1, 1))]
        if not problems:
            try:
                entries = _FileReader(self, text, file, parts, is_project=is_project, old=old, anew=anew)
                reading = entries.run()
                if not entries.types_are_sure:
                    # What showed the type of some metadata key is gone, so all that may show it is looked at.
                    reading = _FileReader(self, text, file, parts, is_project=is_project, old=None).run()
                return reading
            except PieceError as error:
                parts, problems = whole_parts(text, file, error.problems)
        if problems:
            return Reading(empty_record(self.context), problems=problems)
        return _FileReader(self, text, file, parts, is_project=is_project, old=None).run()


class _FileReader(FileBase):
    """Reads one file; lives as long as that takes."""

    def run(self) -> Reading:
        """Read every section and return what they come to."""
        self._read_defaults()
        self._prepare_reuse()
        handlers: dict[str, Callable[[Part], None]] = {
            "permissions": self._permissions,
            "itemSets": self._item_sets,
            "accessTests": self._access_tests,
            "moved": self._moved,
            "removed": self._removed,
            "defaults": lambda _part: None,
        }
        digests: list[bytes] = []
        for part in self.parts:
            if not self._is_known(part):
                continue
            if part.name not in LIST_SECTIONS:
                handlers[part.name](part)
                continue
            count = part.entries
            if count is None:
                self._report(part, messages.not_a_list(part.name, part.whole()))
                continue
            digest = part.digests()
            self.record.reusable = self.record.reusable and digest is not None
            digests.append(digest or b"")
            self.record.sections.append((part.name, count))
            self.first = len(self.record.counts)
            if part.name in handlers:
                handlers[part.name](part)
            else:
                self._resources(part, digest)
        record = self.record
        record.entries = b"".join(digests)
        record.addresses = SEPARATOR.join(self.addresses)
        record.fingerprints = b"".join(self.fingerprints)
        record.groups = sorted(self.scope.groups())
        record.named = sorted(self.scope.named)
        record.types = self.scope.types.shown
        if self.old is not None and self.taken:
            record.types, self.types_are_sure = carried(self.old.types, self.taken, record.types)
        record.reusable = record.reusable and not self.problems
        if record.endings:
            record.leans = self._span()
        # The scope leads back here. Bulk reading runs without the cyclic collector, so the circle is
        # cut by hand; otherwise every file's text and values would stay.
        del self.scope
        return Reading(record, self.emitted, self.problems)

    # -- the file as a whole -------------------------------------------------------------------

    def _read_defaults(self) -> None:
        context = hashlib.sha256(self.reader.context)
        for number, part in enumerate([part for part in self.parts if part.name == "defaults"]):
            if number:
                self._report(part, messages.repeated_defaults())
                continue
            value = self._substituted(part, None, part.whole(), ())
            self._take_defaults(part, value)
            context.update(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
        self.scope.identities_by_text = self.reader.identities_of(self.scope.provider)
        self.record.context = context.digest()
        self.record.reusable = True

    def _take_defaults(self, part: Part, value: Any) -> None:
        scope, project = self.scope, self.reader.project
        before = len(self.problems)
        spec = self._validated(part, None, value, "DefaultsSpec")
        if spec is not None:
            scope.source, scope.provider, scope.permissions = spec.source, spec.provider, spec.permissions
        if scope.source is not None:
            scope.source_of(None, ("source",))
        if scope.provider is not None:
            scope.provider_of(None, ("provider",))
        self._place(part, None)
        if len(self.problems) > before:
            # Any that exist will do to look for other mistakes: the file is refused as it is.
            open_first = sorted(project.sources, key=lambda source: source.visibility == "secured")
            scope.source = open_first[0].name if open_first else None
            scope.provider = project.providers[0].name if project.providers else None

    def _prepare_reuse(self) -> None:
        old = self.old
        if old is None or not old.reusable or old.context != self.record.context:
            return
        entry = resource = 0
        anew = {*self.anew, *(ending.entry for ending in old.endings)}
        for section, entries in old.sections:
            known = self.known.setdefault(section, {})
            for number in range(entry, entry + entries):
                count = old.counts[number]
                if count == 1 and number not in anew:
                    known[old.entries[number * ENTRY_DIGEST : (number + 1) * ENTRY_DIGEST]] = resource
                resource += count
            entry += entries
        self.old_addresses = old.address_list()
        # References are kept by file: a superset is safe, for whoever finds one wanting reads again.
        self.scope.mentioned.update(old.groups)
        self.scope.named.update(old.named)

    def _is_known(self, part: Part) -> bool:
        if part.name in SECTIONS:
            return True
        if part.name in PROJECT_SECTIONS:
            if not self.is_project:
                self._report(part, messages.misplaced(part.name))
            return False
        known = (*SECTIONS, *(PROJECT_SECTIONS if self.is_project else ()))
        self._report(part, messages.unknown_section(part.name, known))
        return False

    # -- resources -----------------------------------------------------------------------------

    def _resources(self, part: Part, digests: bytes | None) -> None:
        known = self.known.get(part.name)
        if not known or digests is None:
            if digests is None:
                self._entries(part, 0, part.values())
                return
            count = len(digests) // ENTRY_DIGEST
            for start in range(0, count, BLOCK):
                self._entries(part, start, part.values(range(start, min(start + BLOCK, count))))
            return
        known_at = known.get
        places = [known_at(digests[start : start + ENTRY_DIGEST]) for start in range(0, len(digests), ENTRY_DIGEST)]
        fresh = iter(part.values([index for index, place in enumerate(places) if place is None]))
        index = 0
        while index < len(places):
            place = places[index]
            if place is None:
                self._resource(part, index, next(fresh))
                index += 1
                continue
            # Unchanged entries mostly stand side by side, as they did before.
            end = index + 1
            while end < len(places) and places[end] == place + end - index:
                end += 1
            self._take_over(part.name, place, end - index)
            index = end

    def _entries(self, part: Part, start: int, values: list[Any]) -> None:
        """Read consecutive entries from number `start` on, together where all are surely of the right shape."""
        specs = None if self.has_variables else fast_check_all(values, part.name)
        if specs is not None:
            self._specs(part, start, specs)
            return
        for index, value in enumerate(values, start):
            self._resource(part, index, value)

    def _specs(self, part: Part, start: int, specs: list[Any]) -> None:
        """Normalise entries that are surely of the right shape: the way that bulk takes."""
        scope, section, keep = self.scope, part.name, self._keep
        findings, warnings, grants = scope.findings, scope.warnings, scope.grants
        normalise = self._normaliser(section)
        for index, spec in enumerate(specs, start):
            normal = normalise(spec)
            if normal is not None:
                keep(normal, section)
            if grants:
                self._keep_endings(normal.address if normal is not None else "")
            if findings or warnings:
                self._place(part, index)
            self.record.counts.append(1 if normal is not None else 0)

    def _normaliser(self, section: str) -> Callable[[Any], Normal | None]:
        scope = self.scope
        if section == "items":
            return scope.item
        if section == "aliases":
            return scope.alias
        if section == "users":
            return scope.user
        kind = Kind.GROUP if section == "groups" else Kind.VIRTUAL_GROUP
        return lambda spec: scope.group(spec, kind)

    def _take_over(self, section: str, first: int, count: int) -> None:
        """Take what unchanged entries came to from the old record: a resource each, from `first` on."""
        old = self.old
        assert old is not None
        end = first + count
        self.taken.append((first, end, len(self.addresses) - first))
        if section != "items":
            shift = len(self.addresses) - first
            for source, goal in ((old.docs, self.record.docs), (old.shared, self.record.shared)):
                goal.update(
                    {resource + shift: source[resource] for resource in range(first, end) if resource in source}
                )
        elif old.inline:
            models = {
                old.fingerprints[at - DIGEST_SIZE : at]
                for at in range(FINGERPRINT, end * FINGERPRINT + 1, FINGERPRINT)[first:]
            }
            self.record.inline.update({model: old.inline[model] for model in models & old.inline.keys()})
        self.addresses += self.old_addresses[first:end]
        self.fingerprints.append(old.fingerprints[first * FINGERPRINT : end * FINGERPRINT])
        self.record.counts += [1] * count

    def _resource(self, part: Part, index: int, value: Any) -> None:
        before, known = len(self.addresses), len(self.problems)
        value = self._substituted(part, index, value, ())
        normal = self._normal(part, index, value) if len(self.problems) == known else None
        if normal is not None:
            self._keep(normal, part.name)
        self._keep_endings(normal.address if normal is not None else "")
        self._place(part, index)
        self.record.counts.append(len(self.addresses) - before)

    def _normal(self, part: Part, index: int, value: Any, prefix: Path = ()) -> Normal | None:
        section = part.name if part.name != "itemSets" else "items"
        spec = fast_check(value, SHAPES[section])
        if spec is None:
            value = self._from_wire(section, value)
            if self.scope.findings:
                return None
            if section == "aliases" and isinstance(value, dict) and "ofEach" in value:
                self._of_each(part, index, value)
                return None
            spec = self._validated(part, index, value, _MODELS[section], prefix)
            if spec is None:
                return None
        return self._normaliser(section)(spec)

    def _from_wire(self, section: str, value: Any) -> Any:
        """Return the entry in our own shape, where it has that of a Push API body; note where that is not clear."""
        try:
            if section == "items":
                value = item_entry(value) if is_wire_item(value) else value
                if isinstance(value, dict) and isinstance(value.get("permissions"), list):
                    value = {**value, "permissions": permission_entry(value["permissions"])}
            elif is_wire_identity(value):
                value = alias_entry(value) if section == "aliases" else identity_entry(value, _IDENTITY_TYPES[section])
        except ValueError as error:
            self.scope.found((), messages.bad_wire(str(error)))
        return value

    # -- the other sections --------------------------------------------------------------------

    def _item_sets(self, part: Part) -> None:
        for index, value in enumerate(part.values()):
            before = len(self.addresses)
            if self._validated(part, index, value, "ItemSetSpec") is not None:
                self._item_set(part, index, value)
            self.record.counts.append(len(self.addresses) - before)

    def _item_set(self, part: Part, index: int, spec: dict[str, Any]) -> None:
        variables = dict(self.reader.project.variables)
        inputs = set_inputs(spec, self.reader.folder, variables)
        self.record.leans.patterns.append(Pattern(len(self.record.counts), orjson.dumps(spec), found_digest(inputs)))
        self.record.reusable = False
        for member in expand_set(spec, self.reader.folder, variables, self.facts, inputs):
            if isinstance(member, SetFault):
                self._add(_from_member(member.problem, member.origin), part.locate(index, member.path))
                continue
            self.scope.types.origin = member.origin
            if member.content is not None:
                self._remember(member.origin, member.content)
            normal = self._normal(part, index, member.entry, ("item",))
            if normal is not None:
                self._keep(normal, part.name)
            self._keep_endings(normal.address if normal is not None else "", prefix=("item",))
            if self.scope.findings or self.scope.warnings:
                for kept in (self.scope.findings, self.scope.warnings):
                    kept[:] = [
                        Finding(("item", *found.path), _from_member(found.problem, member.origin), found.on_key)
                        for found in kept
                    ]
                self._place(part, index)
        self.scope.types.origin = ""

    def _of_each(self, part: Part, index: int, value: dict[str, Any]) -> None:
        spec = self._validated(part, index, value, "AliasSpec")
        if spec is None:
            return
        provider = self.scope.provider_of(spec.provider, ("provider",) if spec.provider else ("ofEach",))
        kind = identity_type(spec.of_each.type)
        mappings = self.scope.aliases_of_each(spec, provider, spec.of_each.type)
        if provider is not None and kind is not None and mappings and not self.scope.findings:
            each = OfEach(self.first + index, spec.of_each.members_of, kind, provider, tuple(mappings), spec.protect)
            self.record.of_each.append(each)
            self.record.reusable = False

    def _permissions(self, part: Part) -> None:
        value = part.whole()
        if not isinstance(value, dict):
            self._report(part, messages.not_a_mapping(part.name, value))
            return
        for name, entry in value.items():
            entry = self._substituted(part, None, entry, (name,))
            if isinstance(entry, list):
                try:
                    entry = permission_entry(entry)
                except ValueError as error:
                    self.scope.found((), messages.bad_wire(str(error)))
                    self._place(part, None, (name,))
                    continue
            spec = self._validated(part, None, entry, "PermissionSpec", (name,))
            if spec is None:
                continue
            doc = self.scope.permission_doc(spec, (), None)
            self._keep_endings(f"{MODELS}{name}", prefix=(name,), entry=-1)
            if not self._place(part, None, (name,)):
                self.record.models[name] = doc

    def _access_tests(self, part: Part) -> None:
        for index, value in enumerate(part.values()):
            value = self._substituted(part, index, value, ())
            spec = self._validated(part, index, value, "AccessTestSpec")
            if spec is not None:
                test = self.scope.access_test(spec)
                if not self._place(part, index):
                    self.record.access_tests.append(test.to_json())
            self.record.counts.append(0)

    def _moved(self, part: Part) -> None:
        for index, value in enumerate(part.values()):
            self.record.counts.append(0)
            value = self._substituted(part, index, value, ())
            spec = self._validated(part, index, value, "MovedSpec")
            if spec is None:
                continue
            source = self.scope.source_of(spec.source, ("source",) if spec.source else ())
            if not self._place(part, index) and source is not None:
                before, after = (f"item/{source.name}/{uri}" for uri in (spec.from_, spec.to))
                self.record.moved.append(Moved(self.first + index, before, after))

    def _removed(self, part: Part) -> None:
        for index, value in enumerate(part.values()):
            self.record.counts.append(0)
            value = self._substituted(part, index, value, ())
            spec = self._validated(part, index, value, "RemovedSpec")
            if spec is not None and not self._place(part, index):
                self.record.removed.append(spec.address)


_IDENTITY_TYPES = {"groups": "group", "virtualGroups": "virtual-group", "users": "user"}
_MODELS = {
    "items": "ItemSpec",
    "groups": "GroupSpec",
    "virtualGroups": "GroupSpec",
    "users": "UserSpec",
    "aliases": "AliasSpec",
}


def _from_member(problem: Problem, origin: str) -> Problem:
    return replace(problem, what=f"{origin}: {problem.what}") if origin else problem
