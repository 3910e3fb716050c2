"""`reconciler schema`: the JSON Schemas of what is written by hand, of saved plans and states, and of reports."""

from __future__ import annotations

import os
from pathlib import Path

import click

from reconciler.logs import tell
from reconciler.problems import Problem, UsageError

# Named here so that `--help` needs no pydantic; a test holds them against `schemas.SCHEMAS`.
NAMES = (
    "manifest",
    "project",
    "overlay",
    "plan",
    "state",
    "validate",
    "apply",
    "verify",
    "drift",
    "diff",
    "history",
    "history-verify",
    "policy-input",
)


@click.command("schema")
@click.argument("name", metavar="[NAME]", required=False, type=click.Choice(NAMES))
@click.option("--all", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Write all of them to a folder.")
def command(name: str | None, folder: Path | None) -> int:
    """Print a JSON Schema (draft 2020-12), by default the one of manifests.

    NAME is manifest, project or overlay, for what you write; plan or state, for what is saved; validate, apply,
    verify, drift, diff, history or history-verify, for what these commands report with --format json;
    policy-input, for what policies are asked about.

    With the first three an editor completes keys and marks mistakes while one types. The first line of a manifest
    names it:

    \b
        # yaml-language-server: $schema=../schemas/manifest.json

    Example:

    \b
        reconciler schema --all schemas
    """
    if name is not None and folder is not None:
        raise UsageError(Problem("one-or-all", f'either "{name}" or --all, not both', fix="leave one of them out."))
    from reconciler.schemas import schema_text

    if folder is not None:
        _write_all(folder)
        return 0
    from reconciler.cli.output import write

    write(schema_text(name or NAMES[0]))
    return 0


def _write_all(folder: Path) -> None:
    from reconciler.schemas import schema_text

    for name in NAMES:
        path = folder / f"{name}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(schema_text(name).encode())
        except OSError as error:
            raise UsageError(
                Problem(
                    "cannot-write",
                    f'"{path}" cannot be written: {os.strerror(error.errno or 0)}',
                    fix="choose another folder for --all.",
                )
            ) from None
        tell("schema.written", f"wrote {path}", path=str(path))
