"""What is lost of a project deletes nothing (P14): each file, folder, key and line is taken away, one at a time.

After each loss either nothing is sent, or what is deleted is what the plan names: of this state's own, never protected
(P15), nothing of a kind emptied, and no more than the guardrail lets pass. What somebody else pushed stays in any case.
"""

from __future__ import annotations

import codecs
import copy
import os
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from ruamel.yaml import YAML

from tests.builders import KEY, ORGANIZATION, PROVIDER_ID, SHARED_ID, Folder, Remote, as_yaml

pytestmark = pytest.mark.slow

PROJECT_TEXT = """\
manifests: ["**/*.yaml"]
sources:
  handbook: {id: mysourceidg3c5d1r2, visibility: secured, provider: corp}
  blog: {id: mysourceidb10g, visibility: shared}
providers:
  corp: {id: mysecurityidentityprovider8d9s8d, cascadesTo: ["Email Security Provider"]}
environments:
  local: {target: emulator, organization: mycoveocloudv2organizationg8tp8wu3}
guardrails: {deletes: 10%, widenedAccess: allow}
"""
ITEMS: dict[str, Any] = {
    "defaults": {"source": "handbook"},
    "items": [
        {"uri": "x:protected", "title": "kept", "protect": True, "permissions": "staff"},
        *({"uri": f"x:{n}", "title": f"t{n}", "permissions": "staff", "metadata": {"n": n}} for n in range(4)),
    ],
}
GROUPS: dict[str, Any] = {
    "defaults": {"provider": "corp"},
    "permissions": {"staff": {"allowed": ["group:Staff"], "denied": ["user:eve@example.com"]}},
    "groups": [
        {"name": "Staff", "members": ["group:Board", "user:alice@example.com"]},
        {"name": "Board", "members": ["user:bob@example.com"], "protect": True},
    ],
    "aliases": [
        {"ofEach": {"membersOf": "*"}, "is": [{"provider": "Email Security Provider", "identity": "user:{name}"}]}
    ],
}
SETS: dict[str, Any] = {
    "itemSets": [
        {"from": {"csv": "rows/rows.csv"}, "item": {"uri": "row:{row.id}", "source": "blog", "title": "{row.title}"}},
        {
            "from": {"files": "pages/**/*.html"},
            "item": {"uri": "page:{path}", "source": "blog", "title": "{html.title}"},
        },
    ]
}
DOCUMENTS = {"items/items.yaml": ITEMS, "people/groups.yaml": GROUPS, "sets.yaml": SETS}
STATE = ".reconciler/local.state.db"
FOREIGN_ITEM, FOREIGN_GROUP = "foreign:1", "Foreigners"


class Project:
    """A project that was applied beside what somebody else pushed, and comes back to that after each loss."""

    def __init__(self, root: Path, remote: Remote) -> None:
        self.remote = remote
        self.folder = Folder(root, PROJECT_TEXT).at(remote)
        self.put()
        self.folder.ok("apply", "--auto-approve")
        self.kept = root.with_name("kept")
        shutil.copytree(root, self.kept)
        self.recorded = {
            entry["address"] for entry in self.folder.ok("state", "list", "--format", "json").json["resources"]
        }
        push_foreign(remote)

    def put(self) -> None:
        for name, document in DOCUMENTS.items():
            self.folder.write(name, as_yaml(document))
        for number in range(6):
            self.folder.write(f"pages/{number % 2}/{number}.html", f"<title>page {number}</title>")
        self.folder.write("rows/rows.csv", "id,title\n" + "".join(f"{n},row {n}\n" for n in range(6)))

    def put_back(self) -> None:
        shutil.rmtree(self.folder.root)
        shutil.copytree(self.kept, self.folder.root)

    def give_to_whoever_we_are(self, root: Path) -> None:
        """Move the project, which a user with all privileges may have made, to a folder of the present user."""
        effective = os.geteuid()
        os.seteuid(os.getuid())
        shutil.move(self.folder.root, root)
        for path in [root, *root.rglob("*")]:
            os.chown(path, effective, -1)
        os.seteuid(effective)
        self.folder.root = root

    def files(self) -> list[Path]:
        found = self.folder.root.rglob("*")
        return sorted(path for path in found if path.is_file() and ".reconciler" not in path.parts)

    def folders(self) -> list[Path]:
        found = self.folder.root.rglob("*")
        return sorted(path for path in found if path.is_dir() and ".reconciler" not in path.parts)

    def check(self, loss: str) -> bool:
        """Apply what is left; return whether that was refused."""
        total = self.remote.total
        planned = self.folder.run("plan", "--format", "json")
        ran = self.folder.run("apply", "--auto-approve")
        assert "internal" not in ran.err and "Traceback" not in ran.err, (loss, ran.err)
        if ran.code in (1, 2):
            assert self.remote.total == total, f"{loss}: refused, and something was sent"
            return True
        assert ran.code == 0, (loss, ran.err)
        deleted = {change["address"] for change in planned.json["changes"] if change["action"] == "delete"}
        told = f"{loss}: deletes {sorted(deleted)}"
        assert deleted <= self.recorded, told
        assert len(deleted) <= len(self.recorded) // 10, told
        left = {address.rpartition("/")[0].split("/")[0] for address in self.recorded - deleted}
        assert left == {"item", "group", "alias"}, told
        assert not any(address.endswith(("x:protected", "Board")) for address in deleted), told
        assert_foreign_stays(self.remote)
        return False


