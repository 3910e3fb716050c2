"""What README.md and docs/reference.md say: all options and settings, and an example that is what comes out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from reconciler.cli.main import COMMANDS, cli
from reconciler.manifest import schema
from tests.builders import REPOSITORY, run_here

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
REFERENCE = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
LANGUAGE = (REPOSITORY / "docs" / "manifests.md").read_text(encoding="utf-8")
EXAMPLE = {
    "example.yaml": [("title: My Text", "title: My First Text")],
    "handbook.yaml": [
        (
            "members: [group:AlphaTeam, group:Cleared,",
            "members: [group:AlphaTeam, group:Cleared, user:frank@example.com,",
        )
    ],
}
BOB = {"example.yaml": [("    denied: [user:bob@example.com]\n", "")]}


def options(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            yield from (
                name for name in parameter.opts if name.startswith("--") and name not in ("--help", "--version")
            )
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from options(found)


def test_the_reference_has_every_option() -> None:
    missing = {name for name in options(cli) if not re.search(rf"`{name}[ `,]", REFERENCE)}
    assert not missing


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_readme_has_every_command(command: str) -> None:
    assert re.search(rf"^\| `{command}\b", README, re.MULTILINE)


@pytest.mark.parametrize(
    "model",
    [
        *(schema.ProjectSections, schema.SourceSpec, schema.ProviderSpec, schema.EnvironmentSpec),
        *(schema.WidenedAccessSpec, schema.WidenedExceptSpec, schema.MaxWidenedSpec),
        *(schema.QuotasSpec, schema.GuardrailsSpec),
    ],
)
def test_the_reference_has_every_setting(model: type[BaseModel]) -> None:
    keys = {info.alias or name for name, info in model.model_fields.items()}
    assert not {key for key in keys if not re.search(rf"`{key}[`:]", REFERENCE)}


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    root = tmp_path / "manifests"
    shutil.copytree(REPOSITORY / "manifests", root, ignore=shutil.ignore_patterns(".reconciler"))
    return root


def change(root: Path, changes: dict[str, list[tuple[str, str]]]) -> None:
    for name, pairs in changes.items():
        text = (root / name).read_text(encoding="utf-8")
        for before, after in pairs:
            assert text.count(before) == 1
            text = text.replace(before, after)
        (root / name).write_text(text, encoding="utf-8")


def shown_in_readme(command: str) -> str:
    found = re.search(rf"\$ reconciler {command}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_first_example_is_what_comes_out(manifests: Path) -> None:
    for arguments in (("apply", "--auto-approve"), ("verify",)):
        assert run_here("-C", str(manifests), *arguments).code == 0
    change(manifests, EXAMPLE)

    start, _, end = shown_in_readme("plan").partition("...\n")
    shown = run_here("-C", str(manifests), "plan").out
    # How many calls are recorded is a matter of what ran before.
    shown = re.sub(r"from serial \d+", "from serial 4", shown)
    assert shown.startswith(start)
    assert shown.endswith(end)


def test_the_failing_access_test_is_what_comes_out(manifests: Path) -> None:
    change(manifests, EXAMPLE)
    change(manifests, BOB)

    ran = run_here("-C", str(manifests), "test")

    assert (ran.code, ran.out) == (1, shown_in_readme("test"))


@pytest.mark.parametrize("page", [LANGUAGE, README])
def test_the_manifest_language_is_shown_by_manifests_that_are_valid(page: str, tmp_path: Path) -> None:
    blocks = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
    (tmp_path / "content").mkdir()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "content" / "page.html").write_text("<title>A page</title>", encoding="utf-8")
    (tmp_path / "reconciler.yaml").write_text(blocks.findall(LANGUAGE)[0], encoding="utf-8")
    (tmp_path / "manifests" / "all.yaml").write_text(blocks.findall(page)[-1], encoding="utf-8")

    for arguments in (("validate",), ("test",), ("plan",)):
        ran = run_here("-C", str(tmp_path), *arguments)
        assert ran.code == 0, ran.err
