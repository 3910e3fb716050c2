"""One `apply` against each kind of fault that a remote can meet it with: what is sent again, recorded and said."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from reconciler.cli.session import open_session
from tests.builders import SHARED_ID, Folder, Remote, as_yaml

ACCEPTED = 202


def manifest(*names: str, title: str = "one") -> str:
    return as_yaml(
        {"items": [{"uri": f"https://example.com/{name}", "source": "blog", "title": title} for name in names]}
    )


ONE = manifest("a")
MANY = manifest(*"abcdefgh")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits for another attempt; the seconds that were asked for are here instead."""
    asked: list[float] = []
    monkeypatch.setattr("reconciler.cli.stopping.Stop.sleep", lambda _stop, seconds: asked.append(seconds))
    return asked


@pytest.fixture
def blog(folder: Folder, remote: Remote) -> Folder:
    """A project of one source, pointed at an emulator that was sent nothing."""
    project = folder.root / "reconciler.yaml"
    project.write_text(project.read_text().replace("visibility: shared", "visibility: shared, status: false"))
    return folder.at(remote)


def fail(remote: Remote, *rules: str) -> None:
    httpx.put(f"{remote.url}/_emulator/faults", json={"rules": rules}, trust_env=False).raise_for_status()


def stubborn(folder: Folder, seconds: int) -> None:
    """Let the environment insist for so long."""
    project = folder.root / "reconciler.yaml"
    project.write_text(project.read_text().replace("organization:", f"retryFor: {seconds}, organization:"))


def sent(remote: Remote) -> list[tuple[str, int]]:
    """Return what was sent, by the last segments of its path, with the status that it was answered with."""
    return [(name_of(entry), entry["status"]) for entry in remote.requests()]


def name_of(entry: dict[str, Any]) -> str:
    path = "storage" if "_storage" in entry["path"] else entry["path"].rpartition(f"{SHARED_ID}/")[2]
    return f"{entry['method']} {'files' if path.endswith('/files') else path}"


def outcomes(folder: Folder) -> list[str]:
    with open_session(str(folder.root), None) as session:
        return [entry.outcome.value if entry.outcome else "" for entry in session.store.journal()]


def titles(remote: Remote) -> dict[str, str]:
    items = remote.contents()["items"].get(SHARED_ID, {})
    return {uri.rpartition("/")[2]: held["metadata"]["title"] for uri, held in items.items()}


def assert_done(folder: Folder, remote: Remote, expected: dict[str, str]) -> None:
    """The remote holds this, and nothing is left to do."""
    assert titles(remote) == expected
    total = remote.total
    folder.ok("plan", "--exit-code")
    assert "No changes." in folder.ok("apply", "--auto-approve").out
    assert remote.total == total


# -- what passes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        ("500 x1", [500, 202]),
        ("502 x1", [502, 202]),
        ("503 x2", [503, 503, 202]),
        ("504 x1", [504, 202]),
        ("429 x1", [429, 202]),
        ("drop-before x1", [0, 202]),
        ("drop-after x1", [202, 202]),
        ("truncate x1", [202, 202]),
        ("slow=0.2 x1", [202]),
        ("delay=0.1 x1", [202]),
    ],
)
def test_what_may_pass_is_sent_again_until_it_is_accepted(
    blog: Folder, remote: Remote, waits: list[float], fault: str, statuses: list[int]
) -> None:
    blog.write("all.yaml", ONE)
    fail(remote, f"PUT documents: {fault}")

    ran = blog.ok("apply", "--auto-approve")

    assert sent(remote) == [("PUT documents", status) for status in statuses]
    assert len(waits) == len(statuses) - 1
    assert len({tuple(map(tuple, entry["query"])) for entry in remote.requests()}) == 1, "under the same ordering id"
    assert ran.err.count("call 1 of 1: attempt ") == len(waits)
    assert outcomes(blog) == ["accepted"]
    assert_done(blog, remote, {"a": "one"})


