"""From the records of all files to the desired state: what only shows when all files are known.

Names of permission models are resolved, aliases made for each member, well-knowns copied to the
aliases of their identity. What looks wrong across files is returned as suspicions: records may speak
of references that an edit has just removed, so whoever holds the texts looks before they complain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import orjson

from reconciler.manifest.metatypes import conflicts
from reconciler.manifest.normalize import alias_of
from reconciler.manifest.record import Emitted, FileRecord, OfEach, named_marker
from reconciler.manifest.spelling import Spelling
from reconciler.model.canonical import DIGEST_SIZE, NO_SHARED
from reconciler.model.identity import alias_address, parse_identity

SEPARATOR = "\0"
_ALIAS = "alias/"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something to look at: an unknown group or model, an address that stands twice, metadata of two types.

    `kind` is `unknown-group`, `unknown-permissions`, `duplicate`, `duplicate-permissions`, `same-identity` or
    `metadata-type-conflict`; `name` the identity, the model's name, the address, the addresses with
    `SEPARATOR` between them, or the key; `file` is where it shows, of several files one.
    """

    kind: str
    file: int
    name: str


@dataclass(slots=True)
class Desired:
    """The desired state: fingerprints by address, and documents of what is not as recorded.

    `emitted` holds the resources that were read in full. `groups` are all declared groups and
    `models` all named permission models.
    """

    fingerprints: dict[str, bytes] = field(default_factory=dict)
    emitted: dict[str, Emitted] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    models: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    suspicions: list[Suspicion] = field(default_factory=list)
    shared: dict[str, bytes] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest of the whole desired state, in hex; it does not depend on files or their order."""
        total = hashlib.sha256()
        for address in sorted(self.fingerprints):
            total.update(address.encode())
            total.update(self.fingerprints[address])
        return total.hexdigest()


def assemble(
    records: Sequence[FileRecord],
    emitted: Sequence[Sequence[Emitted]],
    recorded: Mapping[str, bytes],
    spelling: Spelling | None = None,
) -> Desired:
    """Return the desired state of all files; `emitted` runs parallel to `records`.

    Without a `spelling` names that differ in case alone are one identity, in every provider.
    """
    spelling = spelling or Spelling()
    desired = Desired()
    _collect_models(desired, records)
    markers = {named_marker(name): hashlib.sha256(doc).digest() for name, doc in desired.models.items()}
    declared = 0
    for number, record in enumerate(records):
        pairs = _resolved(record, markers) if record.named else record.pairs()
        before = len(desired.fingerprints)
        # What is as recorded shares the recorded bytes: at this number they are a good part of the memory.
        desired.fingerprints.update(
            (address, fingerprint if (known := recorded.get(address)) != fingerprint else known)
            for address, fingerprint in pairs
        )
        count = sum(record.counts)
        declared += count
        if len(desired.fingerprints) - before != count:
            desired.suspicions += _repeated(records, number)
        desired.moved.update({entry.before: entry.after for entry in record.moved})
        desired.removed.update(record.removed)
    for entries in emitted:
        for entry in entries:
            desired.emitted[entry.address] = _named_resolved(entry, desired.models)
    desired.groups = {address for address in desired.fingerprints if address.startswith(("group/", "virtual-group/"))}
    twins = spelling.twins(address for address in desired.fingerprints if not address.startswith("item/"))
    desired.suspicions += [Suspicion("same-identity", 0, SEPARATOR.join(spellings)) for spellings in twins]
    _make_aliases(desired, records, recorded, spelling)
    _share_well_knowns(desired, records, recorded, spelling)
    _check_references(desired, records, spelling)
    return desired


def _collect_models(desired: Desired, records: Sequence[FileRecord]) -> None:
    for number, record in enumerate(records):
        for name, doc in record.models.items():
            if name in desired.models:
                desired.suspicions.append(Suspicion("duplicate-permissions", number, name))
            desired.models[name] = doc


def _resolved(record: FileRecord, markers: Mapping[bytes, bytes]) -> Iterator[tuple[str, bytes]]:
    for address, fingerprint in record.pairs():
        shared = markers.get(fingerprint[DIGEST_SIZE:])
        yield address, fingerprint if shared is None else fingerprint[:DIGEST_SIZE] + shared


def _named_resolved(entry: Emitted, models: Mapping[str, bytes]) -> Emitted:
    if entry.named is None:
        return entry
    return Emitted(
        entry.address,
        entry.doc,
        models.get(entry.named, b""),
        None,
        entry.body_sha256,
        entry.body_size,
        entry.content_path,
        entry.body,
    )


def _repeated(records: Sequence[FileRecord], number: int) -> list[Suspicion]:
    """Return a suspicion for each address of a file that stood before, in it or in an earlier file."""
    earlier = {address for record in records[:number] for address in record.address_list()}
    found = []
    for address in records[number].address_list():
        if address in earlier:
            found.append(Suspicion("duplicate", number, address))
        earlier.add(address)
    return found


def documents(records: Sequence[FileRecord], *, shared: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the own documents of groups, users and aliases by address, or those with the well-knowns they share."""
    for record in records:
        docs = record.shared if shared else record.docs
        if docs:
            addresses = record.address_list()
            for resource, doc in docs.items():
                yield addresses[resource], doc


