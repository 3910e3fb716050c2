"""Push API documents (JSON) as entries of manifests.

Understood are bodies of single calls, batch files of items and of identities, updates of streams, requests as they
were recorded (`method`, `path`, `query`, `body`), and lists of any of these (push-api.md 2.1, 2.3, 2.5, 3.1 to 3.5).
Later documents win over earlier ones, as later calls would. Whatever is not understood is a problem with the file
and the JSON pointer; nothing is guessed and nothing dropped in silence. Knows nothing of files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
from pydantic import BaseModel, ValidationError

from reconciler.importing.tidy import Entry, short_identity, short_model
from reconciler.manifest.complaints import findings_of
from reconciler.manifest.project import Project
from reconciler.manifest.schema import AliasSpec, GroupSpec, ItemSpec, UserSpec
from reconciler.manifest.wireform import alias_entry, identity_entry, item_entry, permission_entry
from reconciler.model.identity import identity_type
from reconciler.problems import Problem

_BATCH = frozenset({"addorupdate", "delete", "partialupdate"})
_IDENTITIES = frozenset({"members", "mappings", "deleted"})
_SECTIONS = {"group": "groups", "virtual-group": "virtualGroups", "user": "users"}
_SCALARS = frozenset({str, int, float, bool})
_NOT_UNDERSTOOD = (
    "what is imported must mean what it said; a guess would be pushed.",
    "an item needs its documentId, an identity its `identity`; a batch has addOrUpdate and delete, or members, "
    "mappings and deleted; a recorded request has method, path, query and body.",
)


@dataclass(slots=True)
class Gathered:
    """What documents say is there, as entries of manifests.

    Items are by source and uri; groups, virtual groups, users and aliases by section, provider, and type with name.
    `notes` are what a manifest cannot say and does not need to.
    """

    items: dict[tuple[str, str], Entry] = field(default_factory=dict)
    identities: dict[tuple[str, str, str], Entry] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


_Take = Callable[[Any, str, str | None], None]


class _Bad(Exception):
    """Something at a pointer is not understood."""

    def __init__(self, pointer: str, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.pointer = pointer
        self.problem = Problem("import-not-understood", what, why or _NOT_UNDERSTOOD[0], fix)


class Documents:
    """Takes in documents one after the other; `gathered` is what they come to.

    `source` and `provider` (names of the project) are those of bodies that do not say.
    """

    def __init__(self, project: Project, source: str | None, provider: str | None) -> None:
        self._project = project
        self._source = source
        self._provider = provider
        self._sources = {entry.id: entry.name for entry in project.sources}
        self._providers = {entry.id: entry.name for entry in project.providers}
        self._file = ""
        self.gathered = Gathered()

    def take(self, file: str, data: bytes) -> None:
        """Take in a JSON document, or lines of them where the file's name says so (`.jsonl`, `.ndjson`)."""
        self._file = file
        if file.lower().endswith((".jsonl", ".ndjson")):
            for number, line in enumerate(data.split(b"\n")):
                if line.strip():
                    self._take(line, f"/{number}")
        else:
            self._take(data, "")

    def _take(self, data: bytes, pointer: str) -> None:
        try:
            self._any(_value_of(data, pointer), pointer, None)
        except _Bad as error:
            self._found(error.pointer, error.problem)

    def _found(self, pointer: str, problem: Problem) -> None:
        where = f"{self._file}#{pointer}" if pointer else self._file
        self.gathered.problems.append(
            Problem(problem.code, problem.what, problem.why, problem.fix, where=where, severity=problem.severity)
        )

    # Documents

    def _any(self, value: Any, pointer: str, scope: str | None) -> None:
        """Take in one document; `scope` is the source or provider that the request around it names."""
        if isinstance(value, list):
            for index, entry in enumerate(value):
                if isinstance(entry, list):
                    self._found(
                        f"{pointer}/{index}", Problem("import-not-understood", "a list in a list is no document")
                    )
                else:
                    self._guarded(self._any, entry, f"{pointer}/{index}", scope)
            return
        if not isinstance(value, dict):
            raise _Bad(pointer, f"{_shown(value)} is no document of the Push API", fix=_NOT_UNDERSTOOD[1])
        folded = _folded(value, pointer)
        if "documentid" in folded:
            self._item(value, pointer, scope)
        elif "identity" in folded:
            self._identity(value, pointer, scope)
        elif "path" in folded and "method" in folded:
            self._request(folded, pointer)
        elif not _BATCH.isdisjoint(folded):
            self._batch(folded, pointer, scope)
        elif not _IDENTITIES.isdisjoint(folded):
            self._identity_batch(folded, pointer, scope)
        else:
            raise _Bad(pointer, "this is none of the documents of the Push API", fix=_NOT_UNDERSTOOD[1])

    def _guarded(
        self, take: Callable[[Any, str, str | None], None], value: Any, pointer: str, scope: str | None
    ) -> None:
        """Take in a part; what is wrong with it is told, and the rest is still looked at."""
        try:
            take(value, pointer, scope)
        except _Bad as error:
            self._found(error.pointer, error.problem)

    def _request(self, folded: Mapping[str, tuple[str, Any]], pointer: str) -> None:
        method, path = folded["method"][1], folded["path"][1]
        if not isinstance(method, str) or not isinstance(path, str):
            raise _Bad(pointer, "a recorded request has a method and a path that are texts")
        parts = urlsplit(path)
        query = {name.lower(): part for name, part in parse_qsl(parts.query, keep_blank_values=True)}
        key, value = folded.get("query", ("query", None))
        query |= _query(value, f"{pointer}/{_escaped(key)}")
        steps = [unquote(step) for step in parts.path.split("/") if step]
        kind, scope, rest = _route(steps)
        body = folded.get("body", ("body", None))
        at = f"{pointer}/{_escaped(body[0])}"
        match kind, method.upper(), rest:
            case "sources", "PUT", ["documents"]:
                self._single_item(body[1], at, self._source_at(scope, pointer), query)
            case "sources", "DELETE", ["documents"]:
                entry = {"documentId": query.get("documentid"), "deleteChildren": query.get("deletechildren") == "true"}
                self._delete(entry, pointer, self._source_at(scope, pointer))
            case "providers", "PUT", ["permissions" | "mappings"]:
                self._identity(body[1], at, self._provider_at(scope, pointer))
            case "providers", "DELETE", ["permissions"]:
                self._disable(body[1], at, self._provider_at(scope, pointer))
            case "files", _, _:
                pass
            case "sources", "POST", ["status"]:
                pass
            case _:
                raise _Bad(
                    pointer,
                    f'the request "{method} {parts.path}" says nothing that a manifest could hold',
                    fix="leave it out; of a batch, import the file that was uploaded.",
                )

    def _single_item(self, body: Any, pointer: str, source: str, query: Mapping[str, str]) -> None:
        if not isinstance(body, dict):
            raise _Bad(pointer, "the body of an item is an object")
        folded = _folded(body, pointer)
        uri = query.get("documentid")
        if uri is None:
            raise _Bad(pointer, "the request does not say the item's documentId", fix="it is a parameter of the query.")
        if "documentid" in folded and folded["documentid"][1] != uri:
            raise _Bad(f"{pointer}/{folded['documentid'][0]}", "the documentId of the body is not that of the request")
        extra = {} if "documentid" in folded else {"documentId": uri}
        if "compressiontype" in query and "compressiontype" not in folded:
            extra["compressionType"] = query["compressiontype"]
        self._item({**body, **extra}, pointer, source)

    def _batch(self, folded: Mapping[str, tuple[str, Any]], pointer: str, scope: str | None) -> None:
        _only(folded, _BATCH, pointer)
        if folded.get("partialupdate", ("", None))[1]:
            raise _Bad(
                f"{pointer}/{folded['partialupdate'][0]}",
                "a partial update changes an item that this document does not hold",
                fix="import the whole items; take the partial updates out.",
            )
        seen: set[Any] = set()
        for index, entry in _listed(folded, "addorupdate", pointer):
            self._guarded(lambda value, at, where: self._once(value, at, where, seen, self._item), entry, index, scope)
        for index, entry in _listed(folded, "delete", pointer):
            self._guarded(
                lambda value, at, where: self._once(value, at, where, seen, self._delete), entry, index, scope
            )

    def _once(
        self,
        value: Any,
        pointer: str,
        scope: str | None,
        seen: set[Any],
        take: _Take,
    ) -> None:
        """Take in an entry of a batch, which may name an item once: the order inside is not defined."""
        if not isinstance(value, dict):
            raise _Bad(pointer, f"{_shown(value)} is no entry of a batch: those are objects")
        uri = _folded(value, pointer).get("documentid", ("", None))[1]
        if isinstance(uri, str):
            if uri in seen:
                raise _Bad(
                    pointer,
                    f'the batch names "{uri}" twice',
                    "the order inside a batch is not defined, so nobody knows which of the two holds.",
                    "leave one of them.",
                )
            seen.add(uri)
        take(value, pointer, scope)

    def _identity_batch(self, folded: Mapping[str, tuple[str, Any]], pointer: str, scope: str | None) -> None:
        _only(folded, _IDENTITIES, pointer)
        for section in ("members", "mappings"):
            for at, entry in _listed(folded, section, pointer):
                self._guarded(self._identity, entry, at, scope)
        for at, entry in _listed(folded, "deleted", pointer):
            self._guarded(self._disable, entry, at, scope)

    # Items

    def _item(self, value: Any, pointer: str, scope: str | None) -> None:
        source = scope or self._source_of(pointer)
        folded = _folded(value, pointer)
        if "compressedbinarydatafileid" in folded:
            raise _Bad(
                f"{pointer}/{folded['compressedbinarydatafileid'][0]}",
                "the item's content was in a file container, and is not here",
                "a container is gone an hour after it was made (push-api.md 2.2).",
                "put the content in as compressedBinaryData, or take the key out and give the item a body afterwards.",
            )
        _check_numbers(value, pointer)
        if "orderingid" in folded:
            self._note("orderingId of items: every run gives its own")
        try:
            entry = item_entry({key: part for key, part in value.items() if key.lower() != "orderingid"})
            permissions = entry.pop("permissions", None)
            if isinstance(permissions, list):
                permissions = permission_entry(permissions) if permissions else None
        except ValueError as error:
            raise _Bad(pointer, str(error)) from None
        known = self._project.source(source)
        own = known.provider if known else None
        if permissions is not None:
            entry["permissions"] = short_model(permissions, own, self._provider_name)
        self._check_metadata(entry.get("metadata", {}), folded, pointer)
        entry = {key: part for key, part in entry.items() if part is not None}
        entry.pop("source", None)
        self._checked(entry, ItemSpec, pointer, folded)
        key = (source, entry["uri"])
        if key in self.gathered.items:
            self._note("items that a later document pushes again: the later one counts")
        self.gathered.items[key] = entry

    def _check_metadata(self, metadata: Mapping[str, Any], folded: Mapping[str, tuple[str, Any]], pointer: str) -> None:
        for name, value in metadata.items():
            if type(value) in _SCALARS or (isinstance(value, list) and all(type(part) in _SCALARS for part in value)):
                continue
            at = f"{pointer}/{_escaped(folded.get(name, (name, None))[0])}"
            raise _Bad(
                at,
                f'metadata "{name}" is {_shown(value)}',
                "metadata is a text, a number, true or false, or a list of these (push-api.md 3.1).",
                "take it out, or give it such a value.",
            )

    def _delete(self, value: Any, pointer: str, scope: str | None) -> None:
        source = scope or self._source_of(pointer)
        folded = _folded(value, pointer)
        _only(folded, frozenset({"documentid", "deletechildren", "orderingid"}), pointer)
        uri = folded.get("documentid", ("", None))[1]
        if not isinstance(uri, str):
            raise _Bad(pointer, "a deletion has no documentId")
        items = self.gathered.items
        gone = [(source, uri)] if (source, uri) in items else []
        if folded.get("deletechildren", ("", False))[1] is True:
            gone += [key for key in items if key[0] == source and key[1].startswith(f"{uri}/")]
        for key in gone:
            del items[key]
        if not gone:
            self._note("deletions of items that no document pushes: manifests say only what is there")

    # Identities

    def _identity(self, value: Any, pointer: str, scope: str | None) -> None:
        if not isinstance(value, dict):
            raise _Bad(pointer, f"{_shown(value)} is no identity: those are objects")
        provider = scope or self._provider_of(pointer)
        folded = _folded(value, pointer)
        _only(folded, frozenset({"identity", "members", "mappings", "wellknowns", "result"}), pointer)
        kind, key = self._subject(folded.get("identity", ("", None))[1], pointer)
        if "mappings" in folded:
            if folded.get("members", ("", None))[1]:
                raise _Bad(pointer, "an identity has both members and mappings, which two calls would push")
            self._alias(value, folded, pointer, provider, kind, key)
            return
        self._subject_entry(value, folded, pointer, provider, kind, key)

    def _subject_entry(
        self, value: Entry, folded: Mapping[str, tuple[str, Any]], pointer: str, provider: str, kind: str, key: str
    ) -> None:
        if kind not in _SECTIONS:
            raise _Bad(
                pointer,
                'an identity of the type "unknown" has no section in a manifest',
                "it can be a member, and allowed or denied; only users, groups and virtual groups are pushed.",
                "give it its type.",
            )
        try:
            entry = identity_entry(value, kind)
        except ValueError as error:
            raise _Bad(pointer, str(error)) from None
        for name in ("members", "wellKnowns"):
            if isinstance(entry.get(name), list):
                entry[name] = [short_identity(who, provider, self._provider_name) for who in entry[name]]
        self._checked(entry, UserSpec if kind == "user" else GroupSpec, pointer, folded)
        self._put(_SECTIONS[kind], provider, key, entry)

    def _alias(
        self, value: Entry, folded: Mapping[str, tuple[str, Any]], pointer: str, provider: str, kind: str, key: str
    ) -> None:
        well_knowns = folded.get("wellknowns", ("", None))[1]
        body = {name: part for name, part in value.items() if name.lower() != "wellknowns"}
        try:
            entry = alias_entry(body)
        except ValueError as error:
            raise _Bad(pointer, str(error)) from None
        entry["of"] = short_identity(entry["of"], provider, self._provider_name)
        for index, target in enumerate(entry["is"] if isinstance(entry["is"], list) else ()):
            if isinstance(target, dict):
                at = f"{pointer}/{_escaped(folded['mappings'][0])}/{index}"
                target["provider"] = self._target_provider(target.get("provider"), provider, at)
        if not entry["is"]:
            # Without any entry it takes an alias back (push-api.md 2.3).
            self.gathered.identities.pop(("aliases", provider, key), None)
            self._note("mappings without entries: they take an alias back")
        else:
            self._checked(entry, AliasSpec, pointer, folded)
            self._put("aliases", provider, key, entry)
        if well_knowns:
            # A manifest has them with the identity; its alias is sent with the same ones.
            section = (_SECTIONS.get(kind, ""), provider, key)
            if section in self.gathered.identities:
                known = dict(self.gathered.identities[section])
            elif kind == "user":
                known = {"name": entry["of"].partition(":")[2]} if isinstance(entry["of"], str) else {}
            else:
                known = {}
            if not known:
                raise _Bad(
                    f"{pointer}/{folded['wellknowns'][0]}",
                    "the well-knowns of an alias stand with its identity, which no document before this one pushes",
                )
            again = identity_entry({"identity": folded["identity"][1], "wellKnowns": well_knowns}, kind)
            known["wellKnowns"] = [short_identity(who, provider, self._provider_name) for who in again["wellKnowns"]]
            self._put(section[0], provider, key, known)

    def _put(self, section: str, provider: str, key: str, entry: Entry) -> None:
        place = (section, provider, key)
        if place in self.gathered.identities:
            self._note("identities that a later document pushes again: the later one counts")
        self.gathered.identities[place] = entry

    def _disable(self, value: Any, pointer: str, scope: str | None) -> None:
        if not isinstance(value, dict):
            raise _Bad(pointer, f"{_shown(value)} is no identity: those are objects")
        provider = scope or self._provider_of(pointer)
        folded = _folded(value, pointer)
        _only(folded, frozenset({"identity", "result"}), pointer)
        kind, key = self._subject(folded.get("identity", ("", None))[1], pointer)
        places = [(section, provider, key) for section in (_SECTIONS.get(kind, ""), "aliases")]
        if not any(self.gathered.identities.pop(place, None) for place in places):
            self._note("identities taken away that no document pushes: manifests say only what is there")

    def _subject(self, identity: Any, pointer: str) -> tuple[str, str]:
        """Return an identity's type, and what tells it from all others of its provider."""
        folded = {key.lower(): part for key, part in identity.items()} if isinstance(identity, dict) else {}
        name, word = folded.get("name"), folded.get("type", "user")
        kind = identity_type(word) if isinstance(word, str) else None
        if not isinstance(name, str) or not name or kind is None:
            raise _Bad(
                f"{pointer}/identity",
                "the identity has no name and type that are known",
                fix="give it a name and one of the types USER, GROUP, VIRTUAL_GROUP.",
            )
        info = folded.get("additionalinfo") or {}
        return kind, f"{kind}:{name}{orjson.dumps(info, option=orjson.OPT_SORT_KEYS).decode() if info else ''}"

    def _target_provider(self, shown: Any, own: str, pointer: str) -> Any:
        if shown:
            return self._provider_name(shown) if isinstance(shown, str) else shown
        known = self._project.provider(own)
        # With one cascade the API fills it in (push-api.md 3.5).
        if known is not None and len(known.cascades_to) == 1:
            return self._provider_name(known.cascades_to[0])
        raise _Bad(
            pointer,
            "the mapping does not say its provider",
            f'it can be left out only where "{own}" cascades to one provider.',
            "write it in, or say what the provider cascades to in reconciler.yaml (`cascadesTo`).",
        )

    # Where to

    def _provider_name(self, shown: str) -> str:
        return self._providers.get(shown, shown)

    def _source_of(self, pointer: str) -> str:
        if self._source is None:
            raise _Bad(
                pointer, "nothing says which source the item is of", fix="name one of the project's with --source NAME."
            )
        return self._source

    def _provider_of(self, pointer: str) -> str:
        if self._provider is None:
            raise _Bad(
                pointer,
                "nothing says which provider the identity is of",
                fix="name one of the project's with --provider NAME.",
            )
        return self._provider

    def _source_at(self, shown: str, pointer: str) -> str:
        if shown in self._sources:
            return self._sources[shown]
        raise _unknown("source", shown, pointer)

    def _provider_at(self, shown: str, pointer: str) -> str:
        if shown in self._providers:
            return self._providers[shown]
        raise _unknown("provider", shown, pointer)

    def _checked(
        self, entry: Entry, spec: type[BaseModel], pointer: str, folded: Mapping[str, tuple[str, Any]]
    ) -> None:
        """Hold an entry against the manifest language; what is wrong is told at the place in the document."""
        try:
            spec.model_validate(entry)
        except ValidationError as error:
            finding = findings_of(error, entry, spec)[0]
            step = str(finding.path[0]) if finding.path else ""
            wire = next((key for key in (_WIRE_KEYS.get(step, step.lower()), *_CONTENT) if key in folded), None)
            at = (
                f"{pointer}/{_escaped(folded[wire][0])}"
                if wire and (step == "body" or wire not in _CONTENT)
                else pointer
            )
            raise _Bad(at, finding.problem.what, finding.problem.why, finding.problem.fix) from None

    def _note(self, text: str) -> None:
        self.gathered.notes[text] += 1


