"""`state migrate`, killed at each of its boundaries: the new place is empty or whole, the old one closed only then."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from migrate_child import NEW
from store_contract import eventful

from reconciler.state.sqlite.store import SqliteStore
from reconciler.state.whole import Part
from tests.builders import Folder, child_environment

CHILD = Path(__file__).with_name("migrate_child.py")
OLD = ".reconciler/local.state.db"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: a kill needs no disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def whole(path: Path) -> tuple[list[Part], str]:
    with SqliteStore(path) as store:
        assert store.check() == ()
        return list(store.dump()), store.moved_to()


def is_empty(path: Path) -> bool:
    with SqliteStore(path) as store:
        return store.base().lineage == "" and store.runs() == ()


@pytest.mark.slow
def test_a_kill_leaves_the_new_place_empty_or_whole_and_the_next_attempt_finishes(place: Path) -> None:
    project = Folder(place / "project")
    with SqliteStore(project.root / OLD) as store:
        eventful(store)
    parts, _ = whole(project.root / OLD)
    command = [sys.executable, str(CHILD), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=child_environment())
    assert done.returncode == 0, done.stderr

    seen = set()
    for root in sorted(path for path in place.iterdir() if path.name.isdigit()):
        there, moved = not is_empty(root / NEW), whole(root / OLD)[1]
        assert whole(root / OLD)[0] == parts
        assert not there or whole(root / NEW)[0] == parts
        seen.add((there, moved))
        ran = Folder(root).run("state", "migrate", "--to", NEW)
        assert ran.code == 0, ran.err
        assert (whole(root / NEW)[0], whole(root / OLD)) == (parts, (parts, NEW))
    assert seen == {(False, ""), (True, ""), (True, NEW)}
