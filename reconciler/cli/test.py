"""`reconciler test`: the access tests of the manifests, held against what they ask for or what was accepted."""

from __future__ import annotations

import click

from reconciler.cli.options import as_of_option, format_option, project_options


@click.command("test")
@click.option(
    "--of",
    "side",
    type=click.Choice(["desired", "recorded"]),
    default="desired",
    show_default=True,
    help="Hold them against what the manifests ask for, or what the state records as accepted.",
)
@click.option("--coverage", "listed", is_flag=True, help="List the items and the people that no test speaks of.")
@format_option("text", "json", "junit", "github")
@as_of_option
@project_options
def command(
    side: str, listed: bool, output: str, as_of: int | None, directory: str | None, environment: str | None
) -> int:
    """Run the access tests of the manifests (`accessTests`), and say why those fail that do.

    Reads nothing but the project. Exits with 1 when a test fails.

    Example:

    \b
        reconciler test
        reconciler test --of recorded --format junit
    """
    import orjson

    from reconciler.cli.output import folder_in_job, write
    from reconciler.cli.plantests import run_tests
    from reconciler.cli.session import open_session
    from reconciler.cli.worlds import desired_world, loaded_manifests, recorded_world
    from reconciler.rendering.access_tests import (
        Untested,
        failure_problem,
        tests_document,
        tests_junit,
        tests_lines,
        unknown_problems,
    )

    with open_session(directory, environment, as_of=as_of) as session:
        loaded = loaded_manifests(session)
        if side == "recorded":
            world = recorded_world(session, session.store.fingerprints())
        else:
            world = desired_world(session, loaded)
        ran, checks = run_tests(session, loaded, world)
        root = session.folder.root
    coverage = checks.coverage()
    untested = Untested(checks.untested_items(), checks.untested_people()) if listed else None
    if output == "json":
        write(orjson.dumps(tests_document(ran, coverage, untested), option=orjson.OPT_INDENT_2).decode() + "\n")
    elif output == "junit":
        write(tests_junit(ran, coverage, untested))
    elif output == "github":
        from reconciler.rendering.annotations import render_annotations

        failed = [failure_problem(test) for test in ran if not test.result.passed]
        noted = [note for test in ran for note in unknown_problems(test)]
        write(render_annotations([*failed, *noted], folder=folder_in_job(root)))
    else:
        write("".join(f"{line}\n" for line in tests_lines(ran, coverage, untested)))
    return 1 if any(not test.result.passed for test in ran) else 0
