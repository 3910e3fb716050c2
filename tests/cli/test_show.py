"""`reconciler show`: a saved plan, from its file alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.builders import Folder, run_here

ITEMS = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [user:alice@example.com]}, body: {text: hello}}
  - {uri: https://example.com/b, title: "B\\e[31m", permissions: {allowed: [user:alice@example.com]}}
"""


@pytest.fixture
def saved(folder: Folder, tmp_path: Path) -> tuple[Folder, Path]:
    folder.write("items.yaml", ITEMS)
    path = tmp_path / "plan.json"
    folder.ok("plan", "--out", str(path))
    return folder, path


@pytest.mark.parametrize("form", ["text", "markdown", "html", "json"])
@pytest.mark.parametrize("detail", ["none", "names", "fields", "full"])
def test_shows_what_plan_showed(saved: tuple[Folder, Path], form: str, detail: str) -> None:
    folder, path = saved
    planned = folder.ok("plan", "--format", form, "--detail", detail).out
    shown = run_here("show", str(path), "--format", form, "--detail", detail)
    assert (shown.code, shown.err) == (0, "")
    if form == "json":
        assert shown.out == path.read_text(encoding="utf-8")
    else:
        assert shown.out == planned
        assert "\x1b" not in shown.out


def test_needs_no_project(saved: tuple[Folder, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, path = saved
    shutil.rmtree(folder.root)
    monkeypatch.chdir(tmp_path)
    shown = run_here("show", path.name, key=None)
    assert shown.code == 0
    assert shown.out.endswith("Plan: 2 to create, 0 to update, 0 to delete, 0 unchanged; 2 calls.\n")


def test_refuses_what_is_no_plan(saved: tuple[Folder, Path], tmp_path: Path) -> None:
    _, path = saved
    data = path.read_bytes()
    (tmp_path / "altered").write_bytes(data.replace(b'"A"', b'"Z"'))
    (tmp_path / "short").write_bytes(data[:-40])
    for name, code, problem in (
        ("altered", 1, "plan-altered"),
        ("short", 1, "plan-truncated"),
        ("missing", 2, "no-plan"),
    ):
        ran = run_here("show", str(tmp_path / name))
        assert (ran.code, ran.out) == (code, "")
        assert f"error[{problem}]" in ran.err
    assert run_here("show", str(tmp_path)).code == 2
