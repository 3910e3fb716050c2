"""`reconciler validate`: every problem of the manifests, in one run."""

from __future__ import annotations

import click

from reconciler.cli.options import as_of_option, cache_option, format_option, project_options
from reconciler.problems import ManifestError, Problem, errors_in


@click.command("validate")
@project_options
@format_option("text", "json", "sarif", "github")
@as_of_option
@cache_option
def command(directory: str | None, environment: str | None, output: str, as_of: int | None, no_cache: bool) -> int:
    """Report every problem of the manifests, with its place and how to fix it.

    Reads nothing but the project. Exits with 1 when there is an error.

    Examples:

    \b
        reconciler validate
        reconciler validate --format sarif > problems.sarif
    """
    from reconciler.cli.output import folder_in_job, from_here, show_problems, write
    from reconciler.manifest.opening import find_project

    root = find_project(directory)[0].root
    problems, counted = _problems(directory, environment, use_cache=not no_cache, as_of=as_of)
    if output == "json":
        from reconciler.rendering.problems import render_problems_json

        write(render_problems_json(from_here(problems, root)))
    elif output == "sarif":
        from reconciler.rendering.problems import render_sarif

        write(render_sarif(problems, folder=folder_in_job(root)))
    elif output == "github":
        from reconciler.rendering.annotations import render_annotations

        write(render_annotations(problems, folder=folder_in_job(root)))
    elif problems:
        show_problems(problems, root)
    if output == "text" and not errors_in(problems):
        write(f"Valid: {counted}.\n")
    return 1 if errors_in(problems) else 0


def _problems(
    directory: str | None, environment: str | None, *, use_cache: bool, as_of: int | None
) -> tuple[list[Problem], str]:
    from reconciler.cli.linting import lints_of
    from reconciler.cli.policing import problems_of_policies
    from reconciler.cli.session import open_session
    from reconciler.manifest.load import load_manifests
    from reconciler.rendering.values import count

    try:
        with open_session(directory, environment, use_cache=use_cache, as_of=as_of) as session:
            loaded = load_manifests(
                session.project,
                session.folder,
                session.project_file,
                recorded=None,
                cache=session.cache,
                as_of=session.as_of,
            )
            # Of manifests with errors only a part is known, and half of a group looks like an empty one.
            graded = dict(session.project.lints)
            broken = any(problem.code not in graded for problem in errors_in(loaded.problems))
            found = [] if broken else lints_of(loaded, session.cache)
            found += problems_of_policies(session)
    except ManifestError as error:
        return list(error.problems), ""
    resources = count(len(loaded.desired.fingerprints), "resource")
    return [*loaded.problems, *found], f"{resources} in {count(len(loaded.files), 'file')}"
