"""Refused by the disk at every place where a run writes to the database or to a file.

As in `test_killed_everywhere`, a run is an `apply` in a process of its own against an emulator in another, and each
place is tried by itself. From there on the disk is full, files may not grow, or folders may not be written; or that
one write fails. The run says so and names the path, nothing was sent that is not written down, and once the disk is
well again the next `apply` ends where the first one would have.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from mortals import Mortals
from stories import RUN, Story

from reconciler.cli.session import open_session
from reconciler.state.journal import Outcome
from tests.builders import Remote, start_remote
from tests.conftest import NOBODY, ON_CI

pytestmark = pytest.mark.slow

PARTS = 2
"""Each test takes every second place, so that they can run beside each other."""
STRIDE = 1 if ON_CI else 4
"""Away from CI a quarter of the places is tried."""


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    children = Mortals()
    yield children
    children.close()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Remote]:
    with start_remote() as remote:
        yield remote


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of two megabytes; skips the test where that is not allowed."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """Give a folder that a process without privileges can reach: permissions mean nothing to root."""
    with tempfile.TemporaryDirectory(prefix="reconciler-refused-") as name:
        try:
            yield Path(name)
        finally:
            mend(Path(name))


@contextmanager
def place_for(fault: str, folder: Path) -> Iterator[Path]:
    """Give a folder in which a `project` can meet that fault."""
    if fault == "full":
        with small_disk(folder / "disk" / "project"):
            yield folder / "disk"
    elif fault == "shut":
        with folder_of_nobody() as place:
            yield place
    else:
        yield folder


def hand_over(root: Path) -> None:
    """Have everything belong to the user that the refused run is."""
    if os.geteuid() == 0:
        for entry in (root, *root.rglob("*")):
            os.chown(entry, NOBODY, NOBODY)


def mend(root: Path) -> None:
    """Make the disk well again."""
    for folder in (root, *(entry for entry in root.rglob("*") if entry.is_dir())):
        folder.chmod(0o700)
    (root / "filler").unlink(missing_ok=True)


def begin(story: Story, fault: str) -> None:
    story.begin()
    if fault == "shut":
        hand_over(story.folder.root.parent)


def check_refused(story: Story, fault: str, number: int) -> int:
    """Be refused from a place on, or there, and come to the end all the same; returns the exit code."""
    root = story.folder.root
    begin(story, fault)
    before = story.remote.total
    said_to = root.parent / "said"
    code, said = story.mortals.run(story.folder, *RUN, write=number, everywhere=True, fault=fault, said=said_to)
    passed = Path(f"{said_to}.passed").read_text().splitlines()[:number]
    mend(root)

    place = f"{fault} before {number}, {passed[-1]}: {said}"
    assert code in (0, 1, 4), place
    assert "Traceback" not in said and "error[internal]" not in said, place
    if code != 0:
        assert "error[" in said and str(root / ".reconciler") in said, place
    with open_session(str(root), None) as session:
        assert session.store.check() == (), place
        entries = list(session.store.journal())
    requests = [entry for entry in story.remote.requests(before) if "orderingId" in dict(entry["query"])]
    known = {entry.intent.ordering_id for entry in entries}
    assert {int(dict(entry["query"])["orderingId"]) for entry in requests} <= known, f"P2: {place}"
    if code == 0:
        assert {entry.outcome for entry in entries} == {Outcome.ACCEPTED}, place

    if os.geteuid() == 0 and fault == "shut":
        hand_over(root.parent)
    code_after, said = story.mortals.run(story.folder, *RUN)
    assert code_after == 0, f"{place}: {said}"
    assert story.remote.contents() == story.wanted(), place
    return code


def check_everywhere(story: Story, fault: str, part: int) -> None:
    begin(story, fault)
    places = story.mortals.boundaries(story.folder, *RUN)
    written = [
        number for number, place in enumerate(places, 1) if place != "socket" and not place.startswith("request")
    ]
    assert len(written) > 50
    codes = [check_refused(story, fault, number) for number in written[part :: PARTS * STRIDE]]
    assert 0 in codes, "what only makes later runs quicker is no reason to fail"
    assert codes.count(0) < len(codes) * 0.7


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    ("changing", "fault"),
    [(False, "EIO"), (False, "limit"), (True, "full"), (True, "shut")],
    ids=lambda value: str(value),
)
def test_a_run_that_the_disk_refuses_says_so_and_is_gone_on_with(
    tmp_path: Path, lasting: Remote, mortals: Mortals, changing: bool, fault: str, part: int
) -> None:
    with place_for(fault, tmp_path) as place:
        check_everywhere(Story(place / "project", lasting, mortals, changing=changing), fault, part)


# -- plans and their files -------------------------------------------------------------------------

FAULTS = ("EIO", "limit", "full", "shut")


def refused_plans(story: Story, fault: str, *arguments: str) -> Iterator[tuple[int, str, str]]:
    """Plan with each place refused; yields the exit code, what was said and the place, once the disk is well again."""
    root = story.folder.root
    begin(story, fault)
    forget(root)
    number = len(story.mortals.boundaries(story.folder, "plan", *arguments))
    assert number > 5
    for at in range(1, number + 1, STRIDE):
        forget(root)
        said_to = root.parent / "said"
        code, said = story.mortals.run(
            story.folder, "plan", *arguments, write=at, everywhere=True, fault=fault, said=said_to
        )
        mend(root)
        assert "Traceback" not in said and "error[internal]" not in said, f"{fault} before {at}: {said}"
        yield code, said, f"{fault} before {at}"


def forget(root: Path) -> None:
    """Remove what was read before, so that a plan writes it down again, and the files of plans."""
    for entry in (*root.glob(".reconciler/cache.db*"), *root.glob("*.json")):
        entry.unlink()
    hand_over(root.parent)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plan_is_the_same_when_nothing_can_be_kept_for_later(
    tmp_path: Path, lasting: Remote, mortals: Mortals, fault: str
) -> None:
    with place_for(fault, tmp_path) as place:
        story = Story(place / "project", lasting, mortals, changing=True)
        begin(story, fault)
        _, healthy = mortals.run(story.folder, "plan")
        for code, said, where in refused_plans(story, fault):
            assert (code, said) == (0, healthy), where


@pytest.mark.parametrize("fault", FAULTS)
def test_a_saved_plan_is_whole_or_the_path_is_named(
    tmp_path: Path, lasting: Remote, mortals: Mortals, fault: str
) -> None:
    with place_for(fault, tmp_path) as place:
        root = place / "project"
        story = Story(root, lasting, mortals, changing=True)
        files = ("--out", str(root / "plan.json"), "--access-out", str(root / "access.json"))
        codes = set()
        for code, said, where in refused_plans(story, fault, *files):
            codes.add(code)
            if code != 0:
                assert "error[" in said and str(root) in said, f"{where}: {said}"
            there = [path for path in (root / "plan.json", root / "access.json") if path.exists()]
            assert code != 0 or len(there) == 2, where
            for path in there:
                for line in [path.read_bytes()] if path.name == "plan.json" else path.read_bytes().splitlines():
                    assert orjson.loads(line), where
        assert codes - {0}, "to what was asked for, the disk matters"
