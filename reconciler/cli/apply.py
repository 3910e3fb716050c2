"""`reconciler apply`: make the changes of a plan that was saved, or made and confirmed now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import (
    apply_options,
    as_of_option,
    cache_option,
    format_option,
    plan_options,
    project_options,
    refresh_option,
    refresh_recorded_option,
    same_manifests_option,
)
from reconciler.cli.reportoptions import Wanted, report_options

if TYPE_CHECKING:
    from reconciler.cli.makeplan import Planned


@click.command("apply")
@click.argument("plan_file", metavar="[PLAN]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@project_options
@plan_options
@apply_options
@refresh_option
@refresh_recorded_option
@same_manifests_option
@report_options
@format_option("text", "json")
@as_of_option
@cache_option
def command(
    plan_file: Path | None,
    directory: str | None,
    environment: str | None,
    targets: tuple[str, ...],
    sources: tuple[str, ...],
    resent: tuple[str, ...],
    allowed: tuple[str, ...],
    detail: str,
    auto_approve: bool,
    no_batch: bool,
    lock_timeout: float,
    parallelism: int,
    refresh_identities: bool,
    refresh: bool,
    same_manifests: bool,
    output: str,
    wanted: Wanted,
    as_of: int | None,
    no_cache: bool,
) -> int:
    """Make the changes: of a saved PLAN, or of a plan made and confirmed now.

    Every accepted call is recorded before what waits for it is sent. If anything stops it, the same
    command goes on where it stopped. With --format json the plan goes to stderr, and stdout gets a
    report of the calls.

    Examples:

    \b
        reconciler apply
        reconciler apply -e prod --auto-approve
        reconciler plan --out plan.json && reconciler apply plan.json
    """
    from functools import partial

    from reconciler.cli.applying import Approval, Terms, apply_planned
    from reconciler.cli.planning import plan_or_report
    from reconciler.cli.reports import refusals_reported
    from reconciler.cli.saved import go_on_after_saved, read_saved
    from reconciler.cli.session import open_session
    from reconciler.planning.wish import Wish
    from reconciler.problems import Problem, UsageError

    if plan_file is not None and (targets or sources or resent or no_batch or refresh or as_of is not None):
        raise UsageError(
            Problem(
                "plan-is-fixed",
                "--target, --source, --resend, --no-batch, --refresh and --as-of have no meaning for a saved plan",
                why="it is applied exactly as it was reviewed.",
                fix="give them to `reconciler plan`, or leave them out.",
            )
        )
    if same_manifests and plan_file is None:
        raise UsageError(
            Problem(
                "no-saved-plan",
                "--same-manifests has no meaning without a saved plan",
                why="a plan that is made now is made from the manifests as they are.",
                fix="name the plan to apply, or leave it out.",
            )
        )
    with open_session(directory, environment, use_cache=not no_cache, as_of=as_of) as session:
        if refresh:
            from reconciler.cli.drift import refresh_recorded

            refresh_recorded(session)

        def make() -> Planned:
            with refusals_reported(wanted):
                if plan_file is not None:
                    return read_saved(session, plan_file, allowed, same_manifests=same_manifests)
                wish = Wish(allowed=allowed, targets=targets, sources=sources, resent=resent)
                return plan_or_report(session, wish, keep_bodies=True, batching="never" if no_batch else "auto")

        terms = Terms(
            approval=Approval(auto=auto_approve, question="Make these changes?", detail=detail),
            allowed=allowed,
            lock_timeout=lock_timeout,
            parallelism=parallelism,
            output=output,
            wanted=wanted,
            saved=plan_file is not None,
            refresh_identities=refresh_identities,
            go_on=None if plan_file is None else partial(go_on_after_saved, plan_file, directory, environment),
        )
        return apply_planned(session, make, terms)
