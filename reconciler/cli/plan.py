"""`reconciler plan`: what would change, from manifests and state alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import (
    access_out_option,
    as_of_option,
    cache_option,
    detail_option,
    format_option,
    no_batch_option,
    out_option,
    plan_options,
    project_options,
)
from reconciler.cli.reportoptions import Wanted, report_options
from reconciler.planning.wish import EXPIRING_WITHIN, Wish

if TYPE_CHECKING:
    from reconciler.cli.session import Session


@click.command("plan")
@project_options
@plan_options
@format_option("text", "json", "markdown", "html")
@detail_option
@click.option(
    "--blame",
    is_flag=True,
    help="Say of each changed value which file and line it comes from, and which git commit wrote that.",
)
@click.option("--body-diff", is_flag=True, help="Show small text bodies line by line.")
@click.option(
    "--check-fields",
    is_flag=True,
    help="Ask the organization for its fields and mappings too, and say which metadata would vanish. "
    "This alone needs the API key and the network.",
)
@no_batch_option
@out_option
@click.option(
    "--state",
    "snapshot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Plan against a snapshot, as from `state pull`, instead of the state itself, which is not asked.",
)
@report_options
@access_out_option
@click.option("--exit-code", is_flag=True, help="Exit with 3 when changes are pending.")
@as_of_option
@click.option(
    "--expiring-within",
    type=click.IntRange(min=0, max=36_500),
    default=EXPIRING_WITHIN,
    show_default=True,
    metavar="DAYS",
    help="List the grants that end (`expires`) within so many days.",
)
@cache_option
def command(
    directory: str | None,
    environment: str | None,
    targets: tuple[str, ...],
    sources: tuple[str, ...],
    resent: tuple[str, ...],
    allowed: tuple[str, ...],
    output: str,
    detail: str,
    blame: bool,
    body_diff: bool,
    check_fields: bool,
    no_batch: bool,
    out: Path | None,
    snapshot: Path | None,
    wanted: Wanted,
    access_out: Path | None,
    exit_code: bool,
    as_of: int | None,
    expiring_within: int,
    no_cache: bool,
) -> int:
    """Show what would change, without credentials or network (but see --check-fields).

    The same manifests (of a git repository: at the same commit) and the same state give the same bytes, wherever and
    whenever; where grants end, as of the same instant.

    Examples:

    \b
        reconciler plan -e prod --exit-code
        reconciler plan --target 'group/corp/*' --detail full
        reconciler plan --out plan.json --format markdown > plan.md
    """
    from reconciler.cli.output import show_plan
    from reconciler.cli.planning import plan_or_report, save_plan
    from reconciler.cli.policing import with_policies
    from reconciler.cli.reports import refusals_reported, write_reports
    from reconciler.cli.session import open_session
    from reconciler.problems import errors_in

    wish = Wish(allowed=allowed, targets=targets, sources=sources, resent=resent, expiring_within=expiring_within)
    with (
        refusals_reported(wanted),
        open_session(directory, environment, use_cache=not no_cache, as_of=as_of) as session,
        _state_of(session, snapshot),
    ):
        planned = plan_or_report(
            session,
            wish,
            output="json" if wanted.has("json") else output,
            keep_bodies=out is not None or body_diff,
            batching="never" if no_batch else "auto",
            access_out=access_out,
        )
        planned = with_policies(session, planned, allowed, now=as_of)
        if check_fields:
            from reconciler.cli.fieldcheck import with_field_problems

            planned = with_field_problems(session, planned, sources)
        if blame:
            from reconciler.cli.blaming import with_blame

            planned = with_blame(planned, session)
        show_plan(planned, session, output=output, detail=detail, body_diffs=body_diff)
        if out is not None:
            save_plan(planned, out)
        write_reports(planned, session, wanted, detail=detail, body_diffs=body_diff)
    if errors_in(planned.plan.problems):
        return 1
    return 3 if exit_code and planned.plan.changes else 0


def _state_of(session: Session, snapshot: Path | None) -> AbstractContextManager[None]:
    if snapshot is None:
        return nullcontext()
    from reconciler.cli.pulledstate import state_of

    return state_of(session, snapshot)
