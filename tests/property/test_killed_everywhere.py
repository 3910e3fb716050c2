"""Killed with SIGKILL at every place where a run writes: to a socket, to the database, to a file.

A run is an `apply` in a process of its own against an emulator in another; each place is tried by itself, with the
same run from the same start. After it the state can be read, and the next `apply` ends where the first one would have.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mortals import KILLED, Mortals
from stories import RUN, Story

from tests.builders import Remote, start_remote
from tests.conftest import ON_CI

pytestmark = pytest.mark.slow

PARTS = 4
"""Each test takes every fourth place, so that they can run beside each other."""
STRIDE = 1 if ON_CI else 3
"""Away from CI a third of the places is tried."""


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    children = Mortals()
    yield children
    children.close()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Remote]:
    with start_remote() as remote:
        yield remote


def check_after(story: Story, number: int, place: str) -> bool:
    """Be killed at a place, and come to the end all the same.

    Returns whether the place was met: what is tidied up at the end is not the same in every run.
    """
    story.begin()
    code, said = story.mortals.run(story.folder, *RUN, write=number, everywhere=True)
    killed = code == KILLED
    assert killed or code == 0, f"{place}: {said}"
    code, said = story.mortals.run(story.folder, "plan")
    assert code == 0, f"{place}: {said}"
    code, said = story.mortals.run(story.folder, *RUN)
    assert code == 0, f"{place}: {said}"
    assert "Traceback" not in said
    assert story.remote.contents() == story.wanted(), place
    code, said = story.mortals.run(story.folder, "plan")
    assert "No changes" in said, f"{place}: {said}"
    return killed


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("changing", [False, True], ids=["first", "changing"])
def test_a_run_killed_anywhere_is_gone_on_with(
    tmp_path: Path, lasting: Remote, mortals: Mortals, changing: bool, part: int
) -> None:
    story = Story(tmp_path / "project", lasting, mortals, changing=changing)
    places = story.boundaries()
    assert {"socket", "commit", "statement COMMIT", "statement INSERT"} <= set(places)
    numbers = range(1 + part, len(places) + 1, PARTS * STRIDE)
    met = [check_after(story, at, f"before {at} of {len(places)}, {places[at - 1]}") for at in numbers]
    assert met.count(False) <= 1
