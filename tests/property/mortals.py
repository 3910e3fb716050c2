"""Commands that run each in a process of its own, which may be killed at one of its writes (`killed_child`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.builders import Folder, child_environment

CHILD = Path(__file__).with_name("killed_child.py")
KILLED = -9


class Fifo:
    """A pipe in the place of a file: what may write no file any more can still say so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        self._heard: list[str] = []
        self._thread = threading.Thread(target=lambda: self._heard.append(path.read_text()), daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Return all that was said once whoever said it is gone."""
        self._thread.join(20)
        self._path.unlink()
        return self._heard[0]


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
        heard = Fifo(said) if fault == "limit" else None
        line = ["-C", str(folder.root), *arguments]
        request: dict[str, Any] = {"arguments": line, "write": write, "moment": moment, "seed": seed, "said": str(said)}
        request |= {"everywhere": everywhere, "fault": fault, "place": str(folder.root)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code: int = json.loads(self._process.stdout.readline())["code"]
        return code, heard.text() if heard else said.read_text()

    def boundaries(self, folder: Folder, *arguments: str) -> list[str]:
        """Run a command to its end, and return what it was about to do at each place where it can be killed."""
        self.run(folder, *arguments, everywhere=True)
        return self.passed(folder)

    def passed(self, folder: Folder) -> list[str]:
        """Return what the last run that was watched everywhere, and not killed, was about to do."""
        return (folder.root / ".said.passed").read_text().splitlines()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)
