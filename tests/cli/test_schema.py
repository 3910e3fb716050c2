"""`reconciler schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.cli.schema import NAMES
from tests.builders import run_here


def test_manifests_are_the_default() -> None:
    ran = run_here("schema")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["$id"] == "manifest.json"
    assert ran.out == run_here("schema", "manifest").out


@pytest.mark.parametrize("name", NAMES)
def test_each_by_name(name: str) -> None:
    ran = run_here("schema", name)
    assert (ran.code, ran.json["$id"]) == (0, f"{name}.json")


def test_all_writes_files_and_prints_nothing(tmp_path: Path) -> None:
    ran = run_here("schema", "--all", str(tmp_path / "new" / "schemas"))
    assert (ran.code, ran.out) == (0, "")
    for name in NAMES:
        text = (tmp_path / "new" / "schemas" / f"{name}.json").read_text(encoding="utf-8")
        assert json.loads(text)["$id"] == f"{name}.json"
        assert text == run_here("schema", name).out


def test_wrong_usage(tmp_path: Path) -> None:
    assert run_here("schema", "plans").code == 2
    both = run_here("schema", "plan", "--all", str(tmp_path))
    assert both.code == 2
    assert "error[one-or-all]" in both.err
    (tmp_path / "file").write_text("")
    taken = run_here("schema", "--all", str(tmp_path / "file"))
    assert taken.code == 2
    assert "error[cannot-write]" in taken.err
