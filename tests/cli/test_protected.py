"""What is protected stays (P15): however its entry, and its protection with it, get lost, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Folder, Remote

ITEMS = """\
defaults: {source: handbook, provider: corp}
permissions:
  staff: {allowed: ["group:Staff"]}
items:
  - {uri: "x:top", permissions: staff, protect: true}
  - {uri: "x:top/below", permissions: staff}
  - {uri: "x:other", permissions: staff}
"""
GROUPS = """\
defaults: {provider: corp}
groups:
  - {name: Staff, members: ["user:alice@example.com"], protect: true}
  - {name: Other, members: ["user:bob@example.com"]}
"""
FREE = ITEMS.replace(", protect: true", "")


def edit(name: str, old: str, new: str) -> Callable[[Folder], object]:
    def change(folder: Folder) -> None:
        path = folder.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def together(*changes: Callable[[Folder], object]) -> Callable[[Folder], object]:
    def change(folder: Folder) -> None:
        for one in changes:
            one(folder)

    return change


TOP = '  - {uri: "x:top", permissions: staff, protect: true}\n'
WAYS: dict[str, Callable[[Folder], object]] = {
    "its entry goes": edit("items.yaml", TOP, ""),
    "its entry is a comment": edit("items.yaml", TOP, "#" + TOP),
    "it is renamed": edit("items.yaml", 'x:top",', 'x:new",'),
    "it is renamed, and free": together(
        edit("items.yaml", 'x:top",', 'x:new",'), edit("items.yaml", ", protect: true", "")
    ),
    "it is said to have moved": together(
        edit("items.yaml", 'x:top",', 'x:new",'),
        lambda folder: folder.write("moved.yaml", "moved: [{from: 'x:top', to: 'x:new', source: handbook}]\n"),
    ),
    "it goes to another source": edit("items.yaml", 'x:top", permissions: staff', 'x:top", source: blog'),
    "its section goes": lambda folder: folder.write("items.yaml", "items: [{uri: 'x:2', source: blog}]\n"),
    "its file goes": lambda folder: (folder.root / "items.yaml").unlink(),
    "all files go": lambda folder: [
        path.unlink() for path in (folder.root / "items.yaml", folder.root / "groups.yaml")
    ],
    "its source goes": together(
        edit("reconciler.yaml", "  handbook: {id: mysourceidg3c5d1r2, visibility: secured, provider: corp}\n", ""),
        lambda folder: folder.write("items.yaml", "items: [{uri: 'x:2', source: blog}]\n"),
    ),
    "its source is ours alone, and emptied": together(
        edit("reconciler.yaml", "visibility: secured,", "visibility: secured, exclusive: true,"),
        lambda folder: folder.write("items.yaml", "items: [{uri: 'x:2', source: blog}]\n"),
    ),
    "a group goes": together(
        edit("items.yaml", "group:Staff", "group:Other"),
        edit("groups.yaml", '  - {name: Staff, members: ["user:alice@example.com"], protect: true}\n', ""),
    ),
    "a group becomes a virtual one": together(
        edit("items.yaml", "group:Staff", "group:Other"),
        edit("groups.yaml", '  - {name: Staff, members: ["user:alice@example.com"], protect: true}\n', ""),
        lambda folder: folder.write("virtual.yaml", "virtualGroups: [{name: Staff, provider: corp, members: []}]\n"),
    ),
    "a pattern matches its file no more": edit("reconciler.yaml", "sources:", 'manifests: ["groups.yaml"]\nsources:'),
}
# What is wrong with the manifests themselves is told first.
REFUSED = {"all files go": "no-manifests", "its source goes": "unknown-source"}
ALLOWED = (
    "deny-removed",
    "emptied",
    "emptied-group",
    "item-public",
    "item-unseen",
    "mass-delete",
    "transient-exposure",
)
ALLOW = tuple(word for name in ALLOWED for word in ("--allow", name))


@pytest.fixture
def applied(folder: Folder, remote: Remote) -> Folder:
    folder.at(remote)
    folder.write("items.yaml", ITEMS)
    folder.write("groups.yaml", GROUPS)
    folder.ok("apply", "--auto-approve")
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_nothing_lifts_protection_but_a_change_of_its_own(applied: Folder, remote: Remote, way: str) -> None:
    """Also with every hazard allowed: protection is none of them."""
    WAYS[way](applied)
    total, state = remote.total, (applied.root / ".reconciler" / "local.state.db").read_bytes()
    for options in ((), ALLOW, (*ALLOW, "--no-batch")):
        ran = applied.ok("apply", "--auto-approve", *options, code=1)
        assert f"error[{REFUSED.get(way, 'protected')}]" in ran.err
    assert remote.total == total
    assert (applied.root / ".reconciler" / "local.state.db").read_bytes() == state
    assert "x:top" in str(remote.contents()) and "Staff" in str(remote.contents())


def test_destroying_everything_is_refused(applied: Folder, remote: Remote) -> None:
    total = remote.total
    assert "error[protected]" in applied.ok("destroy", "--auto-approve", *ALLOW, code=1).err
    assert remote.total == total


def test_a_saved_plan_of_before_it_was_protected_is_stale(folder: Folder, remote: Remote, tmp_path: Path) -> None:
    folder.at(remote).write("groups.yaml", GROUPS)
    folder.write("items.yaml", FREE)
    folder.ok("apply", "--auto-approve")
    folder.write("items.yaml", FREE.replace('  - {uri: "x:top", permissions: staff}\n', ""))
    plan = tmp_path / "plan.json"
    folder.ok("plan", "--out", str(plan))
    folder.write("items.yaml", ITEMS)
    folder.ok("apply", "--auto-approve")
    total = remote.total
    assert "error[stale-plan]" in folder.ok("apply", str(plan), "--auto-approve", code=1).err
    assert remote.total == total


def test_what_is_above_it_does_not_take_it_along(folder: Folder, remote: Remote) -> None:
    """One call removes a folder by its uri prefix where all below goes; what is protected below does not."""
    folder.at(remote)
    text = (folder.root / "reconciler.yaml").read_text()
    folder.write("reconciler.yaml", text.replace("visibility: shared", "visibility: shared, exclusive: true"))
    many = "".join(f'  - {{uri: "file:///a/{n}", source: blog}}\n' for n in range(6))
    kept = '  - {uri: "file:///a/kept", source: blog, protect: true}\n'
    stays = '  - {uri: "file:///b", source: blog}\n'
    folder.write("items.yaml", f'items:\n  - {{uri: "file:///a", source: blog}}\n{many}{kept}{stays}')
    folder.ok("apply", "--auto-approve")
    folder.write("items.yaml", f"items:\n{kept}{stays}")
    folder.ok("apply", "--auto-approve", *ALLOW)
    (held,) = remote.contents()["items"].values()
    assert set(held) == {"file:///a/kept", "file:///b"}


def test_a_change_of_its_own_lifts_it(applied: Folder, remote: Remote) -> None:
    applied.write("items.yaml", FREE)
    applied.ok("apply", "--auto-approve")
    applied.write("items.yaml", FREE.replace('  - {uri: "x:top", permissions: staff}\n', ""))
    applied.ok("apply", "--auto-approve", *ALLOW)
    assert "x:top'" not in str(remote.contents())
