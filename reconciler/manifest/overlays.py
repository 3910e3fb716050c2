"""Lays the overlays of an environment over what its manifests say, and holds them to what they may do.

Without overlays none of this is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from reconciler.manifest.desired import documents, made_aliases
from reconciler.manifest.origins import Field, Lines
from reconciler.manifest.overlaycheck import Base, Outcome, access_problems
from reconciler.manifest.overlayfiles import OverlayText
from reconciler.manifest.overlaying import Patch, mistakes, patched
from reconciler.manifest.overlayread import Known, read_overlay
from reconciler.manifest.record import Emitted, FileRecord
from reconciler.manifest.spelling import Spelling
from reconciler.model.address import Address
from reconciler.model.canonical import digest
from reconciler.model.identity import alias_address
from reconciler.model.states import Resource
from reconciler.problems import Problem, errors_in

if TYPE_CHECKING:
    from reconciler.manifest.entries import Reader
    from reconciler.manifest.load import Loaded

_GROUPS = ("group/", "virtual-group/")


def lay_over(
    loaded: Loaded, overlays: Sequence[OverlayText], reader: Reader, records: Sequence[FileRecord]
) -> list[Problem]:
    """Change what is loaded as the overlays say, and return what is to be told of them.

    With an error among that it stays as it was.
    """
    desired, spelling = loaded.desired, Spelling.of(loaded.project)
    known = Known(
        [address for address in desired.fingerprints if address.startswith("item/")],
        desired.groups,
        desired.models,
        spelling.key,
    )
    patches: list[Patch] = []
    problems: list[Problem] = []
    for overlay in overlays:
        found, wrong = read_overlay(reader, overlay, known)
        patches += found
        problems += wrong
    laying = _Laying(loaded, loaded.resources({at for patch in patches for at in patch.addresses}), records, spelling)
    problems += mistakes(laying.resources, patches, spelling.key)
    if errors_in(problems):
        return problems
    outcome = laying.outcome(patches)
    base = Base(
        loaded.project,
        dict(desired.fingerprints),
        loaded.resources,
        {**{digest(doc): doc for doc in desired.models.values()}, **loaded.inline_models()},
    )
    problems += access_problems(base, patches, laying.outcome)
    if not errors_in(problems):
        _put(loaded, outcome, patches)
    return problems


@dataclass(frozen=True, slots=True)
class _Laying:
    """What patches come to: `resources` are those that any patch is of, as the manifests have them."""

    loaded: Loaded
    resources: Mapping[str, Resource]
    records: Sequence[FileRecord]
    spelling: Spelling

    def outcome(self, patches: Sequence[Patch]) -> Outcome:
        """Return what becomes otherwise by these patches together, None for what goes."""
        of: dict[str, list[Patch]] = {}
        for patch in patches:
            for address in patch.addresses:
                of.setdefault(address, []).append(patch)
        found: dict[str, Resource | None] = {}
        for address, mine in of.items():
            became = patched(self.resources[address], mine, self.spelling.key)
            if became != self.resources[address]:
                found[address] = became
        if any(address.startswith(_GROUPS) for address in found):
            found.update(self._aliases(found))
        return found

    def _aliases(self, outcome: Outcome) -> dict[str, Resource | None]:
        """Return the aliases that come and go with the members of groups (`ofEach`)."""
        wanted = [entry for record in self.records for entry in record.of_each]
        if not wanted:
            return {}
        spelled_out = [at for record in self.records for at in record.address_list() if at.startswith("alias/")]
        before, after = [], []
        for address, doc in documents(self.records, shared=False):
            if address.startswith(_GROUPS):
                group = outcome.get(address)
                before.append((address, orjson.loads(doc)["members"]))
                after.append((address, group.own()["members"] if group else before[-1][1]))
        was, will = (made_aliases(wanted, groups, spelled_out, self.spelling) for groups in (before, after))
        key = self.spelling.key
        well_knowns = {key(alias_address(who)): doc for who, doc in documents(self.records, shared=True)}
        found: dict[str, Resource | None] = dict.fromkeys(was.keys() - will.keys())
        for address, doc in will.items():
            if was.get(address) != doc:
                found[address] = Resource(Address(address), doc, well_knowns.get(key(address), b""))
        return found


def _put(loaded: Loaded, outcome: Outcome, patches: Sequence[Patch]) -> None:
    """Make what is loaded what the patches made of it."""
    desired = loaded.desired
    before = loaded.entries(address for address, resource in outcome.items() if resource is not None)
    for address, resource in outcome.items():
        if resource is None:
            del desired.fingerprints[address]
            desired.emitted.pop(address, None)
            continue
        entry = before.get(address) or Emitted(address, b"", b"")
        desired.fingerprints[address] = resource.fingerprint
        desired.emitted[address] = replace(entry, doc=resource.doc, shared=resource.shared, named=None)
    for patch in patches:
        for address in patch.addresses:
            loaded.patched[address] = (*loaded.patched.get(address, ()), patch)


def patch_lines(
    wanted: Mapping[str, Sequence[Field]], patches: Mapping[str, Sequence[Patch]]
) -> Iterator[tuple[tuple[str, Field], Lines]]:
    """Yield the line on which a patch says a wanted field of an address; where all of it is wanted, of each patch."""
    for address, fields in wanted.items():
        for patch in patches.get(address, ()):
            for field in fields:
                for line in sorted(patch.lines_of(field)):
                    yield (address, field), Lines(patch.position.file, line, line)
