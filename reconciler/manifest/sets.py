"""Item sets: from files or rows to item entries, as a person would have written them.

A set is a plain mapping, `{from: ..., item: ..., allowEmpty?: ...}`, already checked against the
schema but with its templates untouched. What it yields is checked and normalised by the caller, like
any other entry. Files are read once, and only when neither the caller's memory nor the template
makes that needless; nothing in an entry depends on times.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from reconciler.manifest.content import HEAD_SIZE, hash_file
from reconciler.manifest.extract import extract_fields
from reconciler.manifest.inputs import ROW_FORMATS, set_inputs, texts_of
from reconciler.manifest.paths import FileStat, FoundFile, Globbed, ProjectFolder
from reconciler.manifest.rows import BadRow, RowFormat, column_names, iter_rows
from reconciler.manifest.template import compile_tree, render_tree, unknown_field
from reconciler.problems import ManifestError, Problem

Path = tuple[str | int, ...]

FILE_FIELDS = ("path", "url_path", "name", "stem", "ext", "dir", "size")
_OPEN_FIELDS = ("html.title", "html.lang", "html.meta.NAME", "front.KEY")
# What may stand in a segment of a URI's path as it is (RFC 3986, pchar); `%` may not.
_PATH_SAFE = "/~!$&'()*+,;=:@"


class FileFacts(NamedTuple):
    """What is known of a content file: enough not to read it again while its stat stays the same.

    `fields` holds what was extracted: "html" or "front" stand in it once they were looked for.
    """

    stat: FileStat
    sha256: str
    size: int
    fields: Mapping[str, Any] = MappingProxyType({})


class SetMember(NamedTuple):
    """One item: where it comes from (`content/a.html`, `people.csv:17`) and its entry.

    `content` is None where no file was read for it. Entries may share parts: do not change them.
    """

    origin: str
    entry: dict[str, Any]
    content: FileFacts | None = None


class SetFault(NamedTuple):
    """A problem, the path inside the set that it is about, and the file or row that shows it."""

    path: Path
    problem: Problem
    origin: str = ""


def expand_set(
    spec: Mapping[str, Any],
    folder: ProjectFolder,
    variables: Mapping[str, str],
    known: Mapping[str, FileFacts] = MappingProxyType({}),
    inputs: Globbed | None = None,
) -> Iterator[SetMember | SetFault]:
    """Yield the members of a set, files in order of their path, rows in order of the file.

    `known` spares reading files whose stat it knows; `inputs` is a fresh `set_inputs`, to look only
    once. Faults come between the members; a set that yields nothing else has no members. A value
    that needs an absent field is left out of its entry.
    """
    inputs = inputs or set_inputs(spec, folder, variables)
    yield from (SetFault(("from",), problem) for problem in inputs.problems)
    tree = compile_tree(spec.get("item") or {}, variables)
    faults = [SetFault(("item", *path), problem) for path, problem in tree.problems]
    names = [(part.field, ("item", *path), part.fallback is not None) for path, part in tree.placeholders]
    is_files = "files" in (spec.get("from") or {})
    if is_files:
        faults += [fault for name, path, _ in names if (fault := _file_field_fault(name, path))]
    yield from faults
    if faults or (inputs.problems and not inputs.files):
        return
    source = _Source(spec, folder, known, inputs.files, names, tree.node)
    empty = True
    for member in source.files() if is_files else source.rows():
        empty = False
        yield member
    if empty and not inputs.problems and spec.get("allowEmpty") is not True:
        yield SetFault(("from",), _empty_set(spec))


class _Source:
    """One expansion of a set."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        folder: ProjectFolder,
        known: Mapping[str, FileFacts],
        inputs: list[FoundFile],
        names: list[tuple[str, Path, bool]],
        node: dict[str, Any],
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._known = known
        self._inputs = inputs
        self._names = names
        self._node = node
        self._own_body = "body" not in node
        self._needs = {name.partition(".")[0] for name, _, _ in names} & {"html", "front"}

    def files(self) -> Iterator[SetMember | SetFault]:
        """Yield a member for each file."""
        for found in self._inputs:
            facts = self._facts(found) if self._own_body or self._needs else None
            if isinstance(facts, Problem):
                yield SetFault(("from",), facts, found.path)
                continue
            fields = file_fields(found)
            if facts is not None:
                fields |= facts.fields
            member = self._member(found.path, fields)
            if isinstance(member, SetMember) and self._own_body:
                member.entry["body"] = {"file": found.path}
                if fields["ext"]:
                    member.entry.setdefault("fileExtension", fields["ext"])
                member = member._replace(content=facts)
            yield member

    def rows(self) -> Iterator[SetMember | SetFault]:
        """Yield a member for each row."""
        path = self._inputs[0].path
        kind = cast("RowFormat", next(name for name in ROW_FORMATS if name in self._spec["from"]))
        try:
            columns = column_names(self._folder, path, kind)
            if columns is not None:
                faults = self._unknown_columns(columns)
                yield from faults
                if faults:
                    return
            yield from self._row_members(path, kind, columns)
        except ManifestError as error:
            yield from (SetFault(("from", kind), problem, path) for problem in error.problems)

    def _row_members(self, path: str, kind: RowFormat, columns: list[str] | None) -> Iterator[SetMember | SetFault]:
        wanted = [column for column in columns or () if any(_reads(name, column) for name, _, _ in self._names)]
        seen: set[str] = set()
        bad = False
        for row in iter_rows(self._folder, path, kind, wanted):
            origin = f"{path}:{row.line}"
            if isinstance(row, BadRow):
                bad = True
                yield SetFault(("from", kind), row.problem, origin)
                continue
            if columns is None:
                seen.update(row.values)
            yield self._member(origin, row.values | {"row": row.values})
        # JSON Lines have no header: a field that no row has is as wrong as a column that is not there.
        if columns is None and seen and not bad:
            yield from self._unknown_columns(seen)

    def _unknown_columns(self, columns: Iterable[str]) -> list[SetFault]:
        known = list(columns)
        return [
            SetFault(path, unknown_field(name, known, optional=True))
            for name, path, has_default in self._names
            if not has_default and not any(_reads(name, column) for column in known)
        ]

    def _facts(self, found: FoundFile) -> FileFacts | Problem:
        facts = self._known.get(found.path)
        if facts is not None and facts.stat == found.stat and self._needs <= facts.fields.keys():
            return facts
        content = hash_file(self._folder, found.path, head=HEAD_SIZE if self._needs else 0)
        if isinstance(content, Problem):
            return content
        whole = content.size <= len(content.head)
        fields = extract_fields(found.path, content.head, self._needs, whole=whole)
        if isinstance(fields, Problem):
            return fields
        return FileFacts(content.stat, content.sha256, content.size, fields)

    def _member(self, origin: str, fields: Mapping[str, Any]) -> SetMember | SetFault:
        entry: dict[str, Any] = {}
        for key, node in self._node.items():
            try:
                value = render_tree(node, fields)
            except ManifestError as error:
                return SetFault(("item", key), error.problems[0], origin)
            if value is not None:
                entry[key] = value
        if "uri" not in entry:
            return SetFault(("item", "uri"), _no_uri(origin), origin)
        return SetMember(origin, entry)


