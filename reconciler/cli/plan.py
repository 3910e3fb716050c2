"""`reconciler plan`: what would change, from manifests and state alone."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import cache_option, format_option, plan_options, project_options


@click.command("plan")
@project_options
@plan_options
@format_option("text", "json", "markdown")
@click.option(
    "--detail",
    type=click.Choice(["none", "names", "fields", "full"]),
    default="fields",
    show_default=True,
    help="How much to tell of each change.",
)
@click.option("--body-diff", is_flag=True, help="Show small text bodies line by line.")
@click.option(
    "--check-fields",
    is_flag=True,
    help="Ask the organization for its fields and mappings too, and say which metadata would vanish. "
    "This alone needs the API key and the network.",
)
@click.option("--no-batch", is_flag=True, help="Plan one call per change, as the documentation shows them.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Save the plan.")
@click.option("--exit-code", is_flag=True, help="Exit with 3 when changes are pending.")
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
    body_diff: bool,
    check_fields: bool,
    no_batch: bool,
    out: Path | None,
    exit_code: bool,
    no_cache: bool,
) -> int:
    """Show what would change, without credentials or network (but see --check-fields).

    The same manifests and the same state give the same bytes, wherever and whenever.
    """
    from reconciler.cli.output import show_plan
    from reconciler.cli.planning import plan_or_report, save_plan
    from reconciler.cli.session import open_session
    from reconciler.planning.wish import Wish
    from reconciler.problems import errors_in

    wish = Wish(allowed=allowed, targets=targets, sources=sources, resent=resent)
    with open_session(directory, environment, use_cache=not no_cache) as session:
        planned = plan_or_report(
            session,
            wish,
            output=output,
            keep_bodies=out is not None or body_diff,
            batching="never" if no_batch else "auto",
        )
        if check_fields:
            from reconciler.cli.fieldcheck import with_field_problems

            planned = with_field_problems(session, planned, sources)
        show_plan(planned, session, output=output, detail=detail, body_diffs=body_diff)
        if out is not None:
            save_plan(planned, out)
    if errors_in(planned.plan.problems):
        return 1
    return 3 if exit_code and planned.plan.changes else 0
