"""Whether overlays only narrow who sees what, by who sees what without them.

Patches without `widens` are judged beside those that have it: what they show somebody in that company, and would not
without them, is an error. The reason of the others is told, with what it is a reason for. Exact, and worked out from
the whole of groups, nesting, aliases, levels and denials; it reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.manifest.overlaying import Patch
from reconciler.manifest.project import Project
from reconciler.model.address import Address
from reconciler.model.canonical import DIGEST_SIZE
from reconciler.model.identity import parse_identity
from reconciler.model.states import Resource
from reconciler.problems import Problem, Severity

if TYPE_CHECKING:
    from reconciler.permissions.exposure import Edit, Exposure
    from reconciler.permissions.relation import Relation

Outcome = Mapping[str, Resource | None]
"""What patches make of resources, by address; None is what goes."""

_ITEM = "item/"
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Base:
    """What the manifests say without overlays: fingerprints by address, the resources, permission models by digest."""

    project: Project
    fingerprints: Mapping[str, bytes]
    resources: Callable[[Iterable[str]], Mapping[str, Resource]]
    models: Mapping[bytes, bytes]


def access_problems(
    base: Base, patches: Sequence[Patch], outcome_of: Callable[[Sequence[Patch]], Outcome]
) -> list[Problem]:
    """Return an error for each patch that widens access without a reason, and a note for each that does with one.

    `outcome_of` says what some of the patches make of the base.
    """
    touching = [patch for patch in patches if patch.touches_access]
    reasoned = [patch for patch in patches if patch.widens]
    problems = [_idle(patch) for patch in reasoned if not patch.touches_access]
    if not touching:
        return problems
    company, whole = outcome_of(reasoned), outcome_of(patches)
    check = _Check(base, _relation(base, {*company, *whole}), company)
    check.prepare()
    for patch in reasoned:
        if patch.touches_access:
            found = check.alone(outcome_of([patch]))
            if not _widens(found) and len(reasoned) > 1:  # it may only together with others that have a reason
                found = check.among(outcome_of([other for other in reasoned if other is not patch]))
            problems.append(_told(patch, found) if _widens(found) else _idle(patch))
    total = check.beside(whole)
    if not _widens(total):
        return problems
    plain = [patch for patch in touching if not patch.widens]
    shown = {address for shift in total.shifts if shift.widens for address in shift.addresses}
    parts = [patch for patch in plain if _is_group(patch) or not shown.isdisjoint(patch.addresses)] or plain
    alone = [(patch, check.beside(outcome_of([*reasoned, patch]))) for patch in parts]
    guilty = [(patch, found) for patch, found in alone if _widens(found)]
    # Where none does it alone, together they do: so each that has a part in it is told.
    return problems + [_widening(patch, found) for patch, found in guilty or [(patch, total) for patch in parts]]


def _is_group(patch: Patch) -> bool:
    return not any(address.startswith(_ITEM) for address in patch.addresses)


def _relation(base: Base, changed: set[str]) -> Relation:
    """Return who sees what in the base; where only items change, of those items alone."""
    from reconciler.manifest.readings import readings_of
    from reconciler.permissions.relation import Relation

    only_items = all(address.startswith(_ITEM) for address in changed)
    relation = Relation(readings_of(base.project), {source.name: source.visibility for source in base.project.sources})
    identities = [address for address in base.fingerprints if not address.startswith(_ITEM)]
    relation.add_identities(base.resources(identities).values())
    items = [address for address in base.fingerprints if address.startswith(_ITEM)]
    relation.add_items((at, base.fingerprints[at][DIGEST_SIZE:]) for at in items if not only_items or at in changed)
    wanted = relation.wanted()
    relation.add_models(base.models[key] for key in wanted if key in base.models)
    lacking = [address for key, address in wanted.items() if key not in base.models]
    relation.add_models(item.shared for item in base.resources(lacking).values())
    return relation


@dataclass(slots=True)
class _Check:
    """The base with who sees what in it, and what the patches that have a reason make of it."""

    base: Base
    relation: Relation
    company: Outcome
    _beside: Relation | None = None

    def prepare(self) -> None:
        """Work out who sees what beside the patches that have a reason."""
        self._beside = self.relation.copy()
        _exposed(self._beside, self._edits({}, self.company))

    def alone(self, outcome: Outcome) -> Exposure:
        """Return what an outcome does to who sees what in the base."""
        return _exposed(self.relation.copy(), self._edits({}, outcome))

    def among(self, others: Outcome) -> Exposure:
        """Return what a patch with a reason adds to what the others that have one come to."""
        relation = self.relation.copy()
        _exposed(relation, self._edits({}, others))
        return _exposed(relation, self._edits(others, self.company))

    def beside(self, outcome: Outcome) -> Exposure:
        """Return what an outcome does beside what has a reason."""
        assert self._beside is not None
        return _exposed(self._beside.copy(), self._edits(self.company, outcome))

    def _edits(self, before: Outcome, after: Outcome) -> list[Edit]:
        from reconciler.permissions.exposure import Edit

        addresses = sorted(before.keys() | after.keys())
        was = self.base.resources(at for at in addresses if at in self.base.fingerprints)
        edits = []
        for address in addresses:
            old, new = (side.get(address, was.get(address)) for side in (before, after))
            if old != new:
                edits.append(Edit(Address(address), old, new))
        return edits


def _exposed(relation: Relation, edits: list[Edit]) -> Exposure:
    from reconciler.permissions.exposure import expose

    return expose(relation, edits)


def _widens(found: Exposure) -> bool:
    return any(shift.widens for shift in found.shifts)


# -- what is told ----------------------------------------------------------------------------------


def _seen(found: Exposure) -> str:
    """Return who gains sight of what: the first by name, how many more, and how many items with the first."""
    shifts = [shift for shift in found.shifts if shift.widens]
    items = sum(shift.items for shift in shifts)
    first = min(example for shift in shifts for example in shift.examples).split("/", 2)[2]
    what = f'item "{first}"' if items == 1 else f'{items:,} items, such as "{first}"'
    return f"{_who(found)} see {what}"


def _who(found: Exposure) -> str:
    shifts = [shift for shift in found.shifts if shift.widens]
    if any(shift.is_public and not shift.was_public for shift in shifts):
        return "everybody, also whoever did not log in,"
    domains = sorted({pattern.rpartition("@")[2] for shift in shifts for pattern in shift.domains_gained})
    names: list[str] = []
    for shift in shifts:
        names += [parse_identity(name).short for name in found.name_gained(shift.gained, _NAMED)]
    named = sorted(set(names))[:_NAMED]
    more = found.people_gained - len(named)
    said = [*named, *([f"{more:,} more"] if more > 0 else []), *(f"everybody of {name}" for name in domains[:_NAMED])]
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def _widening(patch: Patch, found: Exposure) -> Problem:
    fix = (
        "narrow the patch, or add `widens: REASON` to it, which every plan then tells."
        if patch.may_widen
        else "narrow the patch; reconciler.yaml says `mayWiden: false` of this overlay."
    )
    return Problem(
        "overlay-widens",
        f'the patch of "{patch.subject}" lets {_seen(found)}, which they do not see without it',
        why="an overlay takes away from what the manifests grant and adds nothing, unless it says so.",
        fix=fix,
    ).at(patch.position, patch.excerpt)


def _told(patch: Patch, found: Exposure) -> Problem:
    return Problem(
        "overlay-widened",
        f'the patch of "{patch.subject}" lets {_seen(found)}: {patch.widens}',
        why="the overlay says that it may, and for this reason.",
        severity=Severity.NOTE,
    ).at(patch.position, patch.excerpt)


def _idle(patch: Patch) -> Problem:
    return Problem(
        "overlay-widens-nothing",
        f'the patch of "{patch.subject}" says why it widens access, and shows nobody anything',
        why="left there it would be the reason for whatever the patch comes to do one day.",
        fix="take `widens` out of it.",
        severity=Severity.WARNING,
    ).at(patch.position, patch.excerpt)
