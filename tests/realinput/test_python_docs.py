"""The HTML documentation of Python, several hundred pages that nobody wrote for us.

Planned, applied, verified, changed in three pages, planned and applied again: exactly the changed
pages travel. It comes with the Debian package python3.11-doc, which `.ci/run` installs.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.builders import SOURCE_ID, Folder, Remote, contents_of, start_remote
from tests.conftest import ON_CI

DOCS = Path("/usr/share/doc/python3.11/html")
BASE = "https://docs.example.com"
CHANGED = ("library/json.html", "tutorial/index.html", "c-api/list.html")

MANIFEST = f"""\
defaults: {{source: handbook, provider: corp}}
permissions:
  everyone: {{allowed: [group:Developers]}}
  insiders:
    levels:
      - [{{allowed: [group:Core]}}]
      - [{{allowed: [group:Developers], denied: [user:guest@example.com]}}]
itemSets:
  - from: {{files: "html/**/*.html", exclude: ["html/c-api/**"]}}
    item:
      uri: "{BASE}/{{url_path}}"
      title: "{{html.title}}"
      permissions: everyone
      metadata: {{language: ["{{html.lang}}"], section: "{{dir}}"}}
  - from: {{files: "html/c-api/**/*.html"}}
    item: {{uri: "{BASE}/{{url_path}}", title: "{{html.title}}", permissions: insiders}}
groups:
  - {{name: Core, members: [user:guido@example.com]}}
  - {{name: Developers, members: [group:Core, user:dev@example.com, user:guest@example.com]}}
aliases:
  - ofEach: {{membersOf: "*", type: user}}
    is: [{{provider: Email Security Provider, identity: "user:{{name}}"}}]
"""


@pytest.mark.slow
@pytest.mark.debian
def test_exactly_the_changed_pages_travel(tmp_path: Path) -> None:
    if not DOCS.is_dir():
        assert os.environ.get(ON_CI) != "true", "CI installs python3.11-doc, so this must run there"
        pytest.skip(f"{DOCS} is not there; install the Debian package python3.11-doc")
    folder = Folder(tmp_path / "project")
    folder.write("docs.yaml", MANIFEST)
    shutil.copytree(DOCS, folder.root / "html", ignore=_all_but_pages)
    pages = sorted(path.relative_to(folder.root).as_posix() for path in (folder.root / "html").rglob("*.html"))
    assert len(pages) > 400

    with start_remote() as remote:
        folder.at(remote)
        first = folder.ok("plan", "--format", "json", "--exit-code", code=3).json
        assert first["summary"] == {"create": len(pages) + 5, "update": 0, "delete": 0, "no_op": 0}
        assert [call["kind"] for call in first["calls"]] == ["identity-batch", "item-batch"]
        folder.ok("apply", "--auto-approve", "--detail", "none")
        assert _travelled(remote, 0) == {_uri(page) for page in pages}
        _assert_settled(folder, remote)

        for page in CHANGED:
            path = folder.root / "html" / page
            path.write_bytes(path.read_bytes().replace(b"</body>", b"<p>One more line.</p></body>"))
        second = folder.ok("plan", "--format", "json").json
        changed = {_uri(f"html/{page}") for page in CHANGED}
        assert {change["name"]: [field["path"] for field in change["fields"]] for change in second["changes"]} == {
            uri: [["body"]] for uri in changed
        }
        sent = remote.total
        folder.ok("apply", "--auto-approve", "--detail", "none")
        assert _travelled(remote, sent) == changed
        _assert_settled(folder, remote)


def _all_but_pages(directory: str, names: list[str]) -> list[str]:
    """Leave out pictures and scripts; what Debian links to elsewhere is left out with them."""
    return [name for name in names if not name.endswith(".html") and not os.path.isdir(os.path.join(directory, name))]


def _uri(page: str) -> str:
    return f"{BASE}/{page}"


def _travelled(remote: Remote, since: int) -> set[str]:
    """Return the uris of the items in what was sent, single calls and containers alike."""
    uris: list[Any] = []
    for entry in remote.requests(since):
        if f"/sources/{SOURCE_ID}/documents" not in entry["path"]:
            continue
        if entry["container"] is not None:
            uris += [item["documentId"] for item in entry["container"]["addOrUpdate"]]
        else:
            uris += [value for key, value in entry["query"] if key == "documentId"]
    assert len(uris) == len(set(uris))
    return set(uris)


def _assert_settled(folder: Folder, remote: Remote) -> None:
    from reconciler.cli.makeplan import make_project_plan
    from reconciler.cli.session import open_session
    from reconciler.planning.make import Wish

    with open_session(str(folder.root), None) as session:
        planned = make_project_plan(session, Wish())
        assert planned.loaded is not None
        assert planned.plan.changes == ()
        desired = planned.loaded.resources(planned.loaded.desired.fingerprints)
    assert remote.contents() == contents_of(desired.values())
    assert remote.logs() == []
    total = remote.total
    folder.ok("verify")
    assert folder.ok("plan", "--exit-code").code == 0
    folder.ok("apply", "--auto-approve")
    assert [entry for entry in remote.requests(total) if entry["path"].startswith("/push/")] == []
