"""What reading a manifest file needs at every step: where problems go, and what a resource leaves behind.

The base of the file reader in `entries`, which knows the sections; this part knows none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.manifest.content import ContentInfo, hash_file
from reconciler.manifest.metatypes import TypeWatch
from reconciler.manifest.normalize import Finding, Normal, Path, Scope
from reconciler.manifest.parts import Part
from reconciler.manifest.record import (
    EVER,
    NEVER,
    Emitted,
    Ending,
    FileRecord,
    Input,
    Leans,
    empty_record,
    named_marker,
)
from reconciler.manifest.sets import FileFacts
from reconciler.manifest.template import substitute
from reconciler.model.canonical import NO_SHARED
from reconciler.problems import ManifestError, Problem

if TYPE_CHECKING:
    from reconciler.manifest.entries import Reader

# A dollar sign as it may stand in a YAML text.
_DOLLARS = (b"$", b"\\x24", b"\\u0024", b"\\U00000024")
_ITEM_SECTIONS = frozenset({"items", "itemSets"})
_sha256 = hashlib.sha256


class FileBase:
    """One file while it is read; lives as long as that takes."""

    def __init__(
        self,
        reader: Reader,
        text: bytes,
        file: str,
        parts: Sequence[Part],
        *,
        is_project: bool,
        old: FileRecord | None,
        anew: Collection[int] = (),
    ) -> None:
        self.reader = reader
        self.text = text
        self.file = file
        self.parts = parts
        self.is_project = is_project
        self.problems: list[Problem] = []
        self.emitted: list[Emitted] = []
        self.addresses: list[str] = []
        self.fingerprints: list[bytes] = []
        self.recorded = reader.recorded
        # Also as an escape: what an entry means must not depend on the entries around it.
        self.has_variables = any(sign in text for sign in _DOLLARS)
        self.record = empty_record(reader.context)
        self.first = 0  # the number of the first entry of the section at hand
        self.old_addresses: list[str] = []
        self.contents: dict[str, ContentInfo] = {}
        self.scope = Scope(reader.project, self._content, types=TypeWatch(self.addresses.__len__), as_of=reader.as_of)
        self.old = old
        self.anew = anew
        self.known: dict[str, dict[bytes, int]] = {}  # by section: an entry's digest, its resource in `old`
        self.facts = _facts_of(old)
        self.taken: list[tuple[int, int, int]] = []  # runs of resources taken over from `old`, and how far they moved
        self.types_are_sure = True

    # -- problems ------------------------------------------------------------------------------

    def _report(self, part: Part, problem: Problem) -> None:
        self._add(problem, part.locate_name())

    def _add(self, problem: Problem, position: Any) -> None:
        from reconciler.manifest.locate import excerpt

        self.problems.append(problem.at(position, excerpt(self.text, position)))

    def _place(self, part: Part, entry: int | None, prefix: Path = ()) -> bool:
        """Turn what the scope found in an entry into problems with positions; return whether any is an error."""
        scope = self.scope
        errors = bool(scope.findings)
        for found in (*scope.findings, *scope.warnings):
            self._add(found.problem, part.locate(entry, (*prefix, *found.path), on_key=found.on_key))
        scope.findings.clear()
        scope.warnings.clear()
        return errors

    def _validated(self, part: Part, entry: int | None, value: Any, model: str, prefix: Path = ()) -> Any:
        """Return the value as the pydantic model of that name, or None with its mistakes noted."""
        from pydantic import ValidationError

        from reconciler.manifest import schema
        from reconciler.manifest.complaints import findings_of

        kind = getattr(schema, model)
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            for found in findings_of(error, value, kind):
                self.scope.findings.append(found)
            self._place(part, entry, prefix)
            return None

    def _substituted(self, part: Part, entry: int | None, value: Any, prefix: Path) -> Any:
        """Return the value with `${...}` replaced in every text."""
        if not self.has_variables:
            return value
        out = _substitute_in(value, dict(self.reader.project.variables), (), self.scope.findings)
        self._place(part, entry, prefix)
        return out

    # -- what a resource leaves behind ---------------------------------------------------------

    def _keep(self, normal: Normal, section: str) -> None:
        own = _sha256(normal.doc).digest()
        if normal.named is not None:
            shared = named_marker(normal.named)
        else:
            shared = _sha256(normal.shared).digest() if normal.shared else NO_SHARED
        if section in _ITEM_SECTIONS:
            if normal.shared:
                self.record.inline[shared] = normal.shared
        else:
            self.record.docs[len(self.addresses)] = normal.doc
            if normal.shared:
                self.record.shared[len(self.addresses)] = normal.shared
        fingerprint = own + shared
        address = normal.address
        self.addresses.append(address)
        self.fingerprints.append(fingerprint)
        if self.recorded is None:
            return
        recorded = self.recorded.get(address)
        if recorded == fingerprint or (normal.named is not None and recorded is not None and recorded[:32] == own):
            return
        self.emitted.append(
            Emitted(
                address,
                normal.doc,
                normal.shared,
                normal.named,
                normal.body_sha256,
                normal.body_size,
                normal.content_path,
                normal.body if self.reader.keep_bodies else None,
            )
        )

    def _keep_endings(self, address: str, *, prefix: Path = (), entry: int | None = None) -> None:
        """Keep what the entry at hand said of ends; `address` is what it gives."""
        number = len(self.record.counts) if entry is None else entry
        for path, grant in self.scope.grants:
            kept = grant if grant.address else replace(grant, address=str(address))
            self.record.endings.append(Ending(number, [*prefix, *path], kept))
        self.scope.grants.clear()

    def _span(self) -> Leans:
        """Return what the file leans on, with the time around `as_of` in which no grant comes to its end."""
        leans, as_of = self.record.leans, self.scope.as_of
        ends = {ending.grant.expires for ending in self.record.endings}
        since = max((moment for moment in ends if moment <= as_of), default=EVER)
        return Leans(
            leans.inputs, leans.patterns, since, min((moment for moment in ends if moment > as_of), default=NEVER)
        )

    def _content(self, path: str) -> ContentInfo | Problem:
        """Return what is known of a content file, and note that the entry at hand needs it."""
        known = self.contents.get(path)
        if known is None:
            fact = self.facts.get(path)
            now = self.reader.folder.resolve(path) if fact else None
            if fact is not None and not isinstance(now, Problem) and now is not None and now.stat == fact.stat:
                known = ContentInfo(fact.sha256, fact.size, fact.stat)
            else:
                info = hash_file(self.reader.folder, path)
                if isinstance(info, Problem):
                    return info
                known = info
            self.contents[path] = known
        self.record.leans.inputs.append(Input(len(self.record.counts), path, known.stat, known.sha256, known.size, {}))
        self.record.reusable = False
        return known

    def _remember(self, path: str, facts: FileFacts) -> None:
        self.contents[path] = ContentInfo(facts.sha256, facts.size, facts.stat)
        self.record.leans.inputs.append(
            Input(len(self.record.counts), path, facts.stat, facts.sha256, facts.size, dict(facts.fields))
        )


def _facts_of(old: FileRecord | None) -> dict[str, FileFacts]:
    if old is None:
        return {}
    return {entry.path: FileFacts(entry.stat, entry.sha256, entry.size, entry.fields) for entry in old.leans.inputs}


def _substitute_in(value: Any, variables: Mapping[str, str], path: Path, findings: list[Finding]) -> Any:
    if isinstance(value, str):
        try:
            return substitute(value, variables)
        except ManifestError as error:
            findings += [Finding(path, problem) for problem in error.problems]
            return value
    if isinstance(value, dict):
        return {key: _substitute_in(entry, variables, (*path, key), findings) for key, entry in value.items()}
    if isinstance(value, list):
        return [_substitute_in(entry, variables, (*path, index), findings) for index, entry in enumerate(value)]
    return value
