"""The tutorial: every command of it runs, and prints what stands there."""

from __future__ import annotations

from pathlib import Path

from tests.builders import REPOSITORY

from .tutorial import agrees, run_all, steps_of

PAGE = REPOSITORY / "docs" / "tutorial.md"


def test_every_command_of_the_tutorial_prints_what_stands_there(tmp_path: Path) -> None:
    steps = steps_of(PAGE.read_text(encoding="utf-8"))
    folder = tmp_path / "somewhere"
    folder.mkdir()

    printed = run_all([step.command for step in steps], folder)

    for step, said in zip(steps, printed, strict=True):
        assert agrees(said, step.printed), f"$ {step.command}\n{said}"


def test_it_takes_a_reader_through_the_main_commands() -> None:
    steps = steps_of(PAGE.read_text(encoding="utf-8"))
    commands = {step.command.split()[1] for step in steps if step.command.startswith("reconciler ")}
    assert {"init", "validate", "plan", "apply", "verify", "access", "test", "rollback", "state"} <= commands


def test_what_is_compared_is_compared_to_the_letter() -> None:
    assert agrees("a\nb\nc\n", "a\n...\nc\n")
    assert agrees("a\n", "a\n...\n")
    assert not agrees("a\nb\n", "a\n")
    assert not agrees("a.\n", "ab\n") and not agrees("ab\n", "a.\n")
    assert not agrees("", "a\n") and agrees("", "")
