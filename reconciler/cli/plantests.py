"""Access tests held against a world, for `reconciler test` and for every plan that is made from manifests.

They speak of all that the manifests ask for, also where a plan was narrowed to a part of it: an apply of that part
is no reason to let a rule be broken by the rest. It prints nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.cli.session import Session
from reconciler.planning.plan import AccessTests, Plan

if TYPE_CHECKING:
    from reconciler.cli.worlds import World
    from reconciler.manifest.load import Loaded
    from reconciler.permissions.checks import Checks, Finding
    from reconciler.rendering.access import Reason
    from reconciler.rendering.access_tests import Ran


def with_tests(session: Session, plan: Plan, loaded: Loaded) -> Plan:
    """Return the plan with how many access tests ran, and each that fails among its problems, as an error.

    Whom a test names and nobody declares is a note there.

    Where the manifests have none, nobody's access is worked out.
    """
    if not loaded.has_access_tests:
        return plan
    from reconciler.cli.worlds import desired_world
    from reconciler.rendering.access_tests import failure_problem, unknown_problems

    # A problem tells one failure and counts the rest, so one is all that is explained.
    ran, _ = run_tests(session, loaded, desired_world(session, loaded), explained=1)
    failed = [failure_problem(test) for test in ran if not test.result.passed]
    noted = [note for test in ran for note in unknown_problems(test)]
    return replace(plan, tests=AccessTests(len(ran), len(failed)), problems=(*plan.problems, *failed, *noted))


def run_tests(
    session: Session, loaded: Loaded, world: World, *, explained: int | None = None
) -> tuple[list[Ran], Checks]:
    """Return what came of each access test in a world, and what they were run by: it knows whom none speaks of.

    `explained` bounds how many findings of each are told why; None explains all that are told. Raises ManifestError
    when a file was changed since it was read.
    """
    from reconciler.permissions.checks import Checks
    from reconciler.rendering.access_tests import Ran

    checks = Checks(world.relation, world.addresses, world.resources)
    ran = []
    for position, test in loaded.access_tests():
        result = checks.run(test)
        reasons = [
            _reason(session, world, finding) if explained is None or place < explained else None
            for place, finding in enumerate(result.findings)
        ]
        ran.append(Ran(position, result, reasons))
    return ran, checks


def _reason(session: Session, world: World, finding: Finding) -> Reason | None:
    from reconciler.cli.worlds import reason_of
    from reconciler.permissions.checks import Kind

    if finding.kind in (Kind.NO_ITEM, Kind.NOBODY):
        return None
    readings = world.relation.readings
    return reason_of(
        session.project,
        world,
        finding.identity,
        finding.subject,
        readings if finding.certain else readings.widest(),
    )
