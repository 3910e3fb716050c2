"""`make demo`: the first thing that a newcomer runs, twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.builders import REPOSITORY, child_environment


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = child_environment()
    del environment["COVEO_API_KEY"]
    return subprocess.run(
        [sys.executable, "-m", "tests.demo", str(folder)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_demo_does_the_whole_job_and_the_second_time_nothing(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns(".reconciler"))

    first = demo(tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    for command in ("validate", "plan --detail names --exit-code", "apply --auto-approve --detail none", "verify"):
        assert f"\n$ reconciler {command}\n" in first.stdout
    assert "0 failed, 0 unknown, 0 not started" in first.stderr
    assert "Run `make demo` again" in first.stdout

    second = demo(tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "no call is needed" in second.stdout
    assert "so no call was made" in second.stdout
    assert "HTTP 202" not in second.stdout + second.stderr


def test_the_demo_stops_where_a_step_fails(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns(".reconciler"))
    (tmp_path / "manifests" / "blog.yaml").write_text("items: [{}]")

    done = demo(tmp_path)

    assert done.returncode == 1
    assert "The demo stopped: `reconciler validate` ended with exit code 1." in done.stdout
    assert "reconciler plan" not in done.stdout
