"""`completion`: what bash offers while somebody types, and that it costs neither a message nor a call."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.main import COMMANDS
from reconciler.cli.options import HAZARDS
from tests.builders import EMAIL, PROJECT, Folder, as_yaml, child_environment, run_here

ITEM = "https://example.com/a?x=1"


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("completion") / "project")
    folder.write("reconciler.yaml", PROJECT.replace("guardrails", "  live: {organization: acme}\nguardrails"))
    folder.write(
        "a.yaml",
        as_yaml(
            {
                "defaults": {"source": "blog", "provider": "corp"},
                "items": [{"uri": ITEM, "title": "A"}],
                "groups": [{"name": "Staff", "members": ["user:alice@example.com"]}],
                "aliases": [
                    {
                        "of": "user:alice@example.com",
                        "is": [{"provider": EMAIL, "identity": "user:alice@example.com"}],
                    }
                ],
            }
        ),
    )
    folder.ok("apply", "--auto-approve")
    return folder


def offered(line: str, folder: Path) -> list[str]:
    """Return what bash offers behind a line, with the script that we print for it."""
    tools = folder.parent / "tools"
    tools.mkdir(exist_ok=True)
    script = tools / "reconciler"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m reconciler.cli.main "$@"\n')
    script.chmod(0o755)
    program = f"""
eval "$(reconciler completion bash)"
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
compopt() {{ local IFS=' '; echo "$*"; }}
_reconciler_completion reconciler
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        cwd=folder,
        env=child_environment(PATH=f"{tools}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [word for word in done.stdout.splitlines() if word]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("reconciler ", list(COMMANDS)),
        ("reconciler val", ["validate"]),
        ("reconciler state hi", ["history"]),
        ("reconciler plan --no-b", ["--no-batch"]),
        ("reconciler -e ", ["live", "local"]),
        ("reconciler plan -e li", ["live"]),
        ("reconciler plan --source ", ["blog", "handbook"]),
        ("reconciler import --provider ", ["corp"]),
        ("reconciler plan --allow emptied", [name for name in HAZARDS if name.startswith("emptied")]),
        ("reconciler plan --detail n", ["none", "names"]),
        ("reconciler state show group", ["group/corp/Staff"]),
        # Only what is behind the last colon: bash keeps what is before it. What a shell would read is escaped.
        ("reconciler plan --target item/blog/https:", [r"//example.com/a\?x=1"]),
        ("reconciler access what user:a", ["alice@example.com"]),
        ("reconciler access what gr", ["group:Staff"]),
        ("reconciler access who http", [r"https://example.com/a\?x=1"]),
        ("reconciler fmt ", ["-o default"]),
    ],
)
def test_bash_offers_what_there_is(applied: Folder, line: str, expected: list[str]) -> None:
    assert offered(line, applied.root) == expected


def test_runs_are_offered_newest_first(applied: Folder) -> None:
    names = offered("reconciler rollback --run ", applied.root)
    assert names[0] == "last" and len(names) == 2
    assert names[1] in applied.ok("state", "history").out


@pytest.mark.parametrize(
    "line",
    [
        "reconciler -C nowhere plan --source ",
        "reconciler plan -C broken --source ",
        "reconciler plan -e live --target ",
        "reconciler state show -e nothing ",
        "reconciler init --source ",
        "reconciler 'unfinished ",
    ],
)
def test_what_cannot_be_known_is_no_message_and_no_call(applied: Folder, line: str) -> None:
    broken = applied.root / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "reconciler.yaml").write_text("sources: [")
    assert offered(line, applied.root) == []


def test_a_store_on_the_network_is_not_asked(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "project")
    folder.write(
        "reconciler.yaml",
        "sources: {blog: {id: b, visibility: shared}}\n"
        "environments: {local: {target: emulator, state: 'postgresql://nobody@127.0.0.1:1/none'}}\n",
    )
    assert offered("reconciler state show ", folder.root) == []
    assert offered("reconciler plan --source ", folder.root) == ["blog"]


@pytest.mark.parametrize(
    ("shell", "says"),
    [
        ("bash", "complete -o nosort -F _reconciler_completion reconciler"),
        ("zsh", "#compdef reconciler"),
        ("fish", "complete --no-files --command reconciler"),
    ],
)
def test_every_shell_has_a_script_that_asks_for_the_program_by_its_name(shell: str, says: str) -> None:
    ran = run_here("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert says in ran.out and f"_RECONCILER_COMPLETE={shell}_complete" in ran.out
    assert str(Path(sys.executable).parent) not in ran.out
