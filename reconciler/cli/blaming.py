"""Where the values of a plan come from: the lines of the manifests, and the commits that wrote them as git tells.

Nothing is asked of git but for `--blame`, and nothing of it but the lines of what changes. Without git, or outside a
repository, lines are told without commits; that is no error.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.gitinfo import run_git
from reconciler.cli.makeplan import Planned
from reconciler.cli.session import Session
from reconciler.model.digestfield import DIGEST_FIELD
from reconciler.planning.change import Action, Change, field_changes
from reconciler.planning.plan import Blame, Origin

if TYPE_CHECKING:
    from reconciler.manifest.load import Loaded
    from reconciler.manifest.origins import Field, Lines

BLAMED = 1_000
"""How many changes are looked for, the first by address: each takes a millisecond or more."""

_RANGES = 500  # of one file; beyond that all of it is asked for, since a command line has an end
_HEADER = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) \d+ (\d+)(?: \d+)?")
_TIME = b"committer-time "


@dataclass(frozen=True, slots=True)
class _Written:
    """Who wrote the lines of a file: the commit of each, and when commits were made (seconds since 1970)."""

    commits: Mapping[int, str] = field(default_factory=dict)
    times: Mapping[str, int] = field(default_factory=dict)


def with_blame(planned: Planned, session: Session) -> Planned:
    """Return a plan with where its changed values come from. Raises ManifestError when a file changed meanwhile.

    That of a rollback, which is not of manifests, is returned as it is.
    """
    if planned.plan.rollback:
        return planned
    from reconciler.cli.worlds import loaded_manifests

    changes = [change for change in planned.plan.changes if change.after is not None]
    chosen = changes[:BLAMED]
    loaded = planned.loaded or loaded_manifests(session)
    origins = _origins(session.folder.root, loaded, chosen)
    return replace(planned, plan=replace(planned.plan, blame=Blame(tuple(origins), len(changes) - len(chosen))))


def _origins(root: Path, loaded: Loaded, changes: Sequence[Change]) -> list[Origin]:
    wanted = {str(change.address): _fields(change) for change in changes}
    lines = loaded.find_origins(wanted)
    files = {
        address: entry.content_path
        for address, entry in loaded.entries(wanted).items()
        if entry.content_path and not {("body",), ()}.isdisjoint(wanted[address])
    }
    uncommitted = _uncommitted(root)
    written = _blamed(root, [entry for told in lines.values() for entry in told])
    origins = [
        _newest(address, path, entry, written[entry.file], uncommitted)
        for (address, path), told in lines.items()
        for entry in told
    ]
    commits = {path: _last_commit(root, path) for path in sorted(set(files.values()))}
    for address, path in files.items():
        edited = path in uncommitted
        origins.append(Origin(address, ("body",), path, 0, "" if edited else commits[path], edited))
    return sorted(set(origins))


def _fields(change: Change) -> list[Field]:
    """Return the fields that a change alters; of what is new, the whole."""
    if change.action is not Action.UPDATE:
        return [()]
    return [entry.path for entry in field_changes(change) if entry.path != (DIGEST_FIELD,)]


def _newest(address: str, path: Field, lines: Lines, written: _Written, uncommitted: frozenset[str]) -> Origin:
    """Return the line of a value that was written last, which is the one that changed."""
    known = [number for number in range(lines.first, lines.last + 1) if number in written.commits]
    if not known:
        return Origin(address, path, lines.file, lines.first, edited=lines.file in uncommitted)
    number = max(known, key=lambda line: (written.times.get(written.commits[line], 0), -line))
    commit = written.commits[number]
    # Lines that are of no commit yet have one of zeros.
    edited = not commit.strip("0")
    return Origin(address, path, lines.file, number, "" if edited else commit, edited)


def _blamed(root: Path, lines: Iterable[Lines]) -> Mapping[str, _Written]:
    ranges: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for entry in lines:
        ranges[entry.file].add((entry.first, entry.last))
    return {file: _blame(root, file, sorted(asked)) for file, asked in ranges.items()}


def _blame(root: Path, file: str, ranges: Sequence[tuple[int, int]]) -> _Written:
    asked = [word for first, last in ranges for word in ("-L", f"{first},{last}")] if len(ranges) <= _RANGES else []
    try:
        code, out, _ = run_git(root, "blame", "--porcelain", "--no-textconv", *asked, "--", file)
    except OSError:
        return _Written()
    return _Written() if code else _read(out)


def _read(porcelain: bytes) -> _Written:
    commits: dict[int, str] = {}
    times: dict[str, int] = {}
    commit = ""
    for line in porcelain.split(b"\n"):
        if line.startswith(b"\t"):
            continue
        header = _HEADER.fullmatch(line)
        if header is not None:
            commit = header[1].decode()
            commits[int(header[2])] = commit
        elif line.startswith(_TIME):
            times[commit] = int(line.removeprefix(_TIME))
    return _Written(commits, times)


def _uncommitted(root: Path) -> frozenset[str]:
    """Return the files below a folder that are not as the commit has them, relative to it."""
    return frozenset(
        (
            *_names(root, "diff", "--name-only", "--no-ext-diff", "--relative", "-z", "HEAD", "--", "."),
            *_names(root, "ls-files", "--others", "-z", "--", "."),
        )
    )


def _names(root: Path, *arguments: str) -> Iterator[str]:
    try:
        code, out, _ = run_git(root, *arguments)
    except OSError:
        return
    if not code:
        yield from (name.decode(errors="surrogateescape") for name in out.split(b"\0") if name)


def _last_commit(root: Path, path: str) -> str:
    """Return the commit that last wrote a file, empty where there is none."""
    try:
        code, out, _ = run_git(root, "log", "-1", "--format=%H", "--no-textconv", "--", path)
    except OSError:
        return ""
    return "" if code else out.decode().strip()