def file_fields(found: FoundFile) -> dict[str, Any]:
    """Return the fields that a file has by its name and size alone."""
    folder, name = posixpath.split(found.path)
    stem, extension = posixpath.splitext(name)
    return {
        "path": found.path,
        "url_path": quote(found.path, safe=_PATH_SAFE),
        "name": name,
        "stem": stem,
        "ext": extension,
        "dir": folder,
        "size": found.stat.size,
    }


def _reads(name: str, column: str) -> bool:
    """Say whether a placeholder's name is a column, bare or after `row.`, or lies within one."""
    return any(text == column or text.startswith(f"{column}.") for text in (name, name.removeprefix("row.")))


def _file_field_fault(name: str, path: Path) -> SetFault | None:
    if (
        name in FILE_FIELDS
        or name in _OPEN_FIELDS[:2]
        or (name.startswith(("html.meta.", "front.")) and name[-1] != ".")
    ):
        return None
    return SetFault(path, unknown_field(name, (*FILE_FIELDS, *_OPEN_FIELDS)))


def _empty_set(spec: Mapping[str, Any]) -> Problem:
    origin = spec["from"]
    kind = next(name for name in ("files", *ROW_FORMATS) if name in origin)
    shown = ", ".join(f'"{text}"' for text in texts_of(origin[kind]))
    what = f"no file matches {shown}" if kind == "files" else f"{shown} has no rows"
    return Problem(
        "empty-set",
        what,
        "an emptied folder or file must not pass for the wish to delete all items that came from it.",
        "correct `from`, or write `allowEmpty: true` in the item set if it may be empty.",
    )


def _no_uri(origin: str) -> Problem:
    return Problem(
        "no-uri",
        f'the uri of the item from "{origin}" needs a field that is absent there',
        "an item without a uri cannot be pushed.",
        "fill the field in, or give the placeholder a default: `{field|default:'text'}`.",
    )
