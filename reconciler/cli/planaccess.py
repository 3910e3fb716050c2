"""What a plan says of access: who gains and who loses sight of what, and what of that must be allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.cli.session import Session
from reconciler.manifest.project import Project
from reconciler.model.address import Kind
from reconciler.planning.change import touches_access
from reconciler.planning.plan import Hazard, Plan

if TYPE_CHECKING:
    from reconciler.calls.call import Compiled
    from reconciler.calls.safely import Compile
    from reconciler.cli.worlds import World
    from reconciler.permissions.exposure import Edit, Exposure
    from reconciler.permissions.relation import Relation
    from reconciler.planning.accesshazards import AccessLimits

_ITEM = f"{Kind.ITEM.value}/"


def access_world(session: Session, plan: Plan, recorded: Mapping[str, bytes]) -> World | None:
    """Return what is recorded, as far as the plan's changes can alter who sees it; None where they cannot."""
    touching = [change for change in plan.changes if touches_access(change)]
    if not touching:
        return None
    from reconciler.cli.worlds import recorded_world

    if all(change.address.kind is Kind.ITEM for change in touching):
        # Only items change, so no other item has a say in it.
        own = {str(change.address) for change in touching}
        recorded = {at: value for at, value in recorded.items() if not at.startswith(_ITEM) or at in own}
    return recorded_world(session, recorded)


def ordered_safely(project: Project, plan: Plan, world: World | None, make: Compile) -> Compiled:
    """Return the plan's calls, which `make` compiles, in an order in which nothing is seen for a moment only."""
    if world is None or project.guardrails.transient_exposure == "allow":
        return make(())
    from reconciler.calls.safely import in_safe_order

    tighten = project.guardrails.transient_exposure == "tighten"
    return in_safe_order(plan.changes, world.relation, world.resources, make, tighten=tighten)


def with_access(
    session: Session,
    plan: Plan,
    world: World | None,
    allowed: Collection[str] = (),
    *,
    out: Path | None = None,
) -> Plan:
    """Return the plan with who gains and who loses sight of what, if any of its changes can alter that.

    `world` is what is recorded, and is taken to what will be. `out` is a file that all of it goes to, however much it
    is. Raises UsageError when it cannot be written.
    """
    if world is None:
        if out is not None:
            _write(out, None, None)
        return plan
    from reconciler.model.canonical import canonical_json
    from reconciler.permissions.exposure import expose
    from reconciler.rendering.exposuredoc import EXAMPLES

    edits = access_edits(plan, world)
    judged = _renamed(plan, edits, world)
    found = expose(world.relation, edits, examples=EXAMPLES)
    document, hazards = exposure_told(session.project, found, world.relation, allowed, judged=judged, out=out)
    ordered = sorted((*plan.hazards, *hazards), key=lambda hazard: (hazard.name, hazard.subject))
    return replace(plan, access=canonical_json(document), hazards=tuple(ordered))


def access_edits(plan: Plan, world: World) -> list[Edit]:
    """Return what a plan changes of who sees what, as edits of what is recorded."""
    from reconciler.permissions.exposure import Edit

    touching = [change for change in plan.changes if touches_access(change)]
    # As recorded, not as the change has it: an alias that goes is given its identity's present well-knowns there.
    was = world.resources([change.address for change in touching if change.address.kind is not Kind.ITEM])
    return [Edit(change.address, was.get(change.address, change.before), change.after) for change in touching]


def _renamed(plan: Plan, edits: list[Edit], world: World) -> tuple[Exposure, Relation] | None:
    """Return what a plan does to who sees what where an item that moves is the same one; None where none moves.

    By their addresses one item goes and one comes, and what comes is nobody's before: a rename would hide that the
    same content is seen by more people.
    """
    moves = {
        change.address: change.moved_from
        for change in plan.changes
        if change.moved_from is not None and change.address.kind is Kind.ITEM
    }
    if not moves:
        return None
    from reconciler.permissions.exposure import Edit, expose

    relation, gone = world.relation.copy(), set(moves.values())
    was = {edit.address: edit.before for edit in edits}
    for address, origin in moves.items():
        relation.place(address, relation.class_of(origin))
        relation.place(origin, None)
    kept = (edit for edit in edits if edit.address not in gone)
    renamed = [
        Edit(edit.address, was.get(moves[edit.address]), edit.after) if edit.address in moves else edit for edit in kept
    ]
    return expose(relation, renamed), relation


def exposure_told(
    project: Project,
    found: Exposure,
    relation: Relation,
    allowed: Collection[str] = (),
    *,
    judged: tuple[Exposure, Relation] | None = None,
    out: Path | None = None,
) -> tuple[dict[str, Any], tuple[Hazard, ...]]:
    """Return the document of what is gained and lost, and the hazards in it; `out` gets all of it.

    `relation` is the one that was taken through the change. `judged` is what hazards are looked for in, where that
    is something else.
    """
    from reconciler.planning.accesshazards import access_hazards
    from reconciler.rendering.exposuredoc import exposure_document

    hazards = access_hazards(*(judged or (found, relation)), access_limits(project), allowed)
    if out is not None:
        _write(out, found, relation)
    return exposure_document(found, relation.names, hazards=hazards), hazards


def access_limits(project: Project) -> AccessLimits:
    """Return what the project's guardrails say of access, with the identities of exceptions in canonical form."""
    from reconciler.planning.accesshazards import AccessLimits, Exemption

    guardrails = project.guardrails
    return AccessLimits(
        guardrails.widened_access,
        tuple(
            Exemption(
                entry.items,
                None
                if entry.to is None
                else tuple(name for identity in entry.to for name in _canonical(project, identity, entry.provider)),
            )
            for entry in guardrails.widened_except
        ),
        guardrails.max_widened_people,
        guardrails.max_widened_items,
    )


def _canonical(project: Project, identity: str, provider: str) -> list[str]:
    """Return an identity as each provider of the project knows it, and the email provider; or as one of them does."""
    from reconciler.cli.worlds import readings_of
    from reconciler.model.identity import Identity, identity_type
    from reconciler.planning.accesshazards import EVERYBODY

    if identity == EVERYBODY:
        return [EVERYBODY]
    word, _, name = identity.partition(":")
    kind = identity_type(word)
    if kind is None:
        raise ValueError(f"not an identity: {identity!r}")
    declared = [entry.name for entry in project.providers]
    providers = [provider] if provider else dict.fromkeys([*declared, readings_of(project).email_provider])
    return [str(Identity(kind, chosen, name)) for chosen in providers]


def _write(path: Path, found: Exposure | None, relation: Relation | None) -> None:
    from reconciler.cli.files import write_whole
    from reconciler.rendering.exposuredoc import exposure_stream

    pieces = exposure_stream(found, relation.names) if found and relation else ()
    write_whole(path, pieces, "access", option="--access-out")
