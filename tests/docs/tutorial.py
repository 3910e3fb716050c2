"""The commands of a page and what they print, and a shell that runs them one after the other.

A block of the page that is marked `console` holds commands, each behind `$ `, with what it prints below. A command
goes on until what it begins with `<<` has ended. A line `...` stands for any lines.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.builders import child_environment

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_MARK = "-- end of"

# What is otherwise in every run: what it is called, when it was, how long it took, on which machine.
_OTHERWISE = (
    (re.compile(r"\b[0-9a-f]{12}\b"), "3f2a9c0d1e4b"),
    (re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "2026-03-01T12:00:00Z"),
    (re.compile(r"\b\d+\.\d s\b"), "0.1 s"),
    (re.compile(r"\b\d+ ms\b"), "9 ms"),
    (re.compile(r"\b[0-9a-f]{40,64}\b"), "5ea1ed0b"),
    (re.compile(r"\bby:( +)\S+ on \S+"), r"by:\1alice on workstation"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and what the page says that it prints."""

    command: str
    printed: str


def steps_of(page: str) -> list[Step]:
    """Return the commands of a page in order."""
    steps = []
    for block in _BLOCK.findall(page):
        lines = block.splitlines()
        while lines:
            first = lines.pop(0)
            assert first.startswith("$ "), first
            command = [first[2:]]
            if here := re.search(r"<<'?(\w+)'?$", first):
                while command[-1] != here[1]:
                    command.append(lines.pop(0))
            printed = []
            while lines and not lines[0].startswith("$ "):
                printed.append(lines.pop(0))
            steps.append(Step("\n".join(command), "".join(f"{line}\n" for line in printed)))
    return steps


def run_all(commands: list[str], folder: Path) -> list[str]:
    """Return what each command prints, stdout and stderr together, in one shell that begins in a folder."""
    tools = folder.parent / f"{folder.name}-tools"
    tools.mkdir()
    script = tools / "reconciler"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m reconciler.cli.main "$@"\n')
    script.chmod(0o755)
    text = "exec 2>&1\n" + "".join(f"{command}\necho '{_MARK}' {number}\n" for number, command in enumerate(commands))
    done = subprocess.run(
        ["bash", "-s"],
        input=text,
        text=True,
        cwd=folder,
        env=child_environment(PATH=f"{tools}:{os.environ['PATH']}"),
        capture_output=True,
        check=True,
    )
    printed = re.split(rf"{_MARK} \d+\n", done.stdout)[:-1]
    assert len(printed) == len(commands), done.stdout
    return [ordinary(text, folder) for text in printed]


def ordinary(text: str, folder: Path) -> str:
    """Return what a command printed without what is otherwise in every run."""
    text = text.replace(f"{folder}/", "")
    for pattern, instead in _OTHERWISE:
        text = pattern.sub(instead, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines()).strip("\n") + "\n" if text.strip() else ""


def agrees(printed: str, shown: str) -> bool:
    """Say whether a command printed what the page shows."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in shown.splitlines())
    return re.fullmatch(pattern, printed) is not None
