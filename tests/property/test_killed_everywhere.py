"""Killed with SIGKILL at every place where a run writes: to a socket, to the database, to a file.

A run is an `apply` in a process of its own against an emulator in another; each place is tried by itself, with the
same run from the same start. After it the state can be read, and the next `apply` ends where the first one would have.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mortals import KILLED, Mortals

from reconciler.cli.session import open_session
from tests.builders import PROJECT, Folder, Remote, as_yaml, contents_of, start_remote
from tests.conftest import ON_CI

pytestmark = pytest.mark.slow

PARTS = 4
"""Each test takes every fourth place, so that they can run beside each other."""
STRIDE = 1 if ON_CI else 3
"""Away from CI a third of the places is tried."""

RUN = ("apply", "--auto-approve", "--parallelism", "1", "--allow", "item-unseen", "--allow", "emptied-group")


def first() -> str:
    return as_yaml(
        {
            "defaults": {"source": "handbook", "provider": "corp"},
            "groups": [
                {"name": "Staff", "members": ["user:alice@example.com", "user:bob@example.com"]},
                {"name": "All", "members": ["group:Staff"]},
            ],
            "items": [
                {
                    "uri": f"x:{name}",
                    "title": name,
                    "body": {"text": name * 9},
                    "permissions": {"allowed": ["group:All"]},
                }
                for name in "ab"
            ],
        }
    )


def second() -> str:
    return as_yaml(
        {
            "defaults": {"source": "handbook", "provider": "corp"},
            "groups": [
                {"name": "Staff", "members": ["user:bob@example.com", "user:carol@example.com"]},
                {"name": "Board", "members": ["user:dora@example.com"]},
            ],
            "aliases": [
                {
                    "of": "user:carol@example.com",
                    "is": [{"provider": "Email Security Provider", "identity": "user:carol@example.com"}],
                }
            ],
            "items": [
                {
                    "uri": "x:a",
                    "title": "other",
                    "body": {"text": "other"},
                    "permissions": {"allowed": ["group:Staff"]},
                },
                {"uri": "x:c", "title": "c", "body": {"text": "c"}, "permissions": {"allowed": ["group:Board"]}},
            ],
        }
    )


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    children = Mortals()
    yield children
    children.close()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Remote]:
    with start_remote() as remote:
        yield remote


class Story:
    """A project on its way from nothing, or from the first manifests, to the last ones."""

    def __init__(self, root: Path, remote: Remote, mortals: Mortals, *, changing: bool) -> None:
        self.folder = Folder(root, PROJECT).at(remote)
        self.remote = remote
        self.mortals = mortals
        self.changing = changing

    def begin(self) -> None:
        """Set everything to the start."""
        self.remote.reset()
        shutil.rmtree(self.folder.root / ".reconciler", ignore_errors=True)
        self.folder.write("all.yaml", first())
        if self.changing:
            code, said = self.mortals.run(self.folder, *RUN)
            assert code == 0, said
            self.folder.write("all.yaml", second())

    def boundaries(self) -> list[str]:
        self.begin()
        return self.mortals.boundaries(self.folder, *RUN)

    def check_after(self, number: int, place: str) -> bool:
        """Be killed at a place, and come to the end all the same.

        Returns whether the place was met: what is tidied up at the end is not the same in every run.
        """
        self.begin()
        code, said = self.mortals.run(self.folder, *RUN, write=number, everywhere=True)
        killed = code == KILLED
        assert killed or code == 0, f"{place}: {said}"
        code, said = self.mortals.run(self.folder, "plan")
        assert code == 0, f"{place}: {said}"
        code, said = self.mortals.run(self.folder, *RUN)
        assert code == 0, f"{place}: {said}"
        assert "Traceback" not in said
        assert self.remote.contents() == self.wanted(), place
        code, said = self.mortals.run(self.folder, "plan")
        assert "No changes" in said, f"{place}: {said}"
        return killed

    def wanted(self) -> object:
        with open_session(str(self.folder.root), None) as session:
            return contents_of(row.resource for row in session.store.rows())


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("changing", [False, True], ids=["first", "changing"])
def test_a_run_killed_anywhere_is_gone_on_with(
    tmp_path: Path, lasting: Remote, mortals: Mortals, changing: bool, part: int
) -> None:
    story = Story(tmp_path / "project", lasting, mortals, changing=changing)
    places = story.boundaries()
    assert {"socket", "commit", "statement COMMIT", "statement INSERT"} <= set(places)
    numbers = range(1 + part, len(places) + 1, PARTS * STRIDE)
    met = [story.check_after(at, f"before {at} of {len(places)}, {places[at - 1]}") for at in numbers]
    assert met.count(False) <= 1
