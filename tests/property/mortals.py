"""Commands that run each in a process of its own, which may be killed at one of its writes (`killed_child`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.builders import Folder, child_environment

CHILD = Path(__file__).with_name("killed_child.py")
KILLED = -9


class Mortals:
    """Runs commands each in a process of its own, which may be killed at one of its writes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(CHILD)],
            env=child_environment(PYTHONHASHSEED="0"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        folder: Folder,
        *arguments: str,
        write: int = 0,
        moment: str = "before",
        seed: int = 0,
        everywhere: bool = False,
        fault: str = "kill",
        said: Path | None = None,
    ) -> tuple[int, str]:
        """Run a command and return its exit code, KILLED for one that was, and what it said.

        `write` counts writes to sockets; with `everywhere` also those to databases and files. `fault` is what happens
        there (`killed_child`), `said` the file for what it says: elsewhere where none can be written any more.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        said = said or folder.root / ".said"
        line = ["-C", str(folder.root), *arguments]
        request: dict[str, Any] = {"arguments": line, "write": write, "moment": moment, "seed": seed, "said": str(said)}
        request |= {"everywhere": everywhere, "fault": fault, "place": str(folder.root)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code: int = json.loads(self._process.stdout.readline())["code"]
        return code, said.read_text()

    def boundaries(self, folder: Folder, *arguments: str) -> list[str]:
        """Run a command to its end, and return what it was about to do at each place where it can be killed."""
        self.run(folder, *arguments, everywhere=True)
        return (folder.root / ".said.passed").read_text().splitlines()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)
