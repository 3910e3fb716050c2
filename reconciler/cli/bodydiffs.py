"""What changed inside small text bodies, line by line, for whoever asks a plan for it.

Old texts come from the store of bodies, which an apply fills with what it sent; a body that was
never kept, is large or is no text has no diff. Lines are as they stand in the texts: whoever prints
them makes them visible.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from reconciler.problems import ManifestError, StateError

if TYPE_CHECKING:
    from reconciler.bodies import ProjectBodies
    from reconciler.cli.makeplan import Planned
    from reconciler.cli.session import Session
    from reconciler.model.states import Resource
    from reconciler.planning.plan import Plan

# A text up to this size is kept after an apply, and compared. Of content files so many at most are
# read once more for it: that adds about 2% to an apply of 10,000.
KEPT_BODY = 64 * 1024
KEPT_FILES = 2000
KEPT_FILE_BYTES = 16 * 1024 * 1024
DIFF_LINES = 200
DIFFED_BODIES = 500
CONTEXT = 3
_COMMON = 10  # a line that comes more often says little about what belongs together, and costs most
_PAIRS = 1_000_000  # lines of one text times lines of the other: beyond it they are not matched
_NO_END = "\\ no line break at the end"


def body_diffs_of(planned: Planned, session: Session) -> dict[str, list[str]]:
    """Return unified diff lines, without file headers, by the address of each change whose text differs.

    At most 200 lines each, with one more that says how many were left out, of the first 500 bodies.
    Raises nothing for a body that cannot be read: it has no entry.
    """
    from reconciler.bodies import ProjectBodies
    from reconciler.cli.session import bodies_store

    plan = planned.plan
    deleted = {change.address: change.before for change in plan.changes if change.after is None}
    found: dict[str, list[str]] = {}
    with bodies_store(session) as store:
        refs = {body.sha256: body.path for body in plan.bodies if body.size <= KEPT_BODY}
        bodies = ProjectBodies(store, session.folder, refs, {body.sha256: body.size for body in plan.bodies})
        for change in plan.changes:
            before = deleted.get(change.moved_from) if change.moved_from is not None else change.before
            texts = _texts(_body(before), _body(change.after), bodies)
            if texts is not None:
                found[change.address] = _bounded(*texts)
                if len(found) == DIFFED_BODIES:
                    break
    return found


def texts_to_keep(plan: Plan, bodies: ProjectBodies) -> Iterator[tuple[str, bytes]]:
    """Yield digest and bytes of the content files of an applied plan that are small and text.

    They are read once more, so at most the first 2,000 and 16 MiB of them. Bodies from manifests are
    kept already, since a saved plan needs them.
    """
    small = (body for body in plan.bodies if body.path is not None and body.size <= KEPT_BODY)
    left = KEPT_FILE_BYTES
    for body in islice(small, KEPT_FILES):
        left -= body.size
        if left < 0:
            return
        data = _bytes(bodies, body.sha256)
        if data is not None and text_of(data) is not None:
            yield body.sha256, data


def text_of(data: bytes) -> str | None:
    """Return the text that bytes are, or None for bytes that are none."""
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _body(resource: Resource | None) -> dict[str, Any] | None:
    body: dict[str, Any] | None = resource.own().get("body") if resource is not None else None
    return body if body is not None and body["size"] <= KEPT_BODY else None


def _texts(
    before: dict[str, Any] | None, after: dict[str, Any] | None, bodies: ProjectBodies
) -> tuple[str, str] | None:
    if before is None or after is None or before["sha256"] == after["sha256"]:
        return None
    old, new = (_read(bodies, body["sha256"]) for body in (before, after))
    return None if old is None or new is None else (old, new)


def _read(bodies: ProjectBodies, sha256: str) -> str | None:
    data = _bytes(bodies, sha256)
    return None if data is None else text_of(data)


def _bytes(bodies: ProjectBodies, sha256: str) -> bytes | None:
    try:
        with bodies.open(sha256) as file:
            return file.read()
    except (KeyError, OSError, ManifestError, StateError):
        return None  # never kept, unreadable, or the file has changed since the plan was made


def _bounded(old: str, new: str) -> list[str]:
    lines = list(unified(_lines(old), _lines(new)))
    left_out = len(lines) - DIFF_LINES
    if left_out <= 0:
        return lines
    return [*lines[:DIFF_LINES], f"... {left_out:,} {'line' if left_out == 1 else 'lines'} left out"]


def _lines(text: str) -> list[str]:
    """Split at line feeds alone, so that whatever else differs can be seen inside a line."""
    lines = text.split("\n")
    if lines[-1]:
        return [*lines, _NO_END]
    return lines[:-1]


def unified(old: list[str], new: list[str]) -> Iterator[str]:
    """Yield the hunks of a unified diff, without file headers, in time that no text can drive up.

    What both have in common at their ends is set aside first. Too much left, and it is told as
    taken away and put there, without a search for what belongs together.
    """
    if old == new:
        return
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    left, right = max(0, start - CONTEXT), max(0, end - CONTEXT)
    a, b = old[left : len(old) - right], new[left : len(new) - right]
    for group in _groups(a, b, start - left, end - right):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(left, first[1], last[2])} +{_range(left, first[3], last[4])} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in a[i1:i2])
            else:
                yield from (f"-{line}" for line in a[i1:i2])
                yield from (f"+{line}" for line in b[j1:j2])


_Code = tuple[str, int, int, int, int]


def _groups(a: list[str], b: list[str], head: int, tail: int) -> Iterator[list[_Code]]:
    """Yield the hunks of two texts, of which the first `head` and the last `tail` lines are the same."""
    if len(a) * len(b) > _PAIRS:
        i, j = len(a) - tail, len(b) - tail
        codes = [("equal", 0, head, 0, head), ("replace", head, i, head, j), ("equal", i, len(a), j, len(b))]
        yield [code for code in codes if code[1] < code[2] or code[3] < code[4]]
        return
    common = {line for lines in (a, b) for line, times in Counter(lines).items() if times > _COMMON}
    matcher = difflib.SequenceMatcher(lambda line: line in common, a, b, autojunk=False)
    yield from matcher.get_grouped_opcodes(CONTEXT)


def _range(offset: int, start: int, stop: int) -> str:
    length = stop - start
    first = offset + start + (1 if length else 0)
    return str(first) if length == 1 else f"{first},{length}"