def test_a_wait_that_the_remote_asks_for_is_kept(blog: Folder, remote: Remote) -> None:
    blog.write("all.yaml", ONE)
    fail(remote, "PUT documents: 429 retry-after=1 x1")

    blog.ok("apply", "--auto-approve")

    assert sent(remote) == [("PUT documents", 429), ("PUT documents", ACCEPTED)]
    first, second = (entry["at"] for entry in remote.requests())
    assert second - first >= 0.99
    assert_done(blog, remote, {"a": "one"})


# -- what does not ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 413, 415])
def test_what_is_refused_for_good_is_not_sent_again_by_the_same_run(
    blog: Folder, remote: Remote, waits: list[float], status: int
) -> None:
    blog.write("all.yaml", ONE)
    fail(remote, f"PUT documents: {status} x1")

    ran = blog.ok("apply", "--auto-approve", code=4)

    assert sent(remote) == [("PUT documents", status)]
    assert (outcomes(blog), waits) == (["refused"], [])
    assert f"HTTP {status}" in ran.err
    assert "nothing of this call was accepted" in ran.err
    assert titles(remote) == {}
    blog.ok("apply", "--auto-approve")
    assert outcomes(blog) == ["refused", "accepted"]
    assert_done(blog, remote, {"a": "one"})


@pytest.mark.parametrize(
    ("fault", "outcome", "arrived"),
    [
        ("503", "unknown", False),
        ("drop-before", "unknown", False),
        ("drop-after", "unknown", True),
        ("truncate", "unknown", True),
        ("429", "refused", False),
    ],
)
def test_who_gives_up_knows_what_is_in_doubt_and_settles_it_with_the_next_run(
    blog: Folder, remote: Remote, fault: str, outcome: str, arrived: bool
) -> None:
    """A reply that was lost says nothing of what became of the call; only sending it again does."""
    stubborn(blog, 0)
    blog.write("all.yaml", ONE)
    fail(remote, f"PUT documents: {fault} x1")

    ran = blog.ok("apply", "--auto-approve", code=4)

    assert outcomes(blog) == [outcome]
    assert f"0 calls done, {int(outcome == 'refused')} failed, {int(outcome == 'unknown')} unknown" in ran.err
    assert titles(remote) == ({"a": "one"} if arrived else {})
    blog.ok("plan", "--exit-code", code=3)
    blog.ok("apply", "--auto-approve")
    assert outcomes(blog) == [outcome, "accepted"]
    assert len(sent(remote)) == 2
    assert_done(blog, remote, {"a": "one"})


def test_a_deletion_whose_reply_was_lost_is_settled_by_the_next_run(blog: Folder, remote: Remote) -> None:
    stubborn(blog, 0)
    blog.write("all.yaml", manifest("a", "b"))
    blog.ok("apply", "--auto-approve")
    blog.write("all.yaml", ONE)
    fail(remote, "DELETE documents: drop-after x1")

    blog.ok("apply", "--auto-approve", code=4)
    blog.ok("apply", "--auto-approve")

    assert outcomes(blog)[-2:] == ["unknown", "accepted"]
    assert_done(blog, remote, {"a": "one"})


def test_what_was_wanted_in_between_wins_over_what_was_in_doubt(blog: Folder, remote: Remote) -> None:
    stubborn(blog, 0)
    blog.write("all.yaml", ONE)
    fail(remote, "PUT documents: drop-after x1")
    blog.ok("apply", "--auto-approve", code=4)
    blog.write("all.yaml", manifest("b"))

    blog.ok("apply", "--auto-approve", "--allow", "emptied")

    assert_done(blog, remote, {"b": "one"})


# -- containers ------------------------------------------------------------------------------------

