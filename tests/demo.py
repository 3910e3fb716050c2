"""The whole job on the worked example in `manifests/`, against the embedded emulator: `make demo`.

Every command is shown before it runs, and runs as a user would type it, in the repository's folder.
Run it twice: the second time there is nothing to send. Exits with 1 when a step fails.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = "manifests/.reconciler/emulator"  # below the folder of the project
PENDING = 3

STEPS: tuple[tuple[str, tuple[str, ...], frozenset[int]], ...] = (
    ("Check the manifests: every problem in one run, with its place.", ("validate",), frozenset({0})),
    (
        "Plan: what would change. No credentials, no network; the exit code says whether anything is pending.",
        ("plan", "--detail", "names", "--exit-code"),
        frozenset({0, PENDING}),
    ),
    (
        "Apply: the fewest calls, each accepted one recorded before the next. The emulator starts by itself.",
        ("apply", "--auto-approve", "--detail", "none"),
        frozenset({0}),
    ),
    ("Verify: accepted is not indexed, so ask the remote what became of it.", ("verify",), frozenset({0})),
)

FURTHER = (
    ("reconciler plan --detail full", "nothing is pending now; change a file in manifests/ and plan again"),
    ("reconciler access why user:bob@example.com file://folder/mytext.txt", "what keeps bob out, whoever lets him in"),
    ("reconciler access what user:carol@example.com --list", "what carol sees, her account of the wiki included"),
    ("reconciler state list", "what the state records"),
    ("reconciler plan --out plan.json && reconciler show plan.json", "save a plan, look at it, then: apply plan.json"),
    (f"reconciler emulator --project --data {DATA}", "serve what was pushed: items, permissions, who sees what"),
    ("reconciler destroy --detail names", "delete it all again; asks first"),
)


def main(folder: Path = ROOT) -> int:
    """Run all steps in a folder that holds `manifests/`; return the exit code."""
    began = time.monotonic()
    codes = {}
    for number, (what, arguments, expected) in enumerate(STEPS, 1):
        _say(f"\n--- {number}. {what}\n$ reconciler {' '.join(arguments)}")
        code = _reconciler(arguments, folder)
        if code not in expected:
            _say(f"\nThe demo stopped: `reconciler {' '.join(arguments)}` ended with exit code {code}.")
            return 1
        codes[arguments[0]] = code
    seconds = time.monotonic() - began
    if codes["plan"] == PENDING:
        _say(f"\nDone in {seconds:.1f} s. Run `make demo` again: nothing will be pending, and no call is made.")
    else:
        _say(f"\nDone in {seconds:.1f} s. Nothing was pending, so no call was made: the state knew it all.")
    _say(f"Look further, from {folder} (the command is {_shown(_command()[0], folder)}):")
    for command, what in FURTHER:
        _say(f"  $ {command}\n      {what}")
    return 0


def _reconciler(arguments: Sequence[str], folder: Path) -> int:
    return subprocess.run([*_command(), *arguments], cwd=folder, check=False).returncode


def _command() -> list[str]:
    """Return the installed command beside this interpreter, or the module when there is none."""
    script = Path(sys.executable).with_name("reconciler")
    return [str(script)] if script.exists() else [sys.executable, "-m", "reconciler.cli.main"]


def _shown(path: str, folder: Path) -> str:
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


def _say(text: str) -> None:
    # Flushed, so that it stands before what the command writes.
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
