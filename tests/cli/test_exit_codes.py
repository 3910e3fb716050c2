"""The table of exit codes in docs/reference.md: each code of each command is provoked here, and no other is told."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import click
import pytest

from reconciler.cli.main import cli
from tests.builders import PROJECT, REPOSITORY, Folder, run_here

REFERENCE = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
EVERYWHERE = {0, 2, 130}

MANIFEST = """\
defaults: {source: handbook, provider: corp}
groups:
  - {name: Staff, members: ["user:alice@example.com"]}
items:
  - {uri: "x:a", title: A, body: {text: one}, permissions: {allowed: ["group:Staff"]}}
  - {uri: "x:b", title: B, source: blog, metadata: {team: Docs}}
"""
TWO = PROJECT.replace("environments:\n", "environments:\n  other: {target: emulator, organization: other}\n")
TWO += "policies: policies\n"
TEST = """\
- {name: it denies, package: reconciler.demo, input: {summary: {delete: 1000}}, deny: [CODE]}
"""
POLICY = """\
package reconciler.demo

deny contains {"msg": "no deletion", "code": "none"} if input.summary.delete > 99
"""

Setup = Callable[[Folder], None]
Case = tuple[Setup, str]


# -- what a project is like ------------------------------------------------------------------------


def fresh(folder: Folder) -> None:
    """Nothing was applied yet."""


def applied(folder: Folder) -> None:
    """All of it was."""
    folder.ok("apply", "--auto-approve")
    folder.ok("plan", "--out", str(folder.root / "plan.json"))
    folder.ok("state", "pull", "--out", str(folder.root / "snapshot.json"))


def changed(folder: Folder) -> None:
    applied(folder)
    folder.write("all.yaml", MANIFEST.replace("title: A", "title: C"))


def widened(folder: Folder) -> None:
    """Somebody else sees more than before."""
    applied(folder)
    folder.write("all.yaml", MANIFEST.replace('"user:alice@example.com"]', '"user:alice@example.com", "user:bob"]'))
    folder.ok("apply", "--auto-approve")


def mistaken(folder: Folder) -> None:
    applied(folder)
    folder.write("all.yaml", MANIFEST.replace("title: A", "titl: A"))


def damaged(folder: Folder) -> None:
    """The state is no state, and the saved plan no plan."""
    applied(folder)
    (folder.root / ".reconciler" / "local.state.db").write_bytes(b"nothing of the kind " * 300)
    folder.write("plan.json", "{}")
    folder.write("snapshot.json", "{}")


def away(folder: Folder) -> None:
    """The remote cannot be reached, and there is something to send."""
    changed(folder)
    project = folder.root / "reconciler.yaml"
    text = project.read_text()
    project.write_text(text.replace("local: {target: emulator", "local: {target: 'http://127.0.0.1:9', retryFor: 0"))


def lost(folder: Folder) -> None:
    """The remote forgot what it had."""
    applied(folder)
    shutil.rmtree(folder.root / ".reconciler" / "emulator")


def forgotten(folder: Folder) -> None:
    """The remote forgot what it was seen to have."""
    applied(folder)
    folder.run("verify")
    shutil.rmtree(folder.root / ".reconciler" / "emulator")


def abandoned(folder: Folder) -> None:
    """The remote has it all, and no manifest."""
    applied(folder)
    (folder.root / "all.yaml").unlink()


def unlike(folder: Folder) -> None:
    """One environment has what the other has not."""
    folder.write("overlays/other.yaml", 'items:\n  - {uri: "x:b", set: {title: Bee}}\n')
    folder.write(
        "reconciler.yaml", TWO.replace("organization: other", 'organization: other, overlays: ["overlays/*.yaml"]')
    )


def failing(folder: Folder) -> None:
    """A test of access fails, and one of the policies."""
    folder.write("tests.yaml", "accessTests:\n  - {item: 'x:a', cannotSee: ['user:alice@example.com']}\n")
    folder.write("policies/demo.test.yaml", TEST.replace("CODE", "other"))


def governed(folder: Folder) -> None:
    folder.write("policies/demo.rego", POLICY)
    folder.write("policies/demo.test.yaml", TEST.replace("CODE", "none"))


def moved(folder: Folder) -> None:
    applied(folder)
    folder.ok("state", "migrate", "--to", "sqlite:other.db")


def encrypted(folder: Folder) -> None:
    applied(folder)
    folder.ok("state", "encrypt")


def ill_formatted(folder: Folder) -> None:
    folder.write("all.yaml", "items:\n      -   uri:   x\n")


CASES: dict[str, dict[int, Case]] = {
    "validate": {0: (fresh, ""), 1: (mistaken, "")},
    "plan": {0: (fresh, ""), 1: (mistaken, ""), 3: (fresh, "--exit-code"), 4: (away, "--check-fields")},
    "apply": {0: (fresh, "--auto-approve"), 1: (mistaken, "--auto-approve"), 4: (away, "--auto-approve")},
    "destroy": {0: (applied, "--auto-approve"), 1: (damaged, "--auto-approve"), 4: (away, "--auto-approve")},
    "rollback": {0: (widened, "--access-only"), 1: (damaged, "--access-only")},
    "verify": {0: (applied, ""), 1: (damaged, ""), 4: (away, "--all --timeout 0")},
    "import": {0: (abandoned, "--out {root}/new"), 1: (applied, "--out {root}/new"), 4: (away, "--out {root}/new")},
    "drift": {0: (applied, "--settle 0"), 1: (damaged, ""), 3: (lost, "--settle 0"), 4: (away, "")},
    "run": {
        0: (changed, "--once --no-pull"),
        1: (mistaken, "--once --no-pull"),
        3: (forgotten, "--once --no-pull --drift-every 1h"),
        4: (away, "--once --no-pull"),
    },
    "diff": {
        0: (fresh, "--env local --env other"),
        1: (mistaken, "--env local --env other"),
        3: (unlike, "--env local --env other --exit-code"),
    },
    "show": {0: (applied, "{root}/plan.json"), 1: (damaged, "{root}/plan.json")},
    "access diff": {0: (fresh, ""), 1: (mistaken, "")},
    "access what": {
        0: (fresh, "user:alice@example.com"),
        1: (mistaken, "user:alice@example.com"),
        4: (away, "user:alice@example.com --of remote"),
    },
    "access who": {0: (fresh, "x:a"), 1: (mistaken, "x:a"), 4: (away, "x:a --of remote")},
    "access why": {
        0: (fresh, "user:alice@example.com x:a"),
        1: (mistaken, "user:alice@example.com x:a"),
        4: (away, "user:alice@example.com x:a --of remote"),
    },
    "test": {0: (fresh, ""), 1: (failing, "")},
    "policy input": {0: (governed, ""), 1: (mistaken, "")},
    "policy test": {0: (governed, ""), 1: (failing, "")},
    "state check": {0: (applied, ""), 1: (damaged, "")},
    "state decrypt": {0: (encrypted, ""), 1: (damaged, "")},
    "state encrypt": {0: (applied, ""), 1: (damaged, "")},
    "state history verify": {0: (applied, ""), 1: (damaged, "")},
    "state list": {0: (applied, ""), 1: (damaged, "")},
    "state migrate": {0: (applied, "--to sqlite:other.db"), 1: (damaged, "--to sqlite:other.db")},
    "state mv": {0: (applied, "item/blog/x:b item/blog/x:c"), 1: (damaged, "item/blog/x:b item/blog/x:c")},
    "state pull": {0: (applied, ""), 1: (damaged, "")},
    "state push": {0: (applied, "{root}/snapshot.json"), 1: (damaged, "{root}/snapshot.json")},
    "state reopen": {0: (moved, ""), 1: (damaged, "")},
    "state rm": {0: (applied, "item/blog/x:b"), 1: (damaged, "item/blog/x:b")},
    "state show": {0: (applied, "item/blog/x:b"), 1: (damaged, "item/blog/x:b")},
    "state unlock": {1: (applied, "nobody")},
    "init": {0: (fresh, "{root}/new --no-input")},
    "fmt": {0: (fresh, "--check"), 1: (ill_formatted, "--check")},
    "schema": {0: (fresh, "plan")},
    "emulator": {},
    "completion": {0: (fresh, "bash")},
}


def leaves(command: click.Command, *path: str) -> list[str]:
    """Return the names of all commands that have none below them."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        found = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        return list(chain.from_iterable(leaves(entry, *path, name) for name, entry in found if entry is not None))
    return [" ".join(path)]