WHOLE = ["POST files", "PUT storage", "PUT documents/batch"]
EVERYTHING = dict.fromkeys("abcdefgh", "one")


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        ("POST files: 503 x1", ["POST files", *WHOLE]),
        ("POST files: drop-after x1", ["POST files", *WHOLE]),
        ("PUT storage: 403 x1", ["POST files", "PUT storage", *WHOLE]),
        ("PUT storage: expired x1", ["POST files", "PUT storage", *WHOLE]),
        ("PUT storage: 503 x1", ["POST files", "PUT storage", *WHOLE]),
        ("PUT storage: drop-before x1", ["POST files", "PUT storage", *WHOLE]),
        ("PUT storage: drop-after x1", ["POST files", "PUT storage", *WHOLE]),
        ("PUT storage: slow=0.2 x1", WHOLE),
        ("PUT documents/batch: 429 x1", [*WHOLE, "PUT documents/batch"]),
        ("PUT documents/batch: 503 x1", [*WHOLE, *WHOLE]),
        ("PUT documents/batch: drop-after x1", [*WHOLE, *WHOLE]),
        ("PUT documents/batch: truncate x1", [*WHOLE, *WHOLE]),
    ],
)
def test_a_batch_takes_the_steps_that_are_missing(
    blog: Folder, remote: Remote, waits: list[float], fault: str, steps: list[str]
) -> None:
    """A container that may be consumed is never named twice; one that was not filled, never at all."""
    blog.write("all.yaml", MANY)
    fail(remote, fault)

    blog.ok("apply", "--auto-approve")

    assert [name for name, _ in sent(remote)] == steps
    uploads = [entry for entry in remote.requests() if name_of(entry) == "PUT storage"]
    named = [dict(entry["query"])["fileId"] for entry in remote.requests() if "fileId" in dict(entry["query"])]
    filled = [entry["path"] for entry in uploads if entry["status"] in (200, 204)]
    assert all(any(file_id in path for path in filled) for file_id in named)
    assert outcomes(blog) == ["accepted"]
    assert_done(blog, remote, EVERYTHING)


@pytest.mark.parametrize("fault", ["403", "expired", "503"])
def test_a_batch_is_never_committed_without_its_content(
    blog: Folder, remote: Remote, waits: list[float], fault: str
) -> None:
    """Today's Python client commits it all the same (clients.md)."""
    blog.write("all.yaml", MANY)
    fail(remote, f"PUT storage: {fault}")

    ran = blog.ok("apply", "--auto-approve", code=4)

    assert {name for name, _ in sent(remote)} == {"POST files", "PUT storage"}
    assert outcomes(blog) == ["refused"], "whatever became of the container, the batch was not sent"
    assert "uploading to the file container" in ran.err
    assert titles(remote) == {}
    fail(remote)
    blog.ok("apply", "--auto-approve")
    assert_done(blog, remote, EVERYTHING)


# -- after the 202 ---------------------------------------------------------------------------------


def test_what_was_rejected_after_the_202_is_found_by_verify_and_pending_again(blog: Folder, remote: Remote) -> None:
    blog.write("all.yaml", MANY)
    fail(remote, 'PUT documents/batch: reject=*/c reason="the pipeline said no" x1')

    blog.ok("apply", "--auto-approve")
    assert outcomes(blog) == ["accepted"]
    blog.ok("plan", "--exit-code")
    assert titles(remote) == dict.fromkeys("abdefgh", "one")

    found = blog.ok("verify", "--timeout", "0", code=1)
    assert "item/blog/https://example.com/c: error[rejected]" in found.out
    assert "the pipeline said no" in found.out

    pending = blog.ok("plan", "--exit-code", "--format", "json", code=3)
    assert [change["name"] for change in pending.json["changes"]] == ["https://example.com/c"]
    blog.ok("apply", "--auto-approve")
    assert outcomes(blog) == ["accepted", "accepted"]
    blog.ok("verify", "--timeout", "0")
    assert_done(blog, remote, EVERYTHING)
