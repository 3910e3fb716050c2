"""A run whose lock another one took: what it still records is refused, and it tells the remote nothing more."""

from __future__ import annotations

import psycopg
import pytest

from tests.builders import Folder, Remote, as_yaml

GROUPS = 12

# The other one comes while the fifth call is being written down.
_TAKEN = """
CREATE FUNCTION reconciler.taken() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE reconciler.fence SET generation = generation + 1, holder = 'another';
        RETURN NEW;
    END
$$;
CREATE TRIGGER taken AFTER INSERT ON reconciler.journal FOR EACH ROW WHEN (NEW.call = 5)
    EXECUTE FUNCTION reconciler.taken();
"""


def manifest(member: str) -> str:
    items = [{"uri": "x:1", "body": {"text": member}, "permissions": {"allowed": ["group:G1"]}}]
    groups = [{"name": f"G{number}", "members": [f"user:{member}@example.com"]} for number in range(GROUPS)]
    return as_yaml({"defaults": {"source": "handbook", "provider": "corp"}, "groups": groups, "items": items})


@pytest.fixture
def project(folder: Folder, remote: Remote, postgres_url: str) -> Folder:
    path = folder.at(remote).root / "reconciler.yaml"
    path.write_text(path.read_text().replace("target: http", f"state: '{postgres_url}', target: http"))
    folder.write("all.yaml", manifest("alice"))
    folder.ok("apply", "--auto-approve")
    return folder


def test_who_lost_the_lock_sends_nothing_more(project: Folder, remote: Remote, postgres_url: str) -> None:
    before = remote.total
    project.write("all.yaml", manifest("bob"))
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(_TAKEN)
        ran = project.run("apply", "--auto-approve", "--no-batch", "--parallelism", "1", "--refresh-identities")
        admin.execute("DROP FUNCTION reconciler.taken CASCADE")
    assert ran.code == 4
    assert "error[lock-lost]" in ran.err
    assert "Apply: 4 calls done, 0 failed, 1 unknown, 8 not started" in ran.err
    assert "Traceback" not in ran.err
    paths = [request["path"].rpartition("/")[2] for request in remote.requests(since=before)]
    assert paths == ["status", *["permissions"] * 5]
    found = project.run("plan")
    assert "unknown" in found.out + found.err
    project.ok("apply", "--auto-approve")
    project.ok("plan", "--exit-code")
