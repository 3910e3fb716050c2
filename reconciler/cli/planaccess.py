"""What a plan says of access: who gains and who loses sight of what, and what of that must be allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.cli.session import Session
from reconciler.model.address import Kind
from reconciler.planning.change import touches_access
from reconciler.planning.plan import Plan

# Identities that a plan names of those who gain or lose sight of the same items; `access diff` names all.
IDENTITIES_NAMED = 20

# Above so many changed identities a plan does not work out who gains and loses: each is looked for behind each change
# of sight, and a first load would take longer to explain than to apply.
IDENTITIES_EVALUATED = 1000


def with_access(session: Session, plan: Plan, recorded: Mapping[str, bytes]) -> Plan:
    """Return the plan with who gains and who loses sight of what, if any of its changes can alter that."""
    touching = [change for change in plan.changes if touches_access(change)]
    identities = [change.address for change in touching if change.address.kind is not Kind.ITEM]
    if not touching or len(identities) > IDENTITIES_EVALUATED:
        return plan
    from reconciler.cli.worlds import recorded_world
    from reconciler.model.canonical import canonical_json
    from reconciler.permissions.exposure import Edit, expose
    from reconciler.rendering.exposuredoc import exposure_document

    world = recorded_world(session, recorded)
    relation = world.relation
    # As recorded, not as the change has it: an alias that goes is given its identity's present well-knowns there.
    was = world.resources(identities)
    found = expose(
        relation, [Edit(change.address, was.get(change.address, change.before), change.after) for change in touching]
    )
    return replace(plan, access=canonical_json(exposure_document(found, relation.names, most=IDENTITIES_NAMED)))
