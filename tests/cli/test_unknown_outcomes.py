"""What an earlier run left in doubt, and what the remote rejected, as the next plan tells it."""

from __future__ import annotations

import signal
import time
from html import unescape
from typing import Any

import httpx
import jsonschema
import pytest

from reconciler.cli.session import open_session
from reconciler.planfile import load_plan
from reconciler.rendering.plan_schema import plan_schema
from reconciler.state.journal import JournalEntry
from tests.builders import Folder, Remote, as_yaml

SCHEMA = jsonschema.Draft202012Validator(plan_schema())
A, B, C, D = (f"https://example.com/{name}" for name in "abcd")
LOST = "no answer told its outcome"
DIED = "no answer is recorded, since the run died or is still under way"


def write(folder: Folder, *uris: str, title: str = "T") -> None:
    items = [{"uri": uri, "title": title} for uri in uris]
    folder.write("items.yaml", as_yaml({"defaults": {"source": "blog"}, "items": items}))


def fail(remote: Remote, *rules: str) -> None:
    httpx.put(f"{remote.url}/_emulator/faults", json={"rules": rules}, trust_env=False).raise_for_status()


def doubts(folder: Folder) -> tuple[JournalEntry, ...]:
    with open_session(str(folder.root), None) as session:
        return session.store.unsettled()


@pytest.fixture
def blog(folder: Folder, remote: Remote) -> Folder:
    project = folder.root / "reconciler.yaml"
    text = project.read_text().replace("visibility: shared", "visibility: shared, status: false")
    project.write_text(text.replace("organization:", "retryFor: 0.1, organization:"))
    return folder.at(remote)


@pytest.fixture
def lost(blog: Folder, remote: Remote) -> Folder:
    """Three items of which one call told nothing: its answer never came."""
    write(blog, A, B, D)
    fail(remote, "PUT documents/batch: drop-after")
    blog.ok("apply", "--auto-approve", code=4)
    fail(remote)
    return blog


@pytest.fixture
def killed(blog: Folder, remote: Remote) -> Folder:
    """An item whose call was sent by a run that was killed before the answer came."""
    write(blog, A)
    fail(remote, "PUT documents: slow=30")
    process = blog.start("apply", "--auto-approve")
    until = time.monotonic() + 30
    while not doubts(blog) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    fail(remote)
    return blog


def plan_json(folder: Folder, *options: str) -> Any:
    document = folder.ok("plan", "--format", "json", *options).json
    SCHEMA.validate(document)
    return document


def test_a_lost_answer_is_told_in_every_format(lost: Folder) -> None:
    (entry,) = doubts(lost)
    document = plan_json(lost)
    (doubt,) = document["doubts"]
    assert doubt.pop("detail")
    assert doubt == {
        "run": entry.run,
        "call": entry.intent.call,
        "sent_at": entry.intent.at,
        "answered": True,
        "run_ended": True,
        "addresses": [f"item/blog/{A}", f"item/blog/{B}", f"item/blog/{D}"],
        "sent_again": 3,
        "deleted_again": 0,
    }
    assert {change["reason"] for change in document["changes"]} == {"unconfirmed"}
    start = f"run {entry.run}, call {entry.intent.call} sent at {entry.intent.at}: {LOST}"
    for output in ("text", "markdown", "html"):
        told = " ".join(unescape(lost.ok("plan", "--format", output).out).split())
        assert "Unknown outcomes" in told, output
        assert start in told, output
        assert "may hold either version of 3 resources. This plan sends 3 again:" in told, output
        assert f"item/blog/{A}" in told, output


def test_a_run_that_was_killed_is_told(killed: Folder) -> None:
    (entry,) = doubts(killed)
    (doubt,) = plan_json(killed)["doubts"]
    assert (doubt["run"], doubt["answered"], doubt["run_ended"], doubt["detail"]) == (entry.run, False, False, "")
    assert (doubt["addresses"], doubt["sent_again"]) == ([f"item/blog/{A}"], 1)
    assert DIED in " ".join(killed.ok("plan").out.split())


def test_what_was_in_doubt_is_told_no_more_once_it_is_settled(killed: Folder) -> None:
    killed.ok("apply", "--auto-approve")
    assert doubts(killed) == ()
    document = plan_json(killed)
    assert "doubts" not in document
    assert document["changes"] == []
    killed.ok("verify")


def test_what_no_manifest_has_is_deleted_again(lost: Folder) -> None:
    write(lost, B, C, D)
    document = plan_json(lost, "--allow", "mass-delete")
    (doubt,) = document["doubts"]
    assert (doubt["sent_again"], doubt["deleted_again"]) == (2, 1)
    told = " ".join(lost.ok("plan").out.split())
    assert "This plan sends 2 again and deletes 1 again:" in told


def test_a_narrowed_plan_says_what_it_leaves_in_doubt(lost: Folder) -> None:
    (doubt,) = plan_json(lost, "--target", A)["doubts"]
    assert (doubt["sent_again"], doubt["deleted_again"], len(doubt["addresses"])) == (1, 0, 3)
    told = " ".join(lost.ok("plan", "--target", A).out.split())
    assert "This plan sends 1 again and leaves 2 as they are:" in told


def test_a_saved_plan_keeps_what_it_told(lost: Folder) -> None:
    path = lost.root / "plan.json"
    lost.ok("plan", "--out", str(path))
    saved = load_plan(path.read_bytes(), "plan.json")
    assert [len(doubt.addresses) for doubt in saved.plan.doubts] == [3]
    assert "Unknown outcomes" in lost.ok("show", str(path)).out
    lost.ok("apply", str(path), "--auto-approve")
    assert doubts(lost) == ()


def test_what_the_remote_rejected_is_no_unknown_outcome(blog: Folder, remote: Remote) -> None:
    write(blog, A, B)
    fail(remote, "PUT documents: reject=*/a")
    blog.ok("apply", "--auto-approve")
    blog.ok("verify", code=1)
    fail(remote)
    document = plan_json(blog)
    assert "doubts" not in document
    assert [(change["address"], change["reason"]) for change in document["changes"]] == [(f"item/blog/{A}", "rejected")]
    assert "(sent again: the remote rejected it after it was accepted)" in blog.ok("plan").out
    # A changed one is sent whole, whatever else is known of it.
    write(blog, A, B, title="New")
    reasons = {change["address"][-1]: change["reason"] for change in plan_json(blog)["changes"]}
    assert reasons == {"a": "rejected", "b": "changed"}
    blog.ok("apply", "--auto-approve")
    blog.ok("verify")
    assert plan_json(blog)["changes"] == []


def test_what_somebody_asked_to_send_again_is_told_as_that(blog: Folder, remote: Remote) -> None:
    write(blog, A)
    blog.ok("apply", "--auto-approve")
    remote.reset()
    blog.ok("verify", "--timeout", "0", "--resend", code=1)
    assert [change["reason"] for change in plan_json(blog)["changes"]] == ["resent"]
    assert "(sent again, as asked)" in blog.ok("plan").out
