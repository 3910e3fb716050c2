"""Starts and ends the servers by hand: `up FOLDER`, which prints `export` lines, and `down FOLDER`.

After `eval "$(python -m tests.servers up FOLDER)"` the stores are at $POSTGRES_URL, $S3_URL and $AZURE_URL.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.servers.keeping import NOBODYS, begin, end, keep
from tests.servers.kinds import KINDS


def main(arguments: list[str]) -> None:
    match arguments:
        case ["up", folder]:
            for name, kind in KINDS.items():
                if missing := kind.missing():
                    print(f"# {missing}")
                    continue
                server = begin(name, Path(folder).absolute(), NOBODYS)
                for variable, value in {f"{name.upper()}_URL": server.url, **server.settings}.items():
                    print(f"export {variable}={shlex.quote(value)}")
        case ["down", folder]:
            for name in KINDS:
                end(name, Path(folder).absolute())
        case ["keep", name, folder, owner]:
            keep(name, Path(folder), int(owner))
        case _:
            raise SystemExit(__doc__)


main(sys.argv[1:])
