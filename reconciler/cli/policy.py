"""`reconciler policy`: try the project's policies: run their tests, and show what they are asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.cli.options import as_of_option, format_option, project_options

if TYPE_CHECKING:
    from reconciler.cli.session import Session


@click.group("policy")
def command() -> None:
    """Try the project's policies (`policies` in reconciler.yaml), which every plan must satisfy.

    Example:

    \b
        reconciler policy test
        reconciler policy input > input.json
    """


@command.command("test", short_help="Run the tests of the policies.")
@format_option("text", "json")
@project_options
def test_command(directory: str | None, environment: str | None, output: str) -> int:
    """Read all policies and run their tests, which stand beside them in files named NAME.test.yaml.

    A test is an input, with as much of it as the package needs, and the codes that it must deny or warn of. Exits
    with 1 when one fails.

    \b
        - name: deletions wait for Monday
          package: reconciler.calendar
          input: {weekday: Friday, summary: {delete: 1}}
          deny: [quiet-days]

    Example:

    \b
        reconciler policy test
    """
    import orjson

    from reconciler.cli.output import show_problems, write
    from reconciler.cli.session import open_session
    from reconciler.policies.cases import judge
    from reconciler.policies.engine import evaluate_each
    from reconciler.policies.files import read_policies
    from reconciler.policies.verdict import verdicts_of
    from reconciler.rendering.values import count

    with open_session(directory, environment, use_cache=False) as session:
        policies = read_policies(session.folder, _folder_of(session))
        inputs = [(case.document, case.package) for case in policies.cases]
        if not inputs:
            inputs = [(b"{}", "")]  # so that policies without tests are read as well
        said = evaluate_each(policies.modules, policies.data, inputs)
        root = session.folder.root
    judged = [(case, judge(case, verdicts_of(asked))) for case, asked in zip(policies.cases, said, strict=False)]
    failed = [problem for _, problem in judged if problem is not None]
    if output == "json":
        tests = [
            {"name": case.name, "package": case.package, "file": case.file, "passed": problem is None}
            for case, problem in judged
        ]
        write(orjson.dumps({"tests": tests}, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        for case, problem in judged:
            write(f"{'ok    ' if problem is None else 'FAILED'} {case.package}: {case.name}\n")
        write(f"{count(len(judged), 'test')}, {len(failed)} failed; {count(len(policies.modules), 'policy file')}.\n")
    if failed:
        show_problems(failed, root)
    return 1 if failed else 0


@command.command("input", short_help="Print what policies are asked about.")
@as_of_option
@project_options
def input_command(directory: str | None, environment: str | None, as_of: int | None) -> int:
    """Print the input of the policies for the plan of now, as JSON: to try rules on, or to make a test of.

    Example:

    \b
        reconciler policy input --as-of 2027-01-29 > input.json
    """
    import orjson

    from reconciler.cli.output import write
    from reconciler.cli.planning import plan_or_report
    from reconciler.cli.policing import input_of
    from reconciler.cli.session import open_session
    from reconciler.planning.wish import Wish

    with open_session(directory, environment, as_of=as_of) as session:
        document = input_of(session, plan_or_report(session, Wish(), keep_bodies=False, output="json"), now=as_of)
    write(orjson.dumps(orjson.loads(document), option=orjson.OPT_INDENT_2).decode() + "\n")
    return 0


def _folder_of(session: Session) -> str:
    from reconciler.problems import Problem, UsageError

    if session.project.policies is None:
        raise UsageError(
            Problem(
                "no-policies",
                f'environment "{session.project.environment.name}" has no policies',
                fix="name their folder in reconciler.yaml: `policies: policies`.",
            )
        )
    return session.project.policies
