"""What a command imports is what its user waits for: heavy modules only where they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import Folder, child_environment

HEAVY = (
    "pydantic",
    "httpx",
    "deepdiff",
    "jinja2",
    "ruamel",
    "rich",
    "starlette",
    "uvicorn",
    "pyarrow",
    "sqlite3",
    "orjson",
    "regopy",
    "prometheus_client",
    "opentelemetry",
)
CODE = """
import sys
from reconciler.cli.main import run
try:
    run(sys.argv[1:])
except SystemExit:
    pass
roots = sorted({name.partition(".")[0] for name in sys.modules})
print("\\n" + " ".join(roots), file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_what_needs_nothing_imports_nothing(arguments: tuple[str, ...]) -> None:
    assert imported(*arguments) & {*HEAVY, "logging"} == set()


@pytest.mark.parametrize("command", ["plan", "apply", "validate", "destroy", "init", "fmt", "completion", "run"])
def test_the_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    allowed = {"sqlite3", "orjson"}
    assert imported(command, "--help") & set(HEAVY) - allowed == set()


def test_a_plan_speaks_to_nobody_and_serves_nothing(tmp_path: Path) -> None:
    """The first plan meets pydantic; one with nothing to read again does not."""
    folder = Folder(tmp_path / "project")
    folder.write("a.yaml", "defaults: {source: blog}\nitems:\n  - {uri: 'https://example.com/a', title: A}\n")
    never = {"httpx", "starlette", "uvicorn", "rich", "deepdiff", "jinja2", "ruamel", "pyarrow"}

    assert imported("-C", str(folder.root), "plan") & never == set()
    # A file that was written in the same instant as it was read is read once more (the racy rule).
    imported("-C", str(folder.root), "plan")
    assert imported("-C", str(folder.root), "plan") & {*never, "pydantic"} == set()


def test_a_state_that_is_not_encrypted_needs_no_cipher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path / "project")
    folder.write("a.yaml", "defaults: {source: blog}\nitems:\n  - {uri: 'https://example.com/a', title: A}\n")
    ciphers = {"sqlcipher3", "cryptography"}

    assert imported("-C", str(folder.root), "apply", "--auto-approve") & ciphers == set()
    monkeypatch.setenv("RECONCILER_STATE_KEY", "5ea1ed0b" * 8)
    assert imported("-C", str(folder.root), "state", "list") & ciphers == set()
    imported("-C", str(folder.root), "state", "encrypt")
    assert imported("-C", str(folder.root), "state", "list") & ciphers == {"sqlcipher3"}
