"""`reconciler init`: a new project that is valid and can be applied to the embedded emulator as it stands."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import is_interactive
from reconciler.problems import Problem, UsageError

if TYPE_CHECKING:
    from reconciler.cli.initfiles import Answers

_REGIONS = ("us", "eu", "au", "ca", "hipaa", "legacy")
_LOCAL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # as `manifest.schema.LocalName`
_SCHEMAS = ("manifest", "project")
_TAKEN = ("reconciler.yaml", "reconciler.yml")


@click.command("init")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("-C", "directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), hidden=True)
@click.option("--organization", metavar="ID", help="The organization's id (default: the embedded emulator alone).")
@click.option("--region", type=click.Choice(_REGIONS), help="Where the organization lives (default: us).")
@click.option("--name", "environment", metavar="NAME", help="What its environment is called (default: prod).")
@click.option("--source", metavar="NAME", help="What we call the first source (default: handbook).")
@click.option("--source-id", metavar="ID", help="What the organization calls it.")
@click.option("--provider", metavar="NAME", help="What we call the security identity provider (default: corp).")
@click.option("--provider-id", metavar="ID", help="What the organization calls it.")
@click.option("--ci", type=click.Choice(("github", "gitlab")), help="Write a pipeline for this forge, too.")
@click.option("--no-input", is_flag=True, help="Ask nothing: what no option says is as by default.")
@click.pass_context
def command(ctx: click.Context, /, folder: Path | None, directory: Path | None, no_input: bool, **given: Any) -> int:
    """Write a new project into DIR: commented, valid, and ready to be applied to the embedded emulator.

    Asks for the organization and its sources on a terminal, and nothing elsewhere; every answer has an option. Writes
    reconciler.yaml, a first manifest, the schemas that editors complete by, and lines of .gitignore. No file that is
    there is overwritten: if one of its own names is taken, nothing is written.

    Examples:

    \b
        reconciler init handbook
        reconciler init acme --organization acmeproduction --source-id acme-handbook --ci github --no-input
    """
    from reconciler.cli.initfiles import Answers, ignoring, project_files
    from reconciler.schemas import schema_text

    inherited = (ctx.find_root().obj or {}).get("directory")
    root = folder or directory or Path(inherited or ".")
    answers = replace(Answers(), **{name: value for name, value in given.items() if value is not None})
    _check(answers)
    if is_interactive() and not no_input:
        answers = _asked(answers, {name for name, value in given.items() if value is not None})
    files = {
        **project_files(answers),
        **{f"schemas/{name}.json": schema_text(name) for name in _SCHEMAS},
    }
    _check_free(root, files)
    ignored = root / ".gitignore"
    before = _text_of(ignored)
    _write(root, files)
    if (after := ignoring(before)) != before:
        _write_one(ignored, after)
    _tell(root, [*files, ".gitignore"], answers)
    return 0


def _asked(answers: Answers, given: set[str]) -> Answers:
    """Ask for what no option said; an answer that is no name is asked for again."""

    def ask(name: str, question: str, *, empty: str = "") -> str:
        known = str(getattr(answers, name) or empty)
        while True:
            said: str = click.prompt(question, default=known, show_default=bool(known), err=True).strip()
            if problem := _bad(name, said):
                click.echo(f"  {problem.what}; {problem.fix}", err=True)
                continue
            return said

    if "organization" not in given:
        answers = replace(answers, organization=ask("organization", "Organization id (empty: the emulator alone)"))
    if answers.organization and "region" not in given:
        region = click.prompt("Region", default=answers.region, type=click.Choice(_REGIONS), err=True)
        answers = replace(answers, region=region)
    if "source" not in given:
        answers = replace(answers, source=ask("source", "Name of the first source"))
    if answers.organization:
        for name, what in (("source_id", "Id of that source"), ("provider_id", "Id of the security identity provider")):
            if name not in given:
                said: dict[str, Any] = {name: ask(name, f"{what} (empty: to be filled in)")}
                answers = replace(answers, **said)
    return answers


def _check(answers: Answers) -> None:
    problems = [
        problem for field in fields(answers) if (problem := _bad(field.name, str(getattr(answers, field.name) or "")))
    ]
    if problems:
        raise UsageError(*problems)


def _bad(name: str, value: str) -> Problem | None:
    """Return why this cannot be that answer: each goes into YAML, and some name files."""
    if (name, value) == ("environment", "local"):
        return Problem(
            "bad-name",
            '"local" cannot be the environment of an organization',
            why="the embedded emulator's environment has that name.",
            fix="call it otherwise, such as prod.",
        )
    optional = name in ("organization", "source_id", "provider_id", "ci")
    if _LOCAL_NAME.fullmatch(value) or (optional and not value):
        return None
    return Problem(
        "bad-name",
        f'"{value}" cannot be the {name.replace("_", " ")}',
        why="it stands in reconciler.yaml as it is.",
        fix="letters, digits, `_`, `.` and `-`, at most 64, beginning with a letter or digit.",
    )


def _check_free(root: Path, files: dict[str, str]) -> None:
    taken = sorted(name for name in {*files, *_TAKEN} if (root / name).exists() or (root / name).is_symlink())
    if taken:
        raise UsageError(
            Problem(
                "file-exists",
                f"{', '.join(taken)} of the new project {'is' if len(taken) == 1 else 'are'} there already",
                why="nothing is overwritten, and half a project is none: nothing was written.",
                fix="choose another folder, or move them away.",
                where=str(root),
            )
        )


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise _unwritable(path, error) from None


def _write(root: Path, files: dict[str, str]) -> None:
    """Write files that are not there; when one fails, those before it go again."""
    written: list[Path] = []
    try:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise _unwritable(root / name, error) from None


def _write_one(path: Path, text: str) -> None:
    try:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        Problem(
            "cannot-write",
            f'"{path}" cannot be written: {os.strerror(error.errno or 0)}',
            fix="choose another folder.",
        )
    )


def _tell(root: Path, files: list[str], answers: Answers) -> None:
    click.echo(f"Wrote {', '.join(files)}" + ("" if root == Path() else f" in {root}") + ".")
    if answers.organization and not (answers.source_id and answers.provider_id):
        click.echo("Put the ids of the source and the provider into reconciler.yaml: they are placeholders.")
    if answers.ci and (above := _repository_above(root)):
        click.echo(
            f"The pipeline is read at the root of the repository alone: move it to {above}, and add -C to its lines."
        )
    at = "" if root == Path() else f" -C {shlex.quote(str(root))}"
    click.echo("Next, against the embedded emulator:")
    for words, what in (("validate", "every problem of the files"), ("plan", "what would change"), ("apply", "do it")):
        click.echo(f"    {f'reconciler{at} {words}':<40}  # {what}")


def _repository_above(root: Path) -> Path | None:
    """Return the folder of the repository that the project's folder is in and not the root of, if there is one."""
    here = root.resolve()
    if (here / ".git").exists():
        return None
    return next((parent for parent in here.parents if (parent / ".git").exists()), None)
