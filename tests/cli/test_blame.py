"""`plan --blame`: each changed value with the file and line that says it, and the commit that wrote that line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from reconciler.cli import blaming
from reconciler.planfile import load_plan
from reconciler.rendering.plan_schema import plan_schema
from tests.builders import Folder, Remote, run_here

MANIFEST = """\
defaults: {source: handbook, provider: corp}
permissions:
  staff:
    allowed:
      - group:Staff
items:
  - uri: "x:1"
    title: One
    metadata:
      author: Ann
      date: "1"
    permissions: staff
  - {uri: "x:2", title: Two, body: {file: two.txt}, permissions: staff}
itemSets:
  - from: {csv: rows.csv}
    item:
      uri: "row:{id}"
      title: "{id}"
      permissions: staff
groups:
  - name: Staff
    members:
    - user:ann@example.com
    - user:bob@example.com
aliases:
  - of: user:ann@example.com
    is: [{provider: Email Security Provider, identity: "user:ann@example.com"}]
"""


SET = MANIFEST[MANIFEST.index("itemSets") : MANIFEST.index("groups")]


class Repository:
    """A git repository with a project in a folder of it, applied at its first commit."""

    def __init__(self, root: Path, remote: Remote) -> None:
        self.root = root
        self.commits = 0
        self.folder = Folder(root / "config").at(remote)
        self.folder.write("all.yaml", MANIFEST)
        self.folder.write("two.txt", "two")
        self.folder.write("rows.csv", "id\n1\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.first = self.commit()
        self.folder.ok("apply", "--auto-approve")

    def git(self, *arguments: str, date: str = "") -> str:
        named = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        ran = subprocess.run(
            ["git", *named, "-C", str(self.root), *arguments],
            env={**os.environ, **({"GIT_COMMITTER_DATE": date} if date else {})},
            capture_output=True,
            check=True,
        )
        return ran.stdout.decode().strip()

    def commit(self) -> str:
        self.git("add", "--all")
        # What was written last is told by the time of its commit, in seconds.
        self.commits += 1
        self.git("commit", "--quiet", "--message", "m", date=f"2026-01-01T00:00:0{self.commits}Z")
        return self.git("rev-parse", "HEAD")

    def change(self, *pairs: tuple[str, str]) -> str:
        """Replace parts of the manifest, each of which is there once, and commit that."""
        self.edit(*pairs)
        return self.commit()

    def edit(self, *pairs: tuple[str, str]) -> None:
        path = self.folder.root / "all.yaml"
        text = path.read_text()
        for before, after in pairs:
            assert text.count(before) == 1
            text = text.replace(before, after)
        path.write_text(text)

    def blame(self) -> dict[tuple[str, str], list[tuple[str, int | None, str | None, bool]]]:
        document = self.folder.run("plan", "--blame", "--format", "json").json
        jsonschema.validate(document, plan_schema())
        assert document["blame"]["left_out"] == 0
        found: dict[tuple[str, str], list[tuple[str, int | None, str | None, bool]]] = {}
        for entry in document["blame"]["origins"]:
            key = entry["address"], ".".join(entry["path"])
            found.setdefault(key, []).append((entry["file"], entry["line"], entry["commit"], entry["edited"]))
        return found


@pytest.fixture
def repository(tmp_path: Path, remote: Remote) -> Repository:
    return Repository(tmp_path / "repository", remote)


def test_each_value_names_its_line_and_the_commit_that_wrote_it(repository: Repository) -> None:
    title = repository.change(("title: One", "title: First"))
    date = repository.change(('date: "1"', 'date: "2"'))
    assert repository.blame() == {
        ("item/handbook/x:1", "title"): [("all.yaml", 8, title, False)],
        ("item/handbook/x:1", "metadata.date"): [("all.yaml", 11, date, False)],
    }


def test_a_list_names_the_line_of_it_that_was_written_last(repository: Repository) -> None:
    commit = repository.change(("    - user:bob@example.com", "    - user:eve@example.com\n    - user:bob@example.com"))
    assert repository.blame() == {("group/corp/Staff", "members"): [("all.yaml", 24, commit, False)]}


def test_a_named_permission_model_is_named_beside_the_item_that_names_it(repository: Repository) -> None:
    commit = repository.change(("      - group:Staff", "      - group:Staff\n      - user:bob@example.com"))
    assert repository.blame()["item/handbook/x:1", "permissions"] == [
        ("all.yaml", 6, commit, False),
        ("all.yaml", 13, repository.first, False),
    ]


def test_the_content_of_an_item_is_of_its_file(repository: Repository) -> None:
    repository.folder.write("two.txt", "more")
    commit = repository.commit()
    found = repository.blame()
    assert found["item/handbook/x:2", "body"] == [
        ("all.yaml", 13, repository.first, False),
        ("two.txt", None, commit, False),
    ]


def test_what_is_new_names_its_entry_and_what_is_deleted_nothing(repository: Repository) -> None:
    commit = repository.change(
        ("groups:\n", "groups:\n  - name: New\n    members: []\n"),
        ('  - {uri: "x:2", title: Two, body: {file: two.txt}, permissions: staff}\n', ""),
    )
    assert repository.blame() == {("group/corp/New", ""): [("all.yaml", 20, commit, False)]}


def test_what_is_new_names_the_line_of_its_entry_that_was_written_last(repository: Repository) -> None:
    repository.change(("groups:\n", "groups:\n  - name: New\n    members:\n    - user:ann@example.com\n"))
    commit = repository.change(("  - name: Staff", "    - user:eve@example.com\n  - name: Staff"))
    assert repository.blame() == {("group/corp/New", ""): [("all.yaml", 24, commit, False)]}


def test_items_of_a_set_and_aliases_name_what_makes_them(repository: Repository) -> None:
    commit = repository.change(
        ('title: "{id}"', 'title: "No. {id}"'),
        ('identity: "user:ann@example.com"', 'identity: "user:ann@example.org"'),
    )
    assert repository.blame() == {
        ("item/handbook/row:1", "title"): [("all.yaml", 18, commit, False)],
        ("alias/corp/user:ann@example.com", "mappings"): [("all.yaml", 27, commit, False)],
    }


def test_what_is_not_committed_is_said_to_be_so(repository: Repository) -> None:
    repository.edit(("title: One", "title: First"))
    repository.folder.write("more.yaml", 'defaults: {source: handbook}\nitems: [{uri: "x:3", permissions: staff}]\n')
    repository.folder.write("two.txt", "more")
    assert repository.blame() == {
        ("item/handbook/x:1", "title"): [("all.yaml", 8, None, True)],
        ("item/handbook/x:2", "body"): [("all.yaml", 13, repository.first, False), ("two.txt", None, None, True)],
        ("item/handbook/x:3", ""): [("more.yaml", 2, None, True)],
    }
    assert "from all.yaml:8, not committed" in repository.folder.ok("plan", "--blame").out


def test_outside_of_git_there_are_lines_alone(folder: Folder) -> None:
    folder.write("all.yaml", MANIFEST.replace("body: {file: two.txt}, ", "").replace(SET, ""))
    document = folder.run("plan", "--blame", "--format", "json").json
    assert [(entry["line"], entry["commit"], entry["edited"]) for entry in document["blame"]["origins"]] == [
        (line, None, False) for line in (20, 15, 7, 13)
    ]
    assert "    from all.yaml:7\n" in folder.ok("plan", "--blame").out


def test_every_form_says_it(repository: Repository, tmp_path: Path) -> None:
    commit = repository.change(("title: One", "title: First"))
    forms = ("text", "markdown", "comment", "html", "json")
    reports = [word for form in forms for word in ("--report", f"{form}={tmp_path / form}")]
    repository.folder.ok("plan", "--blame", *reports)
    for form in forms[:-1]:
        assert f"from all.yaml:8, commit {commit[:12]}" in (tmp_path / form).read_text(), form
    assert orjson.loads((tmp_path / "json").read_bytes())["blame"]["origins"][0]["commit"] == commit


def test_a_saved_plan_keeps_it_and_is_applied_as_any_other(repository: Repository, tmp_path: Path) -> None:
    repository.change(("title: One", "title: First"))
    saved = tmp_path / "plan.json"
    repository.folder.ok("plan", "--blame", "--out", str(saved))
    assert "from all.yaml:8, commit" in run_here("show", str(saved)).out
    blame = load_plan(saved.read_bytes(), "plan.json").plan.blame
    assert blame is not None
    assert [(origin.path, origin.line) for origin in blame.origins] == [(("title",), 8)]
    repository.folder.ok("apply", str(saved), "--auto-approve")


@pytest.mark.parametrize("damage", [{"line": "8"}, {"commit": "main"}, {"path": "title"}, {"edited": None}])
def test_a_plan_whose_origins_are_none_is_refused(
    repository: Repository, tmp_path: Path, damage: dict[str, Any]
) -> None:
    from reconciler.rendering.jsondoc import checksum

    repository.change(("title: One", "title: First"))
    document = repository.folder.run("plan", "--blame", "--format", "json").json
    document["blame"]["origins"][0].update(damage)
    document["checksum"] = checksum(document)
    (tmp_path / "plan.json").write_bytes(orjson.dumps(document))
    ran = run_here("show", str(tmp_path / "plan.json"))
    assert ran.code == 1
    assert "error[plan-not-a-plan]" in ran.err


def test_only_so_many_changes_are_looked_for(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blaming, "BLAMED", 1)
    repository.change(("title: One", "title: First"), ("title: Two", "title: Second"))
    document = repository.folder.run("plan", "--blame", "--format", "json").json["blame"]
    assert document["left_out"] == 1
    assert [entry["address"] for entry in document["origins"]] == ["item/handbook/x:1"]


def test_a_plan_without_it_asks_nothing_and_says_nothing(repository: Repository) -> None:
    repository.change(("title: One", "title: First"))
    ran = repository.folder.ok("plan", "--format", "json")
    assert "blame" not in ran.json
    assert "all.yaml" not in repository.folder.ok("plan").out


STYLES = {
    "flow": (
        'items: [{uri: "x:1", title: One,\n  metadata: {date: "1"}}, {uri: "x:2"}]\n',
        {"title": 1, "metadata.date": 2},
    ),
    "json": (
        '{"items": [\n  {"uri": "x:1",\n   "title": "One",\n   "metadata": {\n     "date": "1"}}]}\n',
        {"title": 3, "metadata.date": 5},
    ),
    "wire": (
        "items:\n- DocumentId: 'x:1'\n  Title: One\n  Date: '1'\n",
        {"title": 3, "metadata.date": 4},
    ),
    "folded": (
        'items:\n  - uri: "x:1"\n    title: >-\n      One\n\n    # A date.\n    metadata:\n      date: "1"\n',
        {"title": 3, "metadata.date": 8},
    ),
    "documents": (
        '---\nitems:\n- {uri: "x:2"}\n---\nitems:\n- uri: "x:1"\n  title: One\n  metadata:\n    date: "1"\n',
        {"title": 7, "metadata.date": 9},
    ),
}


@pytest.mark.parametrize("style", STYLES)
def test_lines_are_found_however_a_manifest_is_written(folder: Folder, remote: Remote, style: str) -> None:
    text, lines = STYLES[style]
    project = folder.at(remote).root / "reconciler.yaml"
    project.write_text(project.read_text().replace("  handbook:", "  unused:").replace("  blog:", "  handbook:"))
    only = "" if style == "json" else "defaults: {source: handbook}\n"
    if style == "json":
        text = text.replace('{"items"', '{"defaults": {"source": "handbook"}, "items"')
    folder.write("all.yaml", only + text if style != "documents" else text.replace("---\n", f"---\n{only}", 1))
    shift = 1 if only else 0
    folder.ok("apply", "--auto-approve", "--allow", "item-public")
    path = folder.root / "all.yaml"
    path.write_text(
        path.read_text()
        .replace("One", "Two")
        .replace("'1'", "'2'")
        .replace('date: "1"', 'date: "2"')
        .replace('"date": "1"', '"date": "2"')
    )
    document = folder.run("plan", "--blame", "--format", "json").json
    found = {".".join(entry["path"]): entry["line"] for entry in document["blame"]["origins"]}
    assert found == {name: line + shift for name, line in lines.items()}


def test_a_model_that_defaults_name_is_named_too(repository: Repository) -> None:
    text = (repository.folder.root / "all.yaml").read_text()
    text = text.replace("provider: corp}", "provider: corp, permissions: staff}", 1).replace(
        "    permissions: staff\n", "", 1
    )
    repository.folder.write("all.yaml", text)
    repository.commit()
    repository.folder.ok("apply", "--auto-approve")
    commit = repository.change(("      - group:Staff", "      - group:Staff\n      - user:bob@example.com"))
    told = repository.blame()["item/handbook/x:1", "permissions"]
    assert ("all.yaml", 6, commit, False) in told
    assert len(told) == 2
