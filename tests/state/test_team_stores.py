"""The whole tool on a state that a team shares, on the real servers: applied, looked at, moved back and forth."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from pathlib import Path

import pytest

from reconciler.state.opening import open_store
from tests.builders import REPOSITORY, Folder, Remote

MANIFEST = """\
defaults: {source: handbook, provider: corp}
items:
  - {uri: https://example.com/a, title: A, permissions: {allowed: [group:Team]}}
  - {uri: https://example.com/b, title: B, permissions: {allowed: [group:Team]}}
groups:
  - {name: Team, members: [user:alice@example.com]}
"""
FILE = ".reconciler/local.state.db"


@pytest.fixture(params=["postgres_url", "s3_url", "azure_url"])
def url(request: pytest.FixtureRequest) -> str:
    """A place in each real store in turn, that nobody used before."""
    found: str = request.getfixturevalue(request.param)
    return found


def moved(folder: Folder, state: str) -> Folder:
    path = folder.root / "reconciler.yaml"
    path.write_text(path.read_text().replace("target: http", f"state: '{state}', target: http"))
    return folder


def whole(folder: Folder, state: str) -> list[object]:
    store = open_store(state, folder.root, folder.root / ".reconciler")
    try:
        with store.reading():
            return list(store.dump())
    finally:
        store.close()


def test_two_checkouts_share_one_state(folder: Folder, remote: Remote, url: str, tmp_path: Path) -> None:
    moved(folder.at(remote), url).write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    shutil.copytree(folder.root, tmp_path / "other", ignore=shutil.ignore_patterns(".reconciler"))
    other = Folder.__new__(Folder)
    other.root = tmp_path / "other"
    other.ok("plan", "--exit-code")
    other.write("all.yaml", MANIFEST.replace("title: B", "title: C"))
    other.ok("apply", "--auto-approve")
    folder.write("all.yaml", MANIFEST.replace("title: B", "title: C"))
    folder.ok("plan", "--exit-code")
    assert "the history is whole; runs: 2" in folder.ok("state", "history", "verify").out
    assert "nothing is wrong with" in folder.ok("state", "check").out
    assert not (folder.root / FILE).exists()


def test_a_state_moves_to_a_team_store_and_back(folder: Folder, remote: Remote, url: str) -> None:
    folder.at(remote).write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    folder.write("all.yaml", MANIFEST.replace("title: B", "title: C").replace("[user:alice@", "[user:bob@"))
    folder.ok("apply", "--auto-approve")
    before = whole(folder, FILE)

    ran = folder.ok("state", "migrate", "--to", url)
    assert f"    state: {url}\n" in ran.out
    assert whole(folder, url) == before
    assert "error[state-migrated]" in folder.ok("plan", code=1).err

    moved(folder, url)
    folder.ok("plan", "--exit-code")
    folder.write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    assert "the history is whole; runs: 3" in folder.ok("state", "history", "verify").out
    after = whole(folder, url)

    folder.ok("state", "migrate", "--to", "back.db")
    assert whole(folder, "back.db") == after
    refused = folder.ok("apply", "--auto-approve", code=1).err
    assert "error[state-migrated]: this state was moved to back.db" in refused
    folder.ok("state", "reopen")
    folder.ok("plan")


def test_who_moves_a_state_to_a_store_that_does_not_encrypt_it_is_told(
    folder: Folder, remote: Remote, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_STATE_KEY", "ab" * 32)
    folder.at(remote).write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    folder.ok("state", "encrypt")
    ran = folder.ok("state", "migrate", "--to", postgres_url)
    assert "reconciler does not encrypt a state in PostgreSQL: what is there now is not encrypted" in ran.err
    moved(folder, postgres_url)
    folder.ok("plan", "--exit-code")


def test_no_message_shows_a_password(folder: Folder, remote: Remote, postgres_url: str) -> None:
    moved(folder.at(remote), postgres_url).write("all.yaml", MANIFEST)
    ran = [
        folder.run("plan", "--exit-code"),
        folder.run("apply", "--auto-approve"),
        folder.run("state", "history"),
        folder.run("state", "pull"),
        folder.run("state", "check"),
        folder.run("state", "unlock", "nobody"),
    ]
    assert [entry.code for entry in ran] == [3, 0, 0, 0, 0, 1]
    assert not [entry for entry in ran if "not-a-secret" in entry.out + entry.err]


def test_the_roles_of_the_documents_are_enough(
    folder: Folder, remote: Remote, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    text = (REPOSITORY / "docs" / "team-stores.md").read_text()
    (setup,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    suffix = uuid.uuid4().hex[:8]  # roles are the whole server's, not the database's
    owner, reader, database = f"owner_{suffix}", f"reader_{suffix}", postgres_url.rpartition("/")[2]
    for name, found in (("reconciler_prod", owner), ("reconciler_reader", reader), ("DATABASE search", database)):
        assert name in setup
        setup = setup.replace(name, f'DATABASE "{found}"' if name.startswith("DATABASE") else found)
    password = os.environ["PGPASSWORD"]
    try:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            for statement in filter(str.strip, setup.split(";")):
                connection.execute(statement)
            for role in (owner, reader):
                connection.execute(f"ALTER ROLE {role} PASSWORD '{password}'")

        url = postgres_url.replace("tests@", f"{owner}@") + "?schema=prod"
        moved(folder.at(remote), url).write("all.yaml", MANIFEST)
        folder.ok("apply", "--auto-approve")
        project = folder.root / "reconciler.yaml"
        project.write_text(project.read_text().replace(f"{owner}@", f"{reader}@"))
        folder.ok("plan", "--exit-code")
        folder.ok("state", "check")
        ran = folder.ok("state", "rm", "group/corp/Team", code=1)
        assert "permission" in ran.err
        assert password not in ran.err
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            for role in (owner, reader):
                connection.execute(f"DROP OWNED BY {role} CASCADE")
                connection.execute(f"DROP ROLE {role}")


def test_buckets_of_one_name_at_two_places_are_not_taken_for_one(folder: Folder, remote: Remote, s3_url: str) -> None:
    """Were they one all the same, the lock would tell."""
    moved(folder.at(remote), s3_url).write("all.yaml", MANIFEST)
    folder.ok("apply", "--auto-approve")
    assert "error[same-store]" in folder.ok("state", "migrate", "--to", f"{s3_url}/", code=2).err
    elsewhere = f"{s3_url}?endpoint={os.environ['AWS_ENDPOINT_URL']}"
    assert "error[state-locked]" in folder.ok("state", "migrate", "--to", elsewhere, code=1).err
