"""A project's way to its last manifests, which runs that fare ill are to come to the end of."""

from __future__ import annotations

import shutil
from pathlib import Path

from mortals import Mortals

from reconciler.cli.session import open_session
from tests.builders import PROJECT, Folder, Remote, as_yaml, contents_of

RUN = ("apply", "--auto-approve", "--parallelism", "1", "--allow", "item-unseen", "--allow", "emptied-group")


def first() -> str:
    return as_yaml(
        {
            "defaults": {"source": "handbook", "provider": "corp"},
            "groups": [
                {"name": "Staff", "members": ["user:alice@example.com", "user:bob@example.com"]},
                {"name": "All", "members": ["group:Staff"]},
            ],
            "items": [
                {
                    "uri": f"x:{name}",
                    "title": name,
                    "body": {"text": name * 9},
                    "permissions": {"allowed": ["group:All"]},
                }
                for name in "ab"
            ],
        }
    )


def second() -> str:
    return as_yaml(
        {
            "defaults": {"source": "handbook", "provider": "corp"},
            "groups": [
                {"name": "Staff", "members": ["user:bob@example.com", "user:carol@example.com"]},
                {"name": "Board", "members": ["user:dora@example.com"]},
            ],
            "aliases": [
                {
                    "of": "user:carol@example.com",
                    "is": [{"provider": "Email Security Provider", "identity": "user:carol@example.com"}],
                }
            ],
            "items": [
                {
                    "uri": "x:a",
                    "title": "other",
                    "body": {"text": "other"},
                    "permissions": {"allowed": ["group:Staff"]},
                },
                {"uri": "x:c", "title": "c", "body": {"text": "c"}, "permissions": {"allowed": ["group:Board"]}},
            ],
        }
    )


class Story:
    """A project on its way from nothing, or from the first manifests, to the last ones."""

    def __init__(self, root: Path, remote: Remote, mortals: Mortals, *, changing: bool) -> None:
        self.folder = Folder(root, PROJECT).at(remote)
        self.remote = remote
        self.mortals = mortals
        self.changing = changing

    def begin(self) -> None:
        """Set everything to the start."""
        self.remote.reset()
        shutil.rmtree(self.folder.root / ".reconciler", ignore_errors=True)
        self.folder.write("all.yaml", first())
        if self.changing:
            code, said = self.mortals.run(self.folder, *RUN)
            assert code == 0, said
            self.folder.write("all.yaml", second())

    def boundaries(self) -> list[str]:
        self.begin()
        return self.mortals.boundaries(self.folder, *RUN)

    def wanted(self) -> object:
        with open_session(str(self.folder.root), None) as session:
            return contents_of(row.resource for row in session.store.rows())