def push_foreign(remote: Remote) -> None:
    push = httpx.Client(
        base_url=f"{remote.url}/push/v1/organizations/{ORGANIZATION}",
        headers={"Authorization": f"Bearer {KEY}"},
        params={"orderingId": 1},
        trust_env=False,
    )
    with push:
        at = {"documentId": FOREIGN_ITEM}
        push.put(f"/sources/{SHARED_ID}/documents", params=at, json={"title": "theirs"}).raise_for_status()
        group = {"identity": {"name": FOREIGN_GROUP, "type": "GROUP"}, "members": [], "wellKnowns": []}
        push.put(f"/providers/{PROVIDER_ID}/permissions", json=group).raise_for_status()


def assert_foreign_stays(remote: Remote) -> None:
    held = remote.contents()
    assert FOREIGN_ITEM in held["items"][SHARED_ID]
    assert f"GROUP {FOREIGN_GROUP}" in held["identities"]


@pytest.fixture
def applied(tmp_path: Path, remote: Remote) -> Project:
    return Project(tmp_path / "project", remote)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each key and each entry of a document."""
    pairs: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        pairs = iter(value.items())
    elif isinstance(value, list):
        pairs = iter(enumerate(value))
    for key, entry in pairs:
        yield (*path, key)
        yield from paths_in(entry, (*path, key))


def without(document: Any, path: tuple[Any, ...]) -> Any:
    left = copy.deepcopy(document)
    place = left
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return left


def test_without_a_loss_there_is_nothing_to_do(applied: Project) -> None:
    assert applied.check("nothing is lost") is False
    assert len(applied.recorded) >= 20, "a share of a handful says nothing"


def test_a_file_or_folder_that_is_lost_or_emptied_deletes_nothing(applied: Project) -> None:
    for path in [*applied.files(), *applied.folders()]:
        name = str(path.relative_to(applied.folder.root))
        many = path.is_dir() or path.suffix in (".yaml", ".csv")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert applied.check(f"{name} is gone") or not many
        applied.put_back()
        if path.is_dir():
            shutil.rmtree(path)
            path.mkdir()
            assert applied.check(f"{name} is empty")
        else:
            path.write_text("")
            assert applied.check(f"{name} is empty") or not many
            path.unlink()
            path.mkdir()
            assert applied.check(f"{name} is a folder") or not many
        applied.put_back()
    applied.check("everything is back")


# Known before privileges are given up: the interpreter may lie where only its owner looks.
for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
    codecs.lookup(encoding)


def test_what_cannot_be_read_deletes_nothing(applied: Project, plain_user: Path) -> None:
    applied.give_to_whoever_we_are(plain_user / "project")
    for path in [*applied.files(), *applied.folders()]:
        mode = path.stat().st_mode
        path.chmod(0)
        assert applied.check(f"{path.name} cannot be read")
        path.chmod(mode)
    assert not applied.check("everything can be read")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_key_or_entry_that_is_lost_deletes_no_more_than_itself(applied: Project, name: str) -> None:
    document = DOCUMENTS[name]
    refused = []
    for path in paths_in(document):
        applied.folder.write(name, orjson.dumps(without(document, path)))
        if applied.check(f"{name} without {path}"):
            refused.append(path)
        applied.put_back()
    tops = [(key,) for key in document if key != "defaults"]
    assert set(tops) <= set(refused), "a whole section is never deleted with its key"


@pytest.mark.parametrize("name", [*DOCUMENTS, "reconciler.yaml", "rows/rows.csv"])
def test_a_file_that_is_cut_short_deletes_no_more_than_the_guardrail_lets_pass(applied: Project, name: str) -> None:
    """Written by line, as people do; cut at each line and in the middle of each."""
    text = (applied.folder.root / name).read_text() if name not in DOCUMENTS else block_style(DOCUMENTS[name])
    applied.folder.write(name, text)
    assert applied.check(f"{name} is whole") is False
    starts = [at + 1 for at, character in enumerate(text) if character == "\n"][:-1]
    cuts = sorted({0, *starts, *(at + 7 for at in starts), len(text) - 3})
    refused = 0
    for cut in cuts:
        if cut < len(text) - 1:
            applied.folder.write(name, text[:cut])
            refused += applied.check(f"{name} is cut at {cut}")
            shutil.copyfile(applied.kept / STATE, applied.folder.root / STATE)
    assert refused > len(cuts) // 2


def block_style(document: Any) -> str:
    stream = StringIO()
    YAML().dump(document, stream)
    return stream.getvalue()
