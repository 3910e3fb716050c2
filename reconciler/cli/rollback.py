"""`reconciler rollback`: the plan that gives back who saw what before a run."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import (
    allow_option,
    detail_option,
    format_option,
    no_batch_option,
    out_option,
    project_options,
)
from reconciler.cli.reportoptions import Wanted, report_options


@click.command("rollback")
@click.option("--access-only", is_flag=True, help="Undo who sees what, and nothing else. Must be given.")
@click.option("--run", metavar="RUN", help="The run to undo: its id, or `last` (the default) that changed access.")
@click.option("--since", metavar="RUN", help="Undo this run and all later ones.")
@click.option("--widenings-only", is_flag=True, help="Undo only what lets somebody see more than before.")
@click.option("--created", is_flag=True, help="Delete the items that were created, as well.")
@click.option(
    "--exclude",
    "excluded",
    metavar="ADDRESS",
    multiple=True,
    help="Leave this address, uri or pattern as it is (repeatable).",
)
@project_options
@allow_option
@format_option("text", "json", "markdown", "html")
@detail_option
@no_batch_option
@out_option
@report_options
def command(
    access_only: bool,
    run: str | None,
    since: str | None,
    widenings_only: bool,
    created: bool,
    excluded: tuple[str, ...],
    directory: str | None,
    environment: str | None,
    allowed: tuple[str, ...],
    output: str,
    detail: str,
    no_batch: bool,
    out: Path | None,
    wanted: Wanted,
) -> int:
    """Plan to give back who saw what before a run; changes nothing by itself.

    What somebody can see who could not before is taken back first. Content stays as it is, and so does what a later
    run changed again. Save the plan with --out, review it, and make the changes with `apply FILE`. The manifests
    still ask for what is undone, and the plan says where.

    Example:

    \b
        reconciler rollback --access-only --out back.json
        reconciler apply back.json
    """
    from reconciler.cli.output import show_plan
    from reconciler.cli.planning import save_plan
    from reconciler.cli.policing import with_policies
    from reconciler.cli.reports import refusals_reported, write_reports
    from reconciler.cli.session import open_session
    from reconciler.cli.undoing import LAST, Asked, make_rollback_plan
    from reconciler.planning.wish import Wish
    from reconciler.problems import Problem, UsageError, errors_in

    if not access_only:
        raise UsageError(
            Problem(
                "access-only",
                "only changes of access can be undone",
                why="of content that was replaced or deleted, nothing is kept.",
                fix="give --access-only; for content, take the manifests back to what they were and apply them.",
            )
        )
    if run is not None and since is not None:
        raise UsageError(
            Problem("run-and-since", "--run undoes one run, --since all from one on", fix="give one of the two.")
        )
    asked = Asked(run or LAST, since or "", created, widenings_only, tuple(sorted(set(excluded))))
    with refusals_reported(wanted), open_session(directory, environment) as session:
        planned = make_rollback_plan(
            session,
            asked,
            Wish(allowed=allowed),
            keep_bodies=out is not None,
            batching="never" if no_batch else "auto",
        )
        planned = with_policies(session, planned, allowed)
        show_plan(planned, session, output=output, detail=detail)
        if out is not None:
            save_plan(planned, out)
        write_reports(planned, session, wanted, detail=detail)
    return 1 if errors_in(planned.plan.problems) else 0
