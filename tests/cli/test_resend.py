"""Sending a source again, whatever the state says: what it sends, what it spares, what it sweeps away."""

from __future__ import annotations

import httpx

from tests.builders import KEY, ORGANIZATION, PROJECT, SHARED_ID, Folder, Remote

ITEMS = """
defaults: {source: blog}
items:
  - {uri: "https://blog.example.com/1", title: One}
  - {uri: "https://blog.example.com/2", title: Two}
"""
STRAY = "https://blog.example.com/stray"


def given(folder: Folder, remote: Remote, *, exclusive: bool) -> None:
    """A source of two items that were applied, and one that somebody else pushed before."""
    project = PROJECT.replace("visibility: shared}", f"visibility: shared, exclusive: {str(exclusive).lower()}}}")
    folder.write("reconciler.yaml", project)
    folder.at(remote)
    folder.write("blog.yaml", ITEMS)
    answer = httpx.put(
        f"{remote.url}/push/v1/organizations/{ORGANIZATION}/sources/{SHARED_ID}/documents",
        params={"documentId": STRAY},
        json={"title": "Stray", "permissions": [{"allowAnonymous": True}]},
        headers={"Authorization": f"Bearer {KEY}"},
    )
    assert answer.status_code == 202
    folder.ok("apply", "--auto-approve")


def uris(remote: Remote) -> list[str]:
    return sorted(remote.contents()["items"][SHARED_ID])


def calls(remote: Remote, since: int) -> list[str]:
    """Return method and last part of each call that changes something, of those after number `since`."""
    kept = [entry for entry in remote.requests(since) if not entry["path"].endswith(("/status", "/files"))]
    return [
        f"{entry['method']} {entry['path'].rpartition('/')[2]}" for entry in kept if "_storage" not in entry["path"]
    ]


def test_everything_of_the_source_is_sent_although_nothing_changed(folder: Folder, remote: Remote) -> None:
    given(folder, remote, exclusive=False)
    since = remote.total

    planned = folder.ok("plan", "--resend", "blog", "--exit-code", code=3)
    assert "sent again, as asked" in planned.out
    assert "Activity: REBUILD, then IDLE, of blog" in planned.out
    assert remote.total == since

    folder.ok("apply", "--resend", "blog", "--auto-approve")
    assert calls(remote, since) == ["PUT documents", "PUT documents"]
    assert uris(remote) == ["https://blog.example.com/1", "https://blog.example.com/2", STRAY]
    assert "No changes." in folder.ok("plan").out


def test_what_is_old_goes_from_a_source_that_is_ours_alone(folder: Folder, remote: Remote) -> None:
    given(folder, remote, exclusive=True)
    since = remote.total

    ran = folder.ok("plan", "--resend", "blog")
    assert "documents/olderthan?queueDelay=15: and removes whatever was pushed before, 15 minutes later" in ran.out
    folder.ok("apply", "--resend", "blog", "--auto-approve")

    assert calls(remote, since)[-1] == "DELETE olderthan"
    sent = [dict(entry["query"]) for entry in remote.requests(since) if "orderingId" in dict(entry["query"])]
    numbers = [int(query["orderingId"]) for query in sent]
    assert numbers[-1] == min(numbers), "what this run sent is not older than what it removes"
    remote.flush()
    assert uris(remote) == ["https://blog.example.com/1", "https://blog.example.com/2"]


def test_narrowing_to_a_part_removes_nothing(folder: Folder, remote: Remote) -> None:
    given(folder, remote, exclusive=True)
    since = remote.total

    folder.ok("apply", "--resend", "blog", "--target", "item/blog/https://blog.example.com/1", "--auto-approve")

    assert calls(remote, since) == ["PUT documents"]


def test_an_unknown_source_is_refused(folder: Folder, remote: Remote) -> None:
    given(folder, remote, exclusive=False)

    ran = folder.ok("plan", "--resend", "bolg", code=2)

    assert 'error[unknown-source]: no source is named "bolg"' in ran.err
