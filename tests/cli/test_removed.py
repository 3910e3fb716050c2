"""`removed:` lets go of something without a call: the state forgets it, and the remote keeps it."""

from __future__ import annotations

import pytest

from tests.builders import PROJECT, SHARED_ID, Folder, Remote

MANIFEST = """
defaults: {source: handbook, provider: corp}
items:
  - {uri: "file:///a", permissions: {allowed: [group:Team]}}
  - {uri: "file:///b", permissions: {allowed: [group:Team]}, protect: true}
  - {uri: "http://post", source: blog}
groups: [{name: Team, members: [user:ann]}]
aliases: [{of: user:ann, is: [{provider: Email Security Provider, identity: user:ann@x.org}]}]
"""
REMOVED = """
removed:
  - {address: "item/handbook/file:///a"}
  - {address: "item/handbook/file:///b"}
  - {address: item/blog/http://post}
  - {address: group/corp/Team}
  - {address: alias/corp/user:ann}
  - {address: group/corp/Never}
"""


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    folder.write("all.yaml", MANIFEST)
    folder.at(remote).ok("apply", "--auto-approve")
    return folder


def test_what_is_removed_is_forgotten_and_stays_at_the_remote(applied: Folder, remote: Remote) -> None:
    held, total = remote.contents(), remote.total
    applied.write("all.yaml", REMOVED)

    plan = applied.ok("plan")
    assert "forgotten: the state alone lets go of it, and it stays at the remote" in plan.out
    assert "5 changes without a call: only the state records it." in plan.out
    assert "hazard" not in plan.out
    document = applied.ok("plan", "--format", "json").json
    assert {change["reason"] for change in document["changes"]} == {"forgotten"}
    applied.ok("apply", "--auto-approve")

    assert remote.contents() == held
    assert [entry for entry in remote.requests(total) if "/push/" in entry["path"]] == []
    assert applied.ok("state", "list").out == ""
    assert "No changes." in applied.ok("plan", "--exit-code").out


def test_a_saved_plan_forgets_as_well(applied: Folder, remote: Remote) -> None:
    held = remote.contents()
    applied.write("all.yaml", REMOVED)
    saved = str(applied.root / "p.json")
    applied.ok("plan", "--out", saved)
    applied.ok("apply", saved, "--auto-approve")
    assert remote.contents() == held
    assert applied.ok("state", "list").out == ""


def test_whatever_is_not_named_is_deleted_as_ever(applied: Folder, remote: Remote) -> None:
    applied.write("all.yaml", MANIFEST.replace('  - {uri: "file:///a", permissions: {allowed: [group:Team]}}\n', ""))
    assert "- " in applied.ok("plan").out
    applied.ok("apply", "--auto-approve", "--allow", "item-unseen")
    assert "file:///a" not in str(remote.contents())


def test_what_goes_by_prefix_does_not_take_along_what_is_forgotten(folder: Folder, remote: Remote) -> None:
    folder.write("reconciler.yaml", PROJECT.replace("visibility: shared", "visibility: shared, exclusive: true"))
    rows = "".join(f'  - {{uri: "file:///f/{number}"}}\n' for number in range(5))
    folder.write(
        "all.yaml", f"defaults: {{source: blog}}\nitems:\n  - {{uri: file:///f}}\n{rows}  - {{uri: file:///g}}\n"
    )
    folder.at(remote).ok("apply", "--auto-approve")
    folder.write(
        "all.yaml",
        "defaults: {source: blog}\nitems: [{uri: file:///g}]\nremoved: [{address: item/blog/file:///f/3}]\n",
    )
    folder.ok("apply", "--auto-approve")
    assert set(remote.contents()["items"][SHARED_ID]) == {"file:///f/3", "file:///g"}


def test_what_is_declared_cannot_be_removed(applied: Folder) -> None:
    applied.write("more.yaml", "removed: [{address: group/corp/Team}]\n")
    assert "error[removed-and-declared]" in applied.ok("apply", "--auto-approve", code=1).err


@pytest.mark.parametrize("address", ["Team", "group/corp", "thing/corp/x"])
def test_an_address_of_another_form_is_an_error(address: str, applied: Folder) -> None:
    applied.write("more.yaml", f"removed: [{{address: {address}}}]\n")
    assert "more.yaml:1:" in applied.ok("validate", code=1).err


def test_moving_goes_before_forgetting(applied: Folder, remote: Remote) -> None:
    applied.write(
        "all.yaml",
        MANIFEST.replace("http://post", "http://new")
        + "moved: [{from: http://post, to: http://new, source: blog}]\nremoved: [{address: item/blog/http://post}]\n",
    )
    applied.ok("apply", "--auto-approve")
    assert set(remote.contents()["items"][SHARED_ID]) == {"http://new"}


def test_what_goes_by_age_does_not_take_along_what_is_forgotten(folder: Folder, remote: Remote) -> None:
    folder.write("reconciler.yaml", PROJECT.replace("visibility: shared", "visibility: shared, exclusive: true"))
    rows = "".join(f"  - {{uri: file:///f/{number}}}\n" for number in range(5))
    folder.write("all.yaml", f"defaults: {{source: blog}}\nitems:\n{rows}")
    folder.at(remote).ok("apply", "--auto-approve")
    kept = rows.replace("  - {uri: file:///f/3}\n", "").replace("  - {uri: file:///f/4}\n", "")
    folder.write(
        "all.yaml",
        f"defaults: {{source: blog}}\nitems:\n{kept}removed: [{{address: item/blog/file:///f/3}}]\n",
    )
    folder.ok("apply", "--auto-approve", "--resend", "blog")
    remote.flush()
    assert "file:///f/3" in remote.contents()["items"][SHARED_ID]
    assert "file:///f/4" not in remote.contents()["items"][SHARED_ID]
