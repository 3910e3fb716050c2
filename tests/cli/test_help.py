"""`--help`: every command says what it does, with examples that run as they are printed."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reconciler.cli.main import cli
from tests.builders import REPOSITORY, child_environment, run_here

# What ends otherwise than with 0.
CODES: dict[str, frozenset[int]] = {
    "reconciler plan -e prod --exit-code": frozenset({3}),
    "reconciler diff --env staging --env prod --format markdown --exit-code": frozenset({0, 3}),
    "reconciler state list -e prod | grep rejected": frozenset({1}),  # nothing is
}
# What cannot be run as it is printed, and where it is tested instead.
ELSEWHERE = {
    "reconciler state unlock 3f2a9c0d1e4b": "the id is of a lock that somebody holds: tests/cli/test_stopping.py",
    "reconciler state migrate -e prod --to 'postgresql://reconciler@db.example.com/search?schema=prod'": (
        "the server is made up: tests/cli/test_state_migrate.py"
    ),
    "reconciler state reopen -e prod": "for a state that was moved: tests/cli/test_state_migrate.py",
    "reconciler access diff --from recorded@2026-03-01 --to recorded": (
        "nothing is recorded of a day before the test: tests/cli/test_access_at.py"
    ),
    "reconciler access who file://folder/mytext.txt --at 2026-03-01T18:00:00+01:00": "likewise",
}
POLICIES = f"cp -r {REPOSITORY}/docs/policies policies && echo 'policies: policies' >> reconciler.yaml"
# What has to be there before the examples of a command make sense.
BEFORE = {
    "policy input": POLICIES,
    "policy test": POLICIES,
    "fmt": "mkdir manifests && cp handbook.yaml manifests/",
    "import": "rm .reconciler/prod.state.db* && rm access-tests.yaml blog.yaml example.yaml handbook.yaml wiki.yaml",
    "plan": "rm .reconciler/prod.state.db*",
    # Without an upstream there is nothing to pull, and a tree that was edited is refused.
    "run": "git -c user.name=a -c user.email=a@example.com commit -qam second && git clone -q --bare . ../origin.git"
    " && git remote add origin ../origin.git && git fetch -q && git branch -q -u origin/main",
}
ANSWERS = {"init": "\n" * 9}


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Return every command that does something, by the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*words, name))
        if not command.invoke_without_command:
            return
    yield " ".join(words), command


COMMANDS = dict(commands(cli))


def examples(command: click.Command) -> list[str]:
    """Return the lines of a command's examples."""
    _, _, after = (command.help or "").partition("Example")
    return [line.strip() for line in after.splitlines() if re.match(r"\s+(\w+=\S.*)?reconciler ", line)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_and_says_what_each_option_does(name: str) -> None:
    command = COMMANDS[name]
    assert examples(command), f"`reconciler {name} --help` shows no example"
    assert any(f"reconciler {name}" in line for line in examples(command))
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{name}: {parameter.opts}"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worked example in a git repository, applied twice, with what the examples name; copied for each of them."""
    root = tmp_path_factory.mktemp("demo") / "project"
    shutil.copytree(REPOSITORY / "manifests", root, ignore=shutil.ignore_patterns(".reconciler"))
    project = root / "reconciler.yaml"
    text = project.read_text(encoding="utf-8")
    # The organization of the examples is an emulator, too.
    text = re.sub(r"    region: us\n    apiKey: .*\n", "    target: emulator\n  staging: {target: emulator}\n", text)
    text = text.replace("\nvars:\n", "  people: {id: mypeople}\n\nvars:\n", 1)
    project.write_text(text, encoding="utf-8")
    (root / "key").write_text("5ea1ed0b" * 8)
    (root / "dump").mkdir()
    (root / "dump" / "item.json").write_text('{"documentId": "https://example.com/dumped", "title": "Dumped"}')
    run("git init -q -b main && git add -A && git -c user.name=a -c user.email=a@example.com commit -qm first", root)
    for environment in ("local", "prod"):
        code, screen = run(f"reconciler apply --auto-approve -e {environment}", root)
        assert code == 0, screen
    change = root / "handbook.yaml"
    change.write_text(
        change.read_text().replace("group:Cleared, user:erin", "group:Cleared, user:frank@example.com, user:erin")
    )
    code, screen = run("reconciler apply --auto-approve --allow widened-access", root)
    assert code == 0, screen
    return root


def run(line: str, folder: Path, answer: str = "") -> tuple[int, str]:
    """Run a line in bash as somebody types it, on a terminal; return its code and what is on the screen."""
    tools = folder.parent / "bin"
    tools.mkdir(exist_ok=True)
    script = tools / "reconciler"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m reconciler.cli.main "$@"\n')
    script.chmod(0o755)
    environment = child_environment(PATH=f"{tools}:{os.environ['PATH']}", TERM="dumb")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    screen = b""
    serves = line.startswith(("reconciler emulator", "reconciler run"))
    until = time.monotonic() + 120
    while time.monotonic() < until and select.select([ours], [], [], max(0.1, until - time.monotonic()))[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        screen += piece
        if serves and b"http" in screen:
            os.killpg(process.pid, signal.SIGINT)
            serves = False
    code = process.wait(60)
    os.close(ours)
    return code, screen.decode(errors="replace")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_run_as_they_are_printed(name: str, demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(demo, folder)
    if name in BEFORE:
        subprocess.run(BEFORE[name], shell=True, cwd=folder, check=True)

    for line in examples(COMMANDS[name]):
        if line in ELSEWHERE:
            continue
        code, screen = run(line, folder, answer=ANSWERS.get(name, "yes\n"))
        assert code in CODES.get(line, {0}), f"$ {line}\n{screen[-2000:]}"


def test_what_runs_elsewhere_is_still_an_example() -> None:
    assert set(ELSEWHERE) | set(CODES) <= {line for command in COMMANDS.values() for line in examples(command)}


def test_the_help_of_the_whole_names_codes_and_variables() -> None:
    text = cli.help or ""
    for word in ("COVEO_API_KEY", "RECONCILER_PLAN_KEY", "RECONCILER_STATE_KEY", "NO_COLOR"):
        assert word in text
    assert list(re.findall(r"^ +(\d+)  ", text, re.MULTILINE)) == ["0", "1", "2", "3", "4", "130"]


@pytest.mark.parametrize(
    ("typed", "meant"), [("pln", ' Did you mean "plan"?'), ("vaildate", ' Did you mean "validate"?')]
)
def test_a_mistyped_command_is_told_with_the_nearest_one(typed: str, meant: str) -> None:
    ran = run_here(typed)
    assert ran.code == 2
    assert ran.err.endswith(f"No such command '{typed}'.{meant}\n")


def test_a_command_that_is_like_none_is_told_without_a_guess() -> None:
    assert run_here("xyzzy").err.endswith("No such command 'xyzzy'.\n")
