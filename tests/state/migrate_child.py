"""Child process of `test_migrate_killed.py`: moves copies of a project's state, each killed at another boundary.

python migrate_child.py FOLDER      # the project is FOLDER/project; its copies are FOLDER/0, FOLDER/1, ...
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from state_child import ended_by_itself, kill_at

from reconciler.cli.main import run

NEW = "new.db"


def migrate(project: Path) -> int:
    return run(["-C", str(project), "state", "migrate", "--to", NEW])


def boundaries(folder: Path) -> None:
    warm = shutil.copytree(folder / "project", folder / "warm")
    assert migrate(warm) == 0  # so that the others find everything imported
    for boundary in range(5000):
        project = shutil.copytree(folder / "project", folder / str(boundary))
        child = os.fork()
        if child == 0:
            kill_at(boundary)
            os._exit(migrate(project))
        if ended_by_itself(child):
            return


if __name__ == "__main__":
    boundaries(Path(sys.argv[1]))
