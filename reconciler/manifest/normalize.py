"""From entries as people write them to canonical resources, one entry at a time.

Shorthand ends here: identities get their provider, permission models their one form, items their
`permanentid`. It knows nothing of files: positions are paths inside the entry, content files are
asked of a callback. It works on `schema` models and on `shapes` alike.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Struct

from reconciler.manifest import messages
from reconciler.manifest.metatypes import SCALARS, Shape, TypeWatch
from reconciler.manifest.project import Project, Source
from reconciler.model.accesstest import AccessTest
from reconciler.model.address import GROUP_KINDS, Address, Kind
from reconciler.model.canonical import RESERVED_KEYS, canonical_json
from reconciler.model.grant import EVERY, Grant, GrantKind, last_ends
from reconciler.model.identity import INFO_MARK, Identity, alias_address, identity_type
from reconciler.model.instant import NotAnInstant, parse_instant
from reconciler.model.permission import PermissionLevel, PermissionModel, PermissionSet
from reconciler.problems import Problem, Severity

Path = tuple[str | int, ...]

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s#\x00-\x20\x7f]+")
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,254}")
TYPE_WORD = re.compile(r"user|group|virtual[-_]?group|unknown", re.IGNORECASE)
# A NUL as JSON writes it, and not a backslash with "u0000" behind it.
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_PERMISSIONS: Path = ("permissions",)
# Under these keys an identity is a grant, which may end by itself.
_GRANTS: dict[str | int, GrantKind] = {"members": "member", "allowed": "allowed"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem and where in the entry it is; `on_key` means the key at `path`, not its value."""

    path: Path
    problem: Problem
    on_key: bool = False


class ContentInfo(Protocol):
    """What is known of a content file."""

    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int: ...


class Normal(Struct, gc=False):
    """One resource in canonical form.

    `named` is the name of its permission model where it gives one; `shared` is empty then. `body`
    is the content where the manifest itself holds it, `content_path` the file that holds it.
    """

    address: str
    doc: bytes
    shared: bytes = b""
    named: str | None = None
    body: bytes | None = None
    body_sha256: str = ""
    body_size: int = 0
    content_path: str | None = None


