"""`reconciler show`: a saved plan, put before whoever reviews it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import format_option, wants_color
from reconciler.cli.reportoptions import Wanted, report_options

if TYPE_CHECKING:
    from reconciler.planfile import SavedPlan


@click.command("show")
@click.argument("plan_file", metavar="PLAN_FILE", type=click.Path(dir_okay=False, path_type=Path))
@format_option("text", "json", "markdown", "html")
@click.option(
    "--detail",
    type=click.Choice(["none", "names", "fields", "full"]),
    default="fields",
    show_default=True,
    help="How much to tell of each change; JSON always tells all.",
)
@report_options
def command(plan_file: Path, output: str, detail: str, wanted: Wanted) -> int:
    """Show a saved plan, from its file alone: no project, no state, no network.

    A file that was altered or cut short after it was made is refused.

    Example:

    \b
        reconciler plan --out plan.json
        reconciler show plan.json --format markdown
    """
    from reconciler.cli.files import read_plan_file
    from reconciler.cli.output import write
    from reconciler.cli.reports import write_saved_reports
    from reconciler.planfile import load_plan

    data = read_plan_file(plan_file)
    saved = load_plan(data, str(plan_file))
    # The file is the document, and so it is shown: made anew it would bear this version's name.
    write(data.decode() if output == "json" else _rendered(saved, output, detail))
    write_saved_reports(saved.plan, saved.compiled, wanted, detail=detail, document=data.decode())
    return 0


def _rendered(saved: SavedPlan, output: str, detail: str) -> str:
    from reconciler.cli.output import terminal_width
    from reconciler.rendering.outline import Detail, outline

    made = outline(saved.plan, saved.compiled, detail=Detail(detail), everybody=output == "html")
    if output == "markdown":
        from reconciler.rendering.markdown import render_markdown

        return render_markdown(made)
    if output == "html":
        from reconciler.rendering.html import render_html

        return render_html(made)
    from reconciler.rendering.text import render_plan

    return render_plan(made, width=terminal_width(), color=wants_color(sys.stdout))
