"""`reconciler diff`: how two environments of a project differ, from its files alone."""

from __future__ import annotations

import time

import click

from reconciler.cli.options import as_of_option, format_option, project_options
from reconciler.problems import Problem, UsageError


@click.command("diff")
@click.option("--env", "named", metavar="NAME", multiple=True, help="An environment; give it twice: from, then to.")
@format_option("text", "json", "markdown")
@click.option("--exit-code", is_flag=True, help="Exit with 3 when they differ by more than variables.")
@as_of_option
@project_options
def command(
    named: tuple[str, ...],
    output: str,
    exit_code: bool,
    as_of: int | None,
    directory: str | None,
    environment: str | None,
) -> int:
    """Say how two environments differ: what is only in one, which fields are not alike, who sees what in one alone.

    Needs no state, key or network. Ids of sources and providers belong to the organization and are no differences;
    what only variables make differ is counted and told apart.

    Examples:

    \b
        reconciler diff --env staging --env prod
        reconciler diff --env staging --env prod --format markdown --exit-code
    """
    from reconciler.cli.environments import compare_environments
    from reconciler.cli.output import write
    from reconciler.manifest.opening import find_project
    from reconciler.rendering.envdiff import difference_document, difference_lines, difference_markdown

    first, second = _two((*((environment,) if environment and len(named) == 1 else ()), *named))
    folder, file = find_project(directory)
    found = compare_environments(folder, file, first, second, as_of=int(time.time()) if as_of is None else as_of)
    document = difference_document(
        (first, second),
        found.settings,
        [(pair.address, pair.former, pair.before, pair.after) for pair in found.pairs],
        found.varying,
        found.equal,
        found.exposure,
        found.unsplit,
    )
    if output == "json":
        import orjson

        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif output == "markdown":
        write(difference_markdown(document))
    else:
        write("".join(f"{line}\n" for line in difference_lines(document)))
    return 3 if exit_code and found.differs else 0


def _two(names: tuple[str, ...]) -> tuple[str, str]:
    """Return the two environments that are meant. Raises UsageError for any other number, or one of them twice."""
    if len(names) != 2 or names[0] == names[1]:
        raise UsageError(
            Problem(
                "two-environments",
                "diff compares two environments",
                why=f"{', '.join(names)} was given." if names else "none was given.",
                fix="name both, for example: reconciler diff --env staging --env prod",
            )
        )
    return names[0], names[1]
