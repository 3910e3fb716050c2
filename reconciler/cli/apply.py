"""`reconciler apply`: make the changes of a plan that was saved, or made and confirmed now."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import apply_options, cache_option, plan_options, project_options


@click.command("apply")
@click.argument("plan_file", metavar="[PLAN]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@project_options
@plan_options
@apply_options
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
    no_cache: bool,
) -> int:
    """Make the changes: of a saved PLAN, or of a plan made and confirmed now.

    Every accepted call is recorded before the next one is sent. If anything stops it, the same
    command goes on where it stopped.
    """
    from reconciler.cli.applying import Approval, apply_planned, go_on_after_saved, read_saved
    from reconciler.cli.planning import plan_or_report
    from reconciler.cli.session import open_session
    from reconciler.planning.wish import Wish
    from reconciler.problems import Problem, UsageError

    if plan_file is not None and (targets or sources or resent or no_batch):
        raise UsageError(
            Problem(
                "plan-is-fixed",
                "--target, --source, --resend and --no-batch have no meaning for a saved plan",
                why="it is applied exactly as it was reviewed.",
                fix="give them to `reconciler plan`, or leave them out.",
            )
        )
    with open_session(directory, environment, use_cache=not no_cache) as session:
        if plan_file is not None:
            planned = read_saved(session, plan_file, allowed)
        else:
            wish = Wish(allowed=allowed, targets=targets, sources=sources, resent=resent)
            planned = plan_or_report(session, wish, keep_bodies=True, batching="never" if no_batch else "auto")
        approval = Approval(auto=auto_approve, question="Make these changes?", detail=detail)
        go_on = None if plan_file is None else go_on_after_saved(plan_file, directory, environment)
        return apply_planned(session, planned, approval, lock_timeout=lock_timeout, go_on=go_on)
