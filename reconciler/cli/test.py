"""`reconciler test`: the access tests of the manifests, held against what they ask for or what was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import format_option, project_options

if TYPE_CHECKING:
    from reconciler.cli.session import Session
    from reconciler.cli.worlds import World
    from reconciler.manifest.load import Loaded
    from reconciler.permissions.checks import Checks, Finding
    from reconciler.rendering.access import Reason
    from reconciler.rendering.access_tests import Ran


@click.command("test")
@click.option(
    "--of",
    "side",
    type=click.Choice(["desired", "recorded"]),
    default="desired",
    show_default=True,
    help="Hold them against what the manifests ask for, or what the state records as accepted.",
)
@format_option("text", "json", "junit")
@project_options
def command(side: str, output: str, directory: str | None, environment: str | None) -> int:
    """Run the access tests of the manifests (`accessTests`), and say why those fail that do.

    Reads nothing but the project. Exits with 1 when a test fails.

    Example:

    \b
        reconciler test
        reconciler test --of recorded --format junit
    """
    import orjson

    from reconciler.cli.output import write
    from reconciler.cli.session import open_session
    from reconciler.cli.worlds import desired_world, loaded_manifests, recorded_world
    from reconciler.permissions.checks import Checks
    from reconciler.rendering.access_tests import tests_document, tests_junit, tests_lines

    with open_session(directory, environment) as session:
        loaded = loaded_manifests(session)
        if side == "recorded":
            world = recorded_world(session, session.store.fingerprints())
        else:
            world = desired_world(session, loaded)
        checks = Checks(world.relation, world.addresses, world.resources)
        ran = _run(session, loaded, world, checks)
        coverage = checks.coverage()
    if output == "json":
        write(orjson.dumps(tests_document(ran, coverage), option=orjson.OPT_INDENT_2).decode() + "\n")
    elif output == "junit":
        write(tests_junit(ran, coverage))
    else:
        write("".join(f"{line}\n" for line in tests_lines(ran, coverage)))
    return 1 if any(not test.result.passed for test in ran) else 0


def _run(session: Session, loaded: Loaded, world: World, checks: Checks) -> list[Ran]:
    from reconciler.rendering.access_tests import Ran

    ran = []
    for position, test in loaded.access_tests():
        result = checks.run(test)
        reasons = [_reason(session, world, finding) for finding in result.findings]
        ran.append(Ran(position, result, reasons))
    return ran


def _reason(session: Session, world: World, finding: Finding) -> Reason | None:
    from reconciler.cli.worlds import reason_of
    from reconciler.permissions.checks import Kind

    if finding.kind in (Kind.NO_ITEM, Kind.NOBODY):
        return None
    readings = world.relation.readings
    return reason_of(
        session.project,
        world,
        finding.identity,
        finding.subject,
        readings if finding.certain else readings.widest(),
    )
