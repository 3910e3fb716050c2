"""Plans held against the project's policies: with every plan that is shown, and again before anything is applied.

What was denied when a plan was made stays denied in the saved plan, and the policies that are there when it is
applied must allow it as well. A saved plan does not say which files its changes come from, so a rule about files that
was added later does not see them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from reconciler.cli.makeplan import Planned
from reconciler.cli.planning import refuse_hazards
from reconciler.cli.session import Session
from reconciler.planning.plan import Hazard, Plan
from reconciler.problems import ManifestError, Position, Problem, errors_in

_SAMPLE = 100  # changes

HAZARD = "policy"  # as `policies.verdict` calls it, which only a project with policies imports

if TYPE_CHECKING:
    from reconciler.manifest.load import Loaded
    from reconciler.policies.verdict import Verdict


def with_policies(
    session: Session,
    planned: Planned,
    allowed: Collection[str],
    *,
    phase: Literal["plan", "apply"] = "plan",
    now: int | None = None,
) -> Planned:
    """Return the plan with what the project's policies say of it, as problems and hazards.

    A plan is held against them as of `now` (seconds since 1970), or without regard to time. Policies that cannot be
    evaluated are errors of the plan. Raises UsageError where their engine is not installed.
    """
    below = session.project.policies
    if below is None or not planned.plan.changes:
        return planned
    from reconciler.policies.verdict import hazards_of

    plan = planned.plan
    loaded: Loaded | None = None
    hazards: tuple[Hazard, ...] = ()
    try:
        loaded = _loaded(session, planned, phase)
        verdicts = _verdicts(session, planned, loaded, below, phase, now)
        found = _problems(planned, loaded, verdicts)
        hazards = hazards_of(verdicts, _allowed(plan, allowed))
    except ManifestError as error:
        found = error.problems
        if found[0].code == "policy-timeout" and len(plan.changes) > _SAMPLE:
            found = (*_first_denials(session, planned, loaded, below, phase, now), *found)
    # Of a saved plan nobody knows the lines any more, and what was told is not told twice.
    told = {(problem.code, problem.what) for problem in plan.problems}
    problems = (*plan.problems, *(problem for problem in found if (problem.code, problem.what) not in told))
    again = {hazard.subject for hazard in hazards}
    kept = tuple(hazard for hazard in plan.hazards if hazard.name != HAZARD or hazard.subject not in again)
    return replace(planned, plan=replace(plan, problems=problems, hazards=(*kept, *hazards)))


def _problems(planned: Planned, loaded: Loaded | None, verdicts: Sequence[Verdict]) -> tuple[Problem, ...]:
    from reconciler.policies.verdict import addresses_told, problems_of

    return problems_of(verdicts, _places(planned, loaded, addresses_told(verdicts)))


def _first_denials(
    session: Session,
    planned: Planned,
    loaded: Loaded | None,
    below: str,
    phase: Literal["plan", "apply"],
    now: int | None,
) -> tuple[Problem, ...]:
    """Return what is denied of the first changes of a plan that took too long: it may be all of them that is."""
    first = replace(planned, plan=replace(planned.plan, changes=planned.plan.changes[:_SAMPLE]))
    with suppress(ManifestError):
        return _problems(first, loaded, _verdicts(session, first, loaded, below, phase, now))
    return ()


def problems_of_policies(session: Session) -> tuple[Problem, ...]:
    """Return what is wrong with the policies themselves, as far as their texts show without the engine."""
    if session.project.policies is None:
        return ()
    from reconciler.policies.files import read_policies

    try:
        read_policies(session.folder, session.project.policies)
    except ManifestError as error:
        return error.problems
    return ()


def input_of(session: Session, planned: Planned, *, now: int | None) -> bytes:
    """Return what policies are asked about a plan, as JSON. Raises ManifestError for a plan that is too large."""
    return _input(session, planned, _loaded(session, planned, "plan"), "plan", now)


def hold_to_policies(session: Session, planned: Planned, allowed: Collection[str]) -> Planned:
    """Return the plan with what the policies say of it now, at the moment that it is to be applied."""
    return with_policies(session, planned, allowed, phase="apply", now=int(time.time()))


def refuse_by_policies(session: Session, planned: Planned, allowed: Collection[str]) -> None:
    """Ask the policies once more, after somebody thought about a plan that they allowed.

    Raises ManifestError for what they deny by now, StateError for what must be allowed by name.
    """
    plan = hold_to_policies(session, planned, allowed).plan
    if errors := errors_in(plan.problems):
        raise ManifestError(*errors)
    refuse_hazards(plan)


def _allowed(plan: Plan, allowed: Collection[str]) -> set[str]:
    """Return what is allowed now, and what was when the plan was made."""
    before = (hazard for hazard in plan.hazards if hazard.name == HAZARD and hazard.allowed)
    return {*allowed, *(f"{HAZARD}:{hazard.subject}" for hazard in before)}


def _verdicts(
    session: Session,
    planned: Planned,
    loaded: Loaded | None,
    below: str,
    phase: Literal["plan", "apply"],
    now: int | None,
) -> tuple[Verdict, ...]:
    from reconciler.policies.engine import evaluate
    from reconciler.policies.files import read_policies
    from reconciler.policies.verdict import verdicts_of

    policies = read_policies(session.folder, below)
    document = _input(session, planned, loaded, phase, now)
    return verdicts_of(evaluate(policies.modules, policies.data, document))


def _input(
    session: Session, planned: Planned, loaded: Loaded | None, phase: Literal["plan", "apply"], now: int | None
) -> bytes:
    from reconciler.policies.document import Occasion, policy_input

    plan = planned.plan
    files = {} if loaded is None else loaded.files_of(change.address for change in plan.changes)
    return policy_input(plan, Occasion(phase, now, _author_of(session, plan.commit), files))


def _author_of(session: Session, commit: str) -> str:
    """Return the mail address of a commit's author, nothing where git does not say."""
    if not commit:
        return ""
    from reconciler.cli.gitinfo import run_git

    try:
        code, out, _ = run_git(session.folder.root, "show", "--no-patch", "--format=%ae", commit)
    except OSError:
        return ""
    return "" if code else out.decode(errors="replace").strip()


def _loaded(session: Session, planned: Planned, phase: Literal["plan", "apply"]) -> Loaded | None:
    """Return the manifests that a plan is made from, read again where it was made before; None where it has none."""
    if planned.loaded is not None or phase == "apply" or planned.plan.rollback:
        return planned.loaded
    from reconciler.cli.worlds import loaded_manifests

    return loaded_manifests(session)


def _places(planned: Planned, loaded: Loaded | None, addresses: Iterable[str]) -> dict[str, tuple[Position, str]]:
    """Return where the manifests declare what verdicts speak of; of a saved plan nobody knows."""
    if loaded is None:
        return {}
    from reconciler.model.place import Place

    changing = {str(change.address) for change in planned.plan.changes}
    wanted = [Place(address) for address in sorted({*addresses} & changing)]
    return {place.address: found for place, found in loaded.find_places(wanted).items()}