def table() -> dict[str, set[int]]:
    """Return which codes a command may end with beside those of all commands, as the reference tells it."""
    rows = re.search(r"^\| command \| 1 \| 3 \| 4 \|\n\|[-|]+\|\n((?:\|.*\n)+)", REFERENCE, re.MULTILINE)
    assert rows
    found = {}
    for row in rows[1].splitlines():
        names, *cells = (cell.strip() for cell in row.split("|")[1:-1])
        codes = {code for code, cell in zip((1, 3, 4), cells, strict=True) if cell}
        found.update(dict.fromkeys(re.findall(r"`([^`]+)`", names), codes))
    return found


def test_the_table_has_every_command_and_the_codes_that_are_provoked_here() -> None:
    assert sorted(table()) == sorted(leaves(cli))
    assert table() == {command: set(cases) - EVERYWHERE for command, cases in CASES.items()}


@pytest.fixture
def project(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    monkeypatch.setenv("RECONCILER_STATE_KEY", "5ea1ed0b" * 8)
    folder.write("reconciler.yaml", TWO)
    folder.write("all.yaml", MANIFEST)
    folder.write("policies/demo.rego", POLICY)
    return folder


@pytest.mark.parametrize(
    ("command", "code"), [(command, code) for command, cases in CASES.items() for code in cases], ids=str
)
def test_the_code_is_as_the_table_says(project: Folder, command: str, code: int) -> None:
    setup, words = CASES[command][code]
    setup(project)
    given = [word.format(root=project.root) for word in words.split()]
    takes_folder = any(option.name == "directory" for option in _leaf(command).params)
    ran = project.run(*command.split(), *given) if takes_folder else run_here(*command.split(), *given)
    assert ran.code == code, f"{ran.out}\n{ran.err}"
    assert code == 0 or ran.err or ran.out, "whatever ends otherwise says why"


@pytest.mark.parametrize("command", leaves(cli))
def test_wrong_usage_ends_with_2(command: str) -> None:
    ran = run_here(*command.split(), "--no-such-option")
    assert (ran.code, ran.out) == (2, "")
    assert "--no-such-option" in ran.err


@pytest.mark.parametrize("command", leaves(cli))
def test_whoever_interrupts_a_command_gets_130(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real signal, at the moment when the command begins: what it is then about to do, it does not."""

    def interrupted(_self: click.Command, _context: click.Context) -> Any:
        signal.raise_signal(signal.SIGINT)

    leaf = _leaf(command)
    for parameter in leaf.params:
        monkeypatch.setattr(parameter, "required", False)
    monkeypatch.setattr(type(leaf), "invoke", interrupted)
    ran = run_here(*command.split())
    assert (ran.code, ran.out, ran.err) == (130, "", "\ninterrupted\n")
    ran = run_here(*command.split(), "--log-format", "json")
    assert (ran.code, ran.out, json.loads(ran.err)["event"]) == (130, "", "interrupted")


def _leaf(command: str) -> click.Command:
    found: click.Command = cli
    for name in command.split():
        assert isinstance(found, click.Group)
        entry = found.get_command(click.Context(found), name)
        assert entry is not None
        found = entry
    return found