@dataclass(slots=True)
class Scope:
    """What the entries of one file mean: the project, the file's defaults, the caches that make it fast.

    `as_of` (seconds since 1970) is the instant that is read for: a grant that ended until then is not there.
    `grants` gathers those of the entry at hand that end, gone or not, with the path in it.
    `mentioned` gathers every identity that is referred to, `named` every permission model by name.
    `content` returns what is known of a content file, or the problem with it; `types` watches the
    metadata. `identities_by_text` may be shared between the files that have the same default provider.
    """

    project: Project
    content: Callable[[str], ContentInfo | Problem]
    types: TypeWatch = field(default_factory=lambda: TypeWatch(lambda: 0))
    source: str | None = None
    provider: str | None = None
    permissions: str | None = None
    as_of: int = 0
    grants: list[tuple[Path, Grant]] = field(default_factory=list)
    mentioned: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    identities_by_text: dict[str | None, dict[str, str]] = field(default_factory=dict)
    _prefixes: dict[tuple[str, str | None], str] = field(default_factory=dict)
    _target_prefixes: dict[tuple[str, str], str] = field(default_factory=dict)
    _cascades: set[tuple[str, str]] = field(default_factory=set)
    _keys: dict[str, str] = field(default_factory=dict)
    _providers: dict[str, str] = field(default_factory=dict)
    _sources: dict[str | None, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for provider in self.project.providers:
            for external in provider.cascades_to:
                self._providers[external] = external
        for provider in self.project.providers:
            self._providers[provider.id] = provider.name
        for provider in self.project.providers:
            self._providers[provider.name] = provider.name

    def found(self, path: Path, problem: Problem, *, on_key: bool = False) -> None:
        """Note a problem: an error undoes its entry, a warning does not."""
        kept = self.findings if problem.severity is Severity.ERROR else self.warnings
        kept.append(Finding(path, problem, on_key))

    def groups(self) -> set[str]:
        """Return the groups and virtual groups of this project's providers that were mentioned."""
        prefixes = tuple(f"{kind}/{provider.name}/" for kind in GROUP_KINDS for provider in self.project.providers)
        return {identity for identity in self.mentioned if identity.startswith(prefixes)}

    # -- names ---------------------------------------------------------------------------------

    def source_of(self, name: str | None, path: Path) -> Source | None:
        """Return the source that an entry is in: its own, the file's default, or the only one."""
        known = self._sources.get(name)
        if known is not None:
            return known
        wanted = name or self.source
        sources = self.project.sources
        if wanted is None:
            if len(sources) == 1:
                self._sources[name] = sources[0]
                return sources[0]
            self.found(path, messages.source_needed(sources))
            return None
        source = self.project.source(wanted)
        if source is None:
            names = [entry.name for entry in sources]
            self.found(path, messages.unknown("source", wanted, names, "reconciler.yaml declares the sources"))
            return None
        self._sources[name] = source
        return source

    def provider_of(self, name: str | None, path: Path, fallback: str | None = None) -> str | None:
        """Return the canonical name of a provider: the given one, the fallback, the file's default, the only one."""
        wanted = name or fallback or self.provider
        if wanted is None:
            if len(self.project.providers) == 1:
                return self.project.providers[0].name
            self.found(path, messages.provider_needed(self.project))
            return None
        canonical = self._providers.get(wanted)
        if canonical is None:
            why = "reconciler.yaml declares the providers and what they cascade to"
            self.found(path, messages.unknown("provider", wanted, self._providers, why))
        return canonical

    # -- identities ----------------------------------------------------------------------------

    def identity(self, ref: Any, path: Path, fallback: str | None = None) -> str | None:
        """Return the canonical string of a reference to an identity."""
        if type(ref) is str:
            known = self._short_identity(ref, path, fallback)
            if known is not None:
                self.identities_by_text.setdefault(fallback, {})[ref] = known
            return known
        for kind in ("user", "group", "virtual_group", "unknown"):
            name = getattr(ref, kind)
            if name is not None:
                canonical = identity_type(kind)
                assert canonical is not None
                key = path[-2] if type(path[-1]) is int else path[-1]
                if ref.expires is not None and key not in _GRANTS:
                    self.found((*path, "expires"), messages.misplaced_expires(str(key)), on_key=True)
                return self._identity(canonical, name, ref.provider, ref.additional_info, path, fallback)
        return None

    def _short_identity(self, text: str, path: Path, fallback: str | None) -> str | None:
        word, colon, name = text.partition(":")
        prefix = self._prefixes.get((word, fallback))
        if prefix is not None and name and "?" not in name and "\0" not in name and name == name.strip():
            return prefix + name
        kind = identity_type(word) if colon and TYPE_WORD.fullmatch(word) else None
        if kind is None or not name:
            self.found(path, messages.not_an_identity(text))
            return None
        canonical = self._identity(kind, name, None, None, path, fallback)
        if canonical is not None:
            # The next name of the same kind needs no look-ups.
            self._prefixes[word, fallback] = "/".join(canonical.split("/", 2)[:2]) + "/"
        return canonical

    def _identity(
        self,
        kind: str,
        name: str,
        provider: str | None,
        info: dict[str, str] | None,
        path: Path,
        fallback: str | None,
    ) -> str | None:
        canonical = self.provider_of(provider, path, fallback)
        if canonical is None:
            return None
        if INFO_MARK in name or "\0" in name or name != name.strip():
            self.found(path, messages.bad_name(name))
            return None
        return str(Identity(kind, canonical, name, tuple(sorted((info or {}).items()))))

    def identities(self, refs: Iterable[Any], path: Path, key: str, fallback: str | None = None) -> list[str]:
        """Return canonical identities, sorted and without repeats; what is wrong is noted at `path` and `key`."""
        cache = self.identities_by_text.get(fallback)
        try:
            out = [cache[ref] for ref in refs]  # type: ignore[index]
        except (KeyError, TypeError):
            out, before = [], len(self.grants)
            for index, ref in enumerate(refs):
                here = (*path, key, index)
                identity = self.identity(ref, here, fallback)
                if identity is None:
                    continue
                # Elsewhere an end is a mistake, which is noted, and not a grant.
                if type(ref) is str or key not in _GRANTS or self._lasts(ref.expires, here, _GRANTS[key], identity):
                    out.append(identity)
            self.grants[before:] = last_ends(self.grants[before:], out, self.as_of)
        self.mentioned.update(out)
        return out if len(out) < 2 else sorted(set(out))

    def _lasts(self, expires: str | None, path: Path, kind: GrantKind, entry: str, address: str = "") -> bool:
        """Whether a grant is there at `as_of`; one that ends is noted, without `address` as the entry's own."""
        if expires is None:
            return True
        try:
            ends = parse_instant(expires)
        except NotAnInstant as error:
            self.found((*path, "expires"), messages.bad_expires(expires, str(error)))
            return True
        self.grants.append((path, Grant(kind, address, entry, ends)))
        return ends > self.as_of

    def access_test(self, spec: Any) -> AccessTest:
        """Return an access test with canonical identities; what is wrong is noted."""
        many = isinstance(spec.who, list)
        who = () if spec.who is None else spec.who if many else (spec.who,)
        only = spec.only_visible_to
        return AccessTest(
            self._tested(who, lambda index: ("who", index) if many else ("who",)),
            tuple(spec.can_view or ()),
            tuple(spec.cannot_view or ()),
            tuple(spec.items or ()),
            None if only is None else self._tested(only, lambda index: ("onlyVisibleTo", index)),
            {key.casefold(): value for key, value in (spec.where or {}).items()},
        )

    def _tested(self, refs: Iterable[Any], path: Callable[[int], Path]) -> tuple[str, ...]:
        # Not `identities`: a pattern is no reference, and whoever is in no group any more is still tested.
        found = (self.identity(ref, path(index)) for index, ref in enumerate(refs))
        return tuple(identity for identity in found if identity is not None)

    # -- permissions ---------------------------------------------------------------------------

    def permission_doc(self, spec: Any, path: Path, fallback: str | None) -> bytes:
        """Return the canonical document of a permission model written in any of its forms."""
        if spec.levels is None and spec.sets is None:
            entry: dict[str, Any] = {}
            count = 0
            if spec.allowed:
                allowed = self.identities(spec.allowed, path, "allowed", fallback)
                count = len(allowed)
                # All of them may be over by now: the set then lets nobody in, as one that never allowed anybody.
                if allowed:
                    entry["allowed"] = allowed
            if spec.denied:
                entry["denied"] = denied = self.identities(spec.denied, path, "denied", fallback)
                count += len(denied)
            if spec.anonymous:
                entry["anonymous"] = True
            if count > messages.MAX_IDENTITIES:
                self.found(path, messages.too_many_identities(count))
            return canonical_json({"levels": [{"sets": [entry]}]})
        if spec.sets is not None:
            levels = [PermissionLevel(self._sets(spec.sets, (*path, "sets"), fallback))]
        else:
            levels = []
            for index, level in enumerate(spec.levels):
                here = (*path, "levels", index)
                if isinstance(level, list):
                    levels.append(PermissionLevel(self._sets(level, here, fallback)))
                else:
                    sets = self._sets(level.sets, (*here, "sets"), fallback)
                    levels.append(PermissionLevel(sets, level.name or ""))
        model = PermissionModel(tuple(levels))
        count = sum(1 for _ in model.identities())
        if count > messages.MAX_IDENTITIES:
            self.found(path, messages.too_many_identities(count))
        return canonical_json(model.to_doc())

    def _sets(self, specs: Iterable[Any], path: Path, fallback: str | None) -> tuple[PermissionSet, ...]:
        return tuple(
            PermissionSet(
                tuple(self.identities(spec.allowed, (*path, index), "allowed", fallback)),
                tuple(self.identities(spec.denied, (*path, index), "denied", fallback)),
                spec.anonymous,
                spec.name or "",
            )
            for index, spec in enumerate(specs)
        )

    # -- resources -----------------------------------------------------------------------------

    def item(self, spec: Any) -> Normal | None:
        """Return the canonical item, or None when something is wrong with it (noted)."""
        before = len(self.findings)
        source = self._sources.get(spec.source) or self.source_of(spec.source, ("source",) if spec.source else ())
        uri = spec.uri
        if URI.fullmatch(uri) is None:
            self.found(("uri",), messages.bad_uri(uri))
        metadata, shape = self._metadata(spec)
        doc: dict[str, Any] = {"metadata": metadata}
        if spec.title is not None:
            doc["title"] = spec.title
        if spec.clickable_uri is not None:
            doc["clickableUri"] = spec.clickable_uri
        if spec.file_extension is not None:
            doc["fileExtension"] = self._extension(spec.file_extension)
        if spec.parent is not None:
            if URI.fullmatch(spec.parent) is None:
                self.found(("parent",), messages.bad_uri(spec.parent))
            doc["parent"] = spec.parent
        if spec.protect:
            doc["protect"] = True
        if source is not None and source.digest_field is not None:
            doc["digestField"] = source.digest_field
            if source.digest_field in metadata:
                self.found(("metadata",), messages.taken_by_digest(source.digest_field, source.name))
        body, content_path = self._body(spec.body, doc) if spec.body is not None else (None, None)
        shared, named = self._item_permissions(spec, source) if source is not None else (b"", None)
        if len(self.findings) > before or source is None:
            return None
        own = canonical_json(doc)
        if b"\\u0000" in own and NUL.search(own):
            self.found((), messages.nul())
            return None
        self.types.note(source.name, metadata, shape)
        kept = doc.get("body")
        return Normal(
            f"item/{source.name}/{uri}",
            own,
            shared,
            named,
            body,
            kept["sha256"] if kept else "",
            kept["size"] if kept else 0,
            content_path,
        )

    def _item_permissions(self, spec: Any, source: Source) -> tuple[bytes, str | None]:
        """Return the item's permission model, or its name."""
        permissions = spec.permissions if spec.permissions is not None else self.permissions
        if permissions is None:
            if source.visibility == "secured":
                self.found((), messages.permissions_missing(spec.uri, source.name))
            return b"", None
        if type(permissions) is str:
            self.named.add(permissions)
            return b"", permissions
        return self.permission_doc(permissions, _PERMISSIONS, self.provider or source.provider), None

    def _metadata(self, spec: Any) -> tuple[dict[str, Any], Shape]:
        metadata = spec.metadata
        keys = self._keys
        try:
            out = {keys[key]: value for key, value in metadata.items()}
        except KeyError:
            out = {keys.get(key) or self._metadata_key(key): value for key, value in metadata.items()}
        if len(out) < len(metadata):
            self._find_repeated(metadata)
        types = self.types
        shape = types.shapes.get((*out, *map(type, out.values()))) or types.new_shape(out)
        for lower in shape.lists:
            if not _is_scalar_list(out[lower]):
                for key, value in metadata.items():
                    if type(value) not in SCALARS and not _is_scalar_list(value):
                        self.found(("metadata", key), messages.bad_value(key, value))
                break
        if "title" in out and spec.title is not None:
            self.found(("metadata", "title"), messages.repeated_key("title"), on_key=True)
        if "clickableuri" in out and spec.clickable_uri is not None:
            self.found(("clickableUri",), messages.repeated_key("clickableuri"), on_key=True)
        if spec.permanent_id is not None:
            if "permanentid" in out:
                self.found(("permanentId",), messages.repeated_key("permanentid"), on_key=True)
            out["permanentid"] = spec.permanent_id
        return out, shape

    def _find_repeated(self, metadata: dict[str, Any]) -> None:
        seen: set[str] = set()
        for key in metadata:
            if key.lower() in seen:
                self.found(("metadata", key), messages.repeated_key(key), on_key=True)
            seen.add(key.lower())

    def _metadata_key(self, key: str) -> str:
        lower = key.lower()
        if lower in RESERVED_KEYS:
            self.found(("metadata", key), messages.reserved_key(key), on_key=True)
        elif FIELD_NAME.fullmatch(lower) is None:
            self.found(("metadata", key), messages.bad_key(key), on_key=True)
        else:
            self._keys[key] = lower
        return lower

    def _extension(self, extension: str) -> str:
        if not extension.startswith(".") or len(extension) < 2:
            self.found(("fileExtension",), messages.bad_extension(extension))
        return extension

    def _body(self, body: Any, doc: dict[str, Any]) -> tuple[bytes | None, str | None]:
        """Put the body into the document; return the content that the manifest holds, and the file's path."""
        if body.text is not None:
            if "\0" in body.text:
                self.found(("body", "text"), messages.nul())
            data = body.text.encode()
            doc["body"] = {"encoding": "text", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            return data, None
        if body.base64 is not None:
            try:
                data = base64.b64decode("".join(body.base64.split()), validate=True)
            except (binascii.Error, ValueError):
                self.found(("body", "base64"), messages.bad_base64())
                return None, None
            doc["body"] = {"encoding": "binary", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            return data, None
        info = self.content(body.file)
        if isinstance(info, Problem):
            self.found(("body", "file"), info)
            return None, None
        doc["body"] = {"encoding": "binary", "sha256": info.sha256, "size": info.size}
        stem, dot, suffix = body.file.rpartition("/")[2].rpartition(".")
        if "fileExtension" not in doc and dot and stem and suffix:
            doc["fileExtension"] = f".{suffix}"
        return None, body.file

    def group(self, spec: Any, kind: Kind) -> Normal | None:
        """Return the canonical group or virtual group, or None when something is wrong with it."""
        before = len(self.findings)
        own = self._own(spec, kind)
        fallback = own.provider if own else None
        doc: dict[str, Any] = {"members": self.identities(spec.members, (), "members", fallback)}
        if own is not None:
            self._check_home(spec.members, ("members",), own.provider)
        return self._identity_resource(spec, kind, own, doc, before)

    def user(self, spec: Any) -> Normal | None:
        """Return the canonical user, or None when something is wrong with it."""
        before = len(self.findings)
        return self._identity_resource(spec, Kind.USER, self._own(spec, Kind.USER), {}, before)

    def _own(self, spec: Any, kind: Kind) -> Identity | None:
        provider = self.provider_of(spec.provider, ("provider",) if spec.provider else ("name",))
        if provider is not None and self.project.provider(provider) is None:
            self.found(("provider",), messages.foreign_provider(provider))
            return None
        if INFO_MARK in spec.name or "\0" in spec.name or spec.name != spec.name.strip() or not spec.name:
            self.found(("name",), messages.bad_name(spec.name))
            return None
        info = tuple(sorted((spec.additional_info or {}).items()))
        return Identity(kind.value, provider, spec.name, info) if provider else None

    def _identity_resource(
        self, spec: Any, kind: Kind, own: Identity | None, doc: dict[str, Any], before: int
    ) -> Normal | None:
        well_knowns = (
            self.identities(spec.well_knowns, (), "wellKnowns", own.provider if own else None)
            if spec.well_knowns
            else []
        )
        if well_knowns and own is not None:
            self._check_home(spec.well_knowns, ("wellKnowns",), own.provider)
        if spec.protect:
            doc["protect"] = True
        if own is None or len(self.findings) > before:
            return None
        name = str(own).split("/", 2)[2]
        shared = canonical_json({"wellKnowns": well_knowns}) if well_knowns else b""
        return Normal(Address.of(kind, own.provider, name), canonical_json(doc), shared)

    def _check_home(self, refs: Iterable[Any], path: Path, provider: str) -> None:
        """Note the identities that name another provider than the group they are listed in."""
        for index, ref in enumerate(refs):
            if type(ref) is not str and ref.provider and self._providers.get(ref.provider, provider) != provider:
                self.found((*path, index, "provider"), messages.elsewhere(ref.provider, provider))

    def alias(self, spec: Any) -> Normal | None:
        """Return the canonical alias of one identity, or None when something is wrong with it, or when it ended."""
        before = len(self.findings)
        fallback = self.provider_of(spec.provider, ("provider",) if spec.provider else ("of",))
        of = self.identity(spec.of, ("of",), fallback)
        if of is not None:
            self.check_own(of.split("/", 2)[1], ("of",))
        mappings = self.alias_targets(spec, of)
        if of is None:
            return None
        lasts = spec.expires is None or self._lasts(spec.expires, (), "alias", of, alias_address(of))
        is_right = len(self.findings) == before
        if lasts and (mappings or not is_right):
            self.mentioned.add(of)
        return alias_of(of, mappings, protect=spec.protect) if is_right and lasts and mappings else None

    def aliases_of_each(self, spec: Any, provider: str | None, word: str) -> list[str]:
        """Return what an alias of each identity of a type stands for; nothing when something is wrong, or it ended."""
        before = len(self.findings)
        every = f"{identity_type(word)}/{provider}/{EVERY}"
        mappings = self.alias_targets(spec, every, "each")
        # An alias of each is many, none of them the whole, so each mapping is told.
        lasting = [self._lasts(spec.expires, (), "each", entry, alias_address(every)) for entry in mappings]
        return mappings if all(lasting) and len(self.findings) == before else []

    def check_own(self, provider: str, path: Path) -> None:
        """Note a provider that is not this project's, so that nothing can be pushed to it."""
        if self.project.provider(provider) is None:
            self.found(path, messages.foreign_provider(provider))

    def alias_targets(self, spec: Any, of: str | None, kind: GrantKind = "mapping") -> list[str]:
        """Return the canonical identities that the alias of an identity stands for, sorted."""
        out = []
        if spec.protect and (spec.expires is not None or all(target.expires is not None for target in spec.is_)):
            self.found(("protect",), messages.protected_expires(), on_key=True)
        for index, target in enumerate(spec.is_):
            word, _, name = target.identity.partition(":")
            prefix = self._target_prefixes.get((target.provider, word))
            if prefix is None or not name or "?" in name or target.additional_info or not _is_plain(name):
                identity = self._alias_target(target, index)
            else:
                identity = prefix + name
            if identity is None:
                continue
            if of is not None:
                self._check_cascade(of.split("/", 2)[1], target.provider, index)
            if target.expires is None or self._lasts(
                target.expires, ("is", index), kind, identity, "" if of is None else alias_address(of)
            ):
                out.append(identity)
        return out if len(out) < 2 else sorted(set(out))

    def _check_cascade(self, own: str, target: str, index: int) -> None:
        """Note an alias in a provider that the identity's own does not cascade to (push-api.md 3.5)."""
        if (own, target) in self._cascades:
            return
        declared, canonical = self.project.provider(own), self._providers[target]
        goal = self.project.provider(canonical)
        if declared is None or {canonical, goal.id if goal else canonical} & {own, *declared.cascades_to}:
            self._cascades.add((own, target))
        else:
            self.found(("is", index, "provider"), messages.outside_cascade(own, goal.id if goal else canonical))

    def _alias_target(self, target: Any, index: int) -> str | None:
        word, _, name = target.identity.partition(":")
        kind = identity_type(word) if TYPE_WORD.fullmatch(word) else None
        if kind is None or not name:
            self.found(("is", index, "identity"), messages.not_an_identity(target.identity))
            return None
        if INFO_MARK in name or "\0" in name or name != name.strip():
            self.found(("is", index, "identity"), messages.bad_name(name))
            return None
        canonical = self._providers.get(target.provider)
        if canonical is None:
            why = "reconciler.yaml declares the providers and what they cascade to"
            problem = messages.unknown("provider", target.provider, self._providers, why)
            self.found(("is", index, "provider"), problem)
            return None
        self._target_prefixes[target.provider, word] = f"{kind}/{canonical}/"
        return str(Identity(kind, canonical, name, tuple(sorted((target.additional_info or {}).items()))))


def _is_plain(name: str) -> bool:
    return "\0" not in name and name == name.strip()


def _is_scalar_list(value: Any) -> bool:
    return type(value) is list and SCALARS.issuperset(map(type, value))


def alias_of(of: str, mappings: list[str], *, protect: bool = False) -> Normal:
    """Return the canonical alias of an identity given in canonical form."""
    doc: dict[str, Any] = {"mappings": mappings}
    if protect:
        doc["protect"] = True
    return Normal(alias_address(of), canonical_json(doc))