def _make_aliases(
    desired: Desired, records: Sequence[FileRecord], recorded: Mapping[str, bytes], spelling: Spelling
) -> None:
    wanted = [entry for record in records for entry in record.of_each]
    if not wanted:
        return
    groups = [
        (address, orjson.loads(doc)["members"])
        for address, doc in documents(records, shared=False)
        if address.startswith(("group/", "virtual-group/"))
    ]
    spelled_out = [address for address in desired.fingerprints if address.startswith(_ALIAS)]
    for address, doc in made_aliases(wanted, groups, spelled_out, spelling).items():
        fingerprint = hashlib.sha256(doc).digest() + NO_SHARED
        desired.fingerprints[address] = fingerprint
        if recorded.get(address) != fingerprint:
            desired.emitted[address] = Emitted(address, doc, b"")


def made_aliases(
    wanted: Sequence[OfEach],
    groups: Sequence[tuple[str, list[str]]],
    spelled_out: Sequence[str],
    spelling: Spelling,
) -> dict[str, bytes]:
    """Return the document of each alias that is made for a member of these groups, by address.

    `groups` are addresses with their members, `spelled_out` the addresses of aliases that need not be made.
    """
    made: dict[str, bytes] = {}
    taken = set(map(spelling.key, spelled_out))
    for entry in wanted:
        for identity in _members(entry, groups):
            name = parse_identity(identity).name
            mappings = sorted({mapping.replace("{name}", name) for mapping in entry.mappings})
            alias = alias_of(identity, mappings, protect=entry.protect)
            # An alias that is spelled out wins over the one that would be made.
            if (key := spelling.key(alias.address)) not in taken:
                taken.add(key)
                made[alias.address] = alias.doc
    return made


def _members(entry: OfEach, groups: Sequence[tuple[str, list[str]]]) -> list[str]:
    prefix = f"{entry.type}/{entry.provider}/"
    return sorted(
        {
            member
            for address, members in groups
            if fnmatchcase(address.split("/", 2)[2], entry.pattern)
            for member in members
            if member.startswith(prefix)
        }
    )


def _share_well_knowns(
    desired: Desired, records: Sequence[FileRecord], recorded: Mapping[str, bytes], spelling: Spelling
) -> None:
    aliases: dict[str, str] | None = None
    for identity, shared in documents(records, shared=True):
        if aliases is None:
            aliases = {spelling.key(name): name for name in desired.fingerprints if name.startswith(_ALIAS)}
        address = aliases.get(spelling.key(alias_address(identity)), "")
        fingerprint = desired.fingerprints.get(address)
        if fingerprint is None:
            continue
        fingerprint = fingerprint[:DIGEST_SIZE] + hashlib.sha256(shared).digest()
        desired.fingerprints[address] = fingerprint
        desired.shared[address] = shared
        entry = desired.emitted.get(address)
        if entry is not None:
            desired.emitted[address] = Emitted(address, entry.doc, shared)
        if recorded.get(address) == fingerprint:
            desired.emitted.pop(address, None)


def _check_references(desired: Desired, records: Sequence[FileRecord], spelling: Spelling) -> None:
    keys: set[str] | None = None
    for number, record in enumerate(records):
        missing = set(record.groups) - desired.groups
        if missing:
            keys = keys if keys is not None else set(map(spelling.key, desired.groups))
            missing = {name for name in missing if spelling.key(name) not in keys}
        desired.suspicions += [Suspicion("unknown-group", number, name) for name in sorted(missing)]
        unknown = set(record.named) - desired.models.keys()
        desired.suspicions += [Suspicion("unknown-permissions", number, name) for name in sorted(unknown)]


def type_conflicts(records: Sequence[FileRecord]) -> list[Suspicion]:
    """Return the metadata keys that are a number in one place and a text in another.

    A field belongs to the organization, so its type is the same in all sources.
    """
    return [Suspicion("metadata-type-conflict", 0, key) for key in conflicts(record.types for record in records)]
