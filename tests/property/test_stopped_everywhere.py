"""Asked to stop at every place where a run writes: to a socket, to the database, to a file.

As in `test_killed_everywhere`, a run is an `apply` in a process of its own against an emulator in another, and each
place is tried by itself. SIGINT or SIGTERM comes just before the write: the request under way is finished and recorded,
no further one begins, and the run says what is done, what is left and how to go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from mortals import Mortals
from stories import RUN, Story

from reconciler.cli.session import open_session
from reconciler.state.journal import Outcome
from tests.builders import Remote, start_remote
from tests.conftest import ON_CI

pytestmark = pytest.mark.slow

PARTS = 3
"""Each test takes every third place, so that they can run beside each other."""
STRIDE = 1 if ON_CI else 3
"""Away from CI a third of the places is tried."""

INTERRUPTED = 130
SECONDS = 5.0


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    children = Mortals()
    yield children
    children.close()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Remote]:
    with start_remote() as remote:
        yield remote


def sent(remote: Remote) -> list[str]:
    """Return what changed something or was to, in the order of arrival; all uploads look alike."""
    entries = [entry for entry in remote.requests() if is_change(entry["path"])]
    return [
        f"{entry['method']} {entry['path'] if entry['path'].startswith('/push/') else 'upload'}" for entry in entries
    ]


def is_change(path: str) -> bool:
    """Whether a request is no mere word of what a source is doing."""
    return not path.endswith("/status")


def begun(places: Sequence[str]) -> int:
    """Return how many requests that change something begin at these places."""
    return sum(place.startswith("request ") and is_change(place) for place in places)


def check_stopped(story: Story, fault: str, number: int, whole: Sequence[str]) -> int:
    """Be asked to stop at a place, and come to the end all the same; returns the exit code."""
    story.begin()
    before = len(sent(story.remote))
    began = time.monotonic()
    code, said = story.mortals.run(story.folder, *RUN, write=number, everywhere=True, fault=fault)
    took = time.monotonic() - began

    passed = story.mortals.passed(story.folder)[:number]
    place = f"{fault} before {number}, {passed[-1]}: {said}"
    assert code in (0, INTERRUPTED), place
    assert took < SECONDS, place
    assert "Traceback" not in said and "error[internal]" not in said, place
    arrived = sent(story.remote)[before:]
    assert arrived == (whole if code == 0 else whole[: len(arrived)]), place
    if code != 0:
        assert len(arrived) <= begun(passed), place
    check_told(story, code, said, place, twice=fault == "twice")

    code_after, said = story.mortals.run(story.folder, *RUN)
    assert code_after == 0, f"{place}: {said}"
    assert story.remote.contents() == story.wanted(), place
    return code


def check_told(story: Story, code: int, said: str, place: str, *, twice: bool) -> None:
    """Hold what the run said against what its journal says."""
    if not twice:
        assert not list(story.folder.root.glob(".reconciler/*.lock.json")), place
    with open_session(str(story.folder.root), None) as session:
        assert session.store.check() == (), place
        newest = session.store.runs(1)
        entries = [entry for entry in session.store.journal() if newest and entry.run == newest[0].run.id]
    outcomes = [entry.outcome for entry in entries]
    if not twice:
        assert None not in outcomes and Outcome.UNKNOWN not in outcomes, place
    if code == 0:
        return
    assert "to go on:" in said or "interrupted" in said, place
    if "Apply:" in said:
        assert "to go on:" in said, place
        done = outcomes.count(Outcome.ACCEPTED)
        assert f"Apply: {done} call{'s' if done != 1 else ''} done, 0 failed, " in said, place
        whole = "0 unknown, 0 not started" in said
        assert newest[0].result == ("done" if whole else "interrupted"), place


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    ("changing", "fault"), [(False, "SIGINT"), (False, "twice"), (True, "SIGTERM")], ids=lambda value: str(value)
)
def test_a_run_asked_to_stop_anywhere_finishes_its_request_and_is_gone_on_with(
    tmp_path: Path, lasting: Remote, mortals: Mortals, changing: bool, fault: str, part: int
) -> None:
    story = Story(tmp_path / "project", lasting, mortals, changing=changing)
    story.begin()
    before = len(sent(lasting))
    places = mortals.boundaries(story.folder, *RUN)
    whole = sent(lasting)[before:]
    assert begun(places) == len(whole) > 3
    codes = [check_stopped(story, fault, number, whole) for number in range(1 + part, len(places) + 1, PARTS * STRIDE)]
    assert codes.count(0) < len(codes) / 2, "only once the last call is under way it comes too late"