_CONTENT = ("data", "compressedbinarydata")
_WIRE_KEYS = {"uri": "documentid", "parent": "parentid", "of": "identity", "is": "mappings", "name": "identity"}


def _unknown(what: str, shown: str, pointer: str) -> _Bad:
    return _Bad(
        pointer,
        f'the project has no {what} with the id "{shown}"',
        "what is pushed there would not be managed here.",
        f"declare it under `{what}s` of reconciler.yaml, or leave the request out.",
    )


def _route(steps: list[str]) -> tuple[str, str, list[str]]:
    """Return what a path is about (`sources`, `providers`, `files`), its id, and the rest."""
    if "organizations" not in steps:
        return "", "", steps
    rest = steps[steps.index("organizations") + 2 :]
    if rest[:1] == ["files"]:
        return "files", "", rest[1:]
    return (rest[0], rest[1], rest[2:]) if len(rest) > 1 else ("", "", rest)


def _query(value: Any, pointer: str) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        return _query([list(pair) for pair in parse_qsl(value.removeprefix("?"), keep_blank_values=True)], pointer)
    pairs = list(value.items()) if isinstance(value, dict) else value
    if isinstance(pairs, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return {str(key).lower(): part if isinstance(part, str) else json.dumps(part) for key, part in pairs}
    raise _Bad(pointer, "the query of a recorded request is an object, a list of pairs or a text")


def _listed(folded: Mapping[str, tuple[str, Any]], key: str, pointer: str) -> Iterator[tuple[str, Any]]:
    name, value = folded.get(key, (key, None))
    if value is None:
        return
    if not isinstance(value, list):
        raise _Bad(f"{pointer}/{_escaped(name)}", f'"{name}" is {_shown(value)}, and no list')
    for index, entry in enumerate(value):
        yield f"{pointer}/{_escaped(name)}/{index}", entry


def _only(folded: Mapping[str, tuple[str, Any]], known: Iterable[str], pointer: str) -> None:
    for lower, (name, _) in folded.items():
        if lower not in known:
            raise _Bad(f"{pointer}/{_escaped(name)}", f'nothing is known of the key "{name}" here')


def _folded(value: Mapping[str, Any], pointer: str) -> dict[str, tuple[str, Any]]:
    """Return the keys in lower case, each with how it was written and its value (push-api.md 3)."""
    out: dict[str, tuple[str, Any]] = {}
    for key, part in value.items():
        if key.lower() in out:
            raise _Bad(f"{pointer}/{_escaped(key)}", f'the key "{key}" stands twice, differing only in case')
        out[key.lower()] = (key, part)
    return out


def _check_numbers(value: Any, pointer: str) -> None:
    for key, part in value.items():
        for number in part if isinstance(part, list) else (part,):
            if type(number) is int and not -(2**63) <= number < 2**63:
                raise _Bad(
                    f"{pointer}/{_escaped(key)}",
                    "the number has more than 64 bits",
                    "no field holds it (push-api.md 4.4).",
                    "write it as a text.",
                )


def _value_of(data: bytes, pointer: str) -> Any:
    """Return the value of a JSON text. Raises _Bad for anything else, and for a key that stands twice."""
    data = data.removeprefix(b"\xef\xbb\xbf")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(found)
        if len(out) < len(found):
            seen: set[str] = set()
            twice = next(key for key, _ in found if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise _Bad(pointer, f'an object has the key "{twice}" twice', "nobody knows which of the two counts.")
        return out

    try:
        orjson.loads(data)  # strict: UTF-8, no NaN, no half of a character, no endless depth
        return json.loads(data, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        what = str(error) if isinstance(error, orjson.JSONDecodeError) else "it nests too deep"
        raise _Bad(
            pointer, f"this is no JSON: {what}", "half of a document would be half of what was meant.", "mend the file."
        ) from None


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else f"{json.dumps(value, ensure_ascii=False)[:60]}"
