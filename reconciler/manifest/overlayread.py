"""From the text of an overlay to its patches, with every mistake at its place.

Which resources a patch is of is looked up here; what becomes of them is `overlaying`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.manifest import messages
from reconciler.manifest.filebase import FileBase
from reconciler.manifest.metatypes import SCALARS
from reconciler.manifest.normalize import FIELD_NAME, Finding, Path
from reconciler.manifest.overlayfiles import OverlayText
from reconciler.manifest.overlaying import Patch, matches_nothing
from reconciler.manifest.parts import Part, PieceError, parts_of, whole_parts
from reconciler.manifest.project import OverlayScope, Source
from reconciler.manifest.template import substitute
from reconciler.model.address import Kind
from reconciler.model.canonical import RESERVED_KEYS
from reconciler.problems import ManifestError, Problem, did_you_mean

if TYPE_CHECKING:
    from reconciler.manifest.entries import Reader

SECTIONS = {"items": "ItemPatchSpec", "groups": "GroupPatchSpec", "virtualGroups": "GroupPatchSpec"}
_Field = tuple[str, ...]
_KINDS = {"groups": Kind.GROUP, "virtualGroups": Kind.VIRTUAL_GROUP}


@dataclass(frozen=True, slots=True)
class Known:
    """What the manifests declare: the addresses of items and groups, and the named permission models.

    `key` gives what is equal for all spellings of an identity.
    """

    items: Sequence[str]
    groups: Iterable[str]
    models: dict[str, bytes]
    key: Callable[[str], str]
    _by_key: dict[str, str] = field(default_factory=dict)
    _by_uri: dict[str, list[str]] = field(default_factory=dict)

    def items_at(self, uri: str) -> Iterable[str]:
        """Return the addresses of the items that have this uri, or match this pattern, in the order of `items`."""
        from reconciler.permissions.checks import item_matcher

        if "*" in uri:
            return filter(item_matcher(uri), self.items)
        if not self._by_uri:
            for address in self.items:
                self._by_uri.setdefault(address.split("/", 2)[2], []).append(address)
        return self._by_uri.get(uri, ())

    def group(self, address: str) -> str | None:
        """Return the address of a declared group as it is declared, or None."""
        if not self._by_key:
            self._by_key.update({self.key(declared): declared for declared in self.groups})
        return self._by_key.get(self.key(address))


def read_overlay(reader: Reader, overlay: OverlayText, known: Known) -> tuple[list[Patch], list[Problem]]:
    """Return the patches of one overlay file, in order, and all its problems; a patch that is wrong is left out."""
    text, file = overlay.text, overlay.path
    parts, problems = parts_of(text, file)
    if not problems:
        try:
            return _OverlayReader(reader, overlay, parts, known).patches()
        except PieceError as error:
            parts, problems = whole_parts(text, file, error.problems)
    return ([], problems) if problems else _OverlayReader(reader, overlay, parts, known).patches()


class _OverlayReader(FileBase):
    """Reads one overlay; lives as long as that takes."""

    def __init__(self, reader: Reader, overlay: OverlayText, parts: Sequence[Part], known: Known) -> None:
        super().__init__(reader, overlay.text, overlay.path, parts, is_project=False, old=None)
        self.overlay = overlay
        self.declared = known
        self.found: list[Patch] = []

    def patches(self) -> tuple[list[Patch], list[Problem]]:
        for part in self.parts:
            if part.name not in SECTIONS:
                self._report(part, _unknown_section(part.name))
            elif part.entries is None:
                self._report(part, messages.not_a_list(part.name, part.whole()))
            else:
                for index, value in enumerate(part.values()):
                    self._patch(part, index, value)
        if not self.parts:
            from reconciler.problems import Position

            self._add(messages.empty_file(), Position(self.file, 1, 1))
        problems = self.problems
        del self.scope  # it leads back here, and nobody collects circles while files are read in bulk
        return self.found, problems

    def _patch(self, part: Part, index: int, value: Any) -> None:
        from reconciler.manifest.locate import excerpt

        before = len(self.problems)
        value = self._substituted(part, index, value, ())
        spec = self._spec(part, index, value)
        if spec is None or len(self.problems) > before:
            return
        for rule in self.overlay.rules:
            if spec.widens is not None and not rule.may_widen:
                self.scope.found(("widens",), _may_not_widen(self.overlay.path))
        made = self._of_items(spec) if part.name == "items" else self._of_group(spec, _KINDS[part.name])
        for path, _grant in self.scope.grants:
            self.scope.found((*path, "expires"), _expires(), on_key=True)
        self.scope.grants.clear()
        self._check_groups()
        if not self._place(part, index) and made is not None:
            position = part.locate(index, ("uri",) if part.name == "items" else ("name",))
            self.found.append(Patch(position, excerpt(self.text, position), locate=partial(part.locate, index), **made))

    def _spec(self, part: Part, index: int, value: Any) -> Any:
        from pydantic import ValidationError

        from reconciler.manifest import overlayspec
        from reconciler.manifest.complaints import findings_of

        model = getattr(overlayspec, SECTIONS[part.name])
        try:
            return model.model_validate(value)
        except ValidationError as error:
            self.scope.findings += findings_of(error, value, model)
            self._place(part, index)
            return None

    def _check_groups(self) -> None:
        """Note groups that nobody declares; where in the patch they stand is not kept, so its beginning is marked."""
        for group in sorted(self.scope.groups()):
            if self.declared.group(group) is None:
                self.scope.found((), _unknown_group(group, self.declared.groups))
        self.scope.mentioned.clear()

    # -- items ---------------------------------------------------------------------------------

    def _of_items(self, spec: Any) -> dict[str, Any] | None:
        if spec.source is not None and self.scope.source_of(spec.source, ("source",)) is None:
            return None
        prefix = "item/" if spec.source is None else f"item/{spec.source}/"
        addresses = tuple(at for at in self.declared.items_at(spec.uri) if at.startswith(prefix))
        if not addresses:
            self.scope.found(("uri",), matches_nothing(spec.uri, "item"))
        for scope in self._scopes():
            self._check_items(scope, addresses)
        if spec.permissions is not None or spec.deny or spec.disallow:
            self._check_sources(addresses)
        # Identities of a patch are those of the items' providers, which must then be one.
        providers = {
            source.provider for name in {at.split("/", 2)[1] for at in addresses} if (source := self._source(name))
        }
        provider = next(iter(providers)) if len(providers) == 1 else None
        fields, unset, said = self._fields(spec)
        permitting = (key for key in ("permissions", "deny", "disallow") if getattr(spec, key))
        return {
            "said": (*said, *((("permissions",), (key,)) for key in permitting)),
            "subject": spec.uri,
            "addresses": addresses,
            "widens": spec.widens or "",
            "may_widen": all(rule.may_widen for rule in self.overlay.rules),
            "fields": tuple(fields),
            "unset": tuple(unset),
            "permissions": self._permissions(spec, provider),
            "deny": tuple(self.scope.identities(spec.deny, (), "deny", provider)),
            "disallow": tuple(self.scope.identities(spec.disallow, (), "disallow", provider)),
            "exclude": spec.exclude,
        }

    def _check_sources(self, addresses: Iterable[str]) -> None:
        """Note a source that shows its items to everybody, whatever their permissions say (push-api.md 2.4)."""
        for name in sorted({at.split("/", 2)[1] for at in addresses}):
            if (source := self._source(name)) is not None and source.visibility == "shared":
                self.scope.found(("uri",), _shared(name))

    def _source(self, name: str) -> Source | None:
        return self.reader.project.source(name)

    def _permissions(self, spec: Any, provider: str | None) -> bytes | None:
        if spec.permissions is None:
            return None
        if not isinstance(spec.permissions, str):
            return self.scope.permission_doc(spec.permissions, ("permissions",), provider)
        models = self.declared.models
        if spec.permissions not in models:
            self.scope.found(
                ("permissions",),
                Problem(
                    "unknown-permissions",
                    f'no permission model is named "{spec.permissions}"',
                    why="the items would have no permissions, and nobody would see them.",
                    fix=did_you_mean(spec.permissions, models) or "declare it in a manifest, under `permissions`.",
                ),
            )
        return models.get(spec.permissions)

    def _fields(self, spec: Any) -> tuple[list[tuple[_Field, Any]], list[_Field], list[tuple[_Field, Path]]]:
        """Return what is set, what is unset, and where the patch says each of them."""
        fields: list[tuple[_Field, Any]] = []
        said: list[tuple[_Field, Path]] = []
        if spec.set_ is not None:
            for name, value in (("title", spec.set_.title), ("clickableUri", spec.set_.clickable_uri)):
                if value is not None:
                    fields.append(((name,), value))
                    said.append(((name,), ("set", name)))
            for key, value in spec.set_.metadata.items():
                path: Path = ("set", "metadata", key)
                if type(value) not in SCALARS and not (type(value) is list and SCALARS.issuperset(map(type, value))):
                    self.scope.found(path, messages.bad_value(key, value))
                fields.append((("metadata", self._key(key, path)), value))
                said.append((fields[-1][0], path))
        unset: list[_Field] = []
        for index, name in enumerate(spec.unset):
            word, dot, key = name.partition(".")
            unset.append((word, self._key(key, ("unset", index))) if dot else (word,))
            said.append((unset[-1], ("unset", index)))
        if len({path for path, _ in fields} | set(unset)) < len(fields) + len(unset):
            self.scope.found((), _twice())
        return fields, unset, said

    def _key(self, key: str, path: Path) -> str:
        lower = key.lower()
        digests = {source.digest_field for source in self.reader.project.sources}
        if lower in RESERVED_KEYS or lower in digests or lower in ("title", "clickableuri"):
            self.scope.found(path, messages.reserved_key(key))
        elif FIELD_NAME.fullmatch(lower) is None:
            self.scope.found(path, messages.bad_key(key))
        return lower

    # -- groups --------------------------------------------------------------------------------

    def _of_group(self, spec: Any, kind: Kind) -> dict[str, Any] | None:
        provider = self.scope.provider_of(spec.provider, ("provider",) if spec.provider else ("name",))
        if provider is None:
            return None
        address = self.declared.group(f"{kind.value}/{provider}/{spec.name}")
        # By the name as declared: how a patch spells it must not decide what a scope holds.
        name = spec.name if address is None else address.split("/", 2)[2]
        for scope in self._scopes():
            if not any(fnmatchcase(name, pattern) for pattern in scope.groups):
                self.scope.found(("name",), _beyond(f'group "{name}"', self.overlay.path))
        if address is None:
            self.scope.found(("name",), matches_nothing(spec.name, kind.value.replace("-", " ")))
            return None
        add, remove = (self.scope.identities(getattr(spec, key), (), key, provider) for key in ("add", "remove"))
        if both := sorted({*map(self.declared.key, add)} & {*map(self.declared.key, remove)}):
            self.scope.found((), _twice(both[0].split("/", 2)[2]))
        return {
            "subject": spec.name,
            "addresses": (address,),
            "widens": spec.widens or "",
            "may_widen": all(rule.may_widen for rule in self.overlay.rules),
            "said": tuple((("members",), (key,)) for key in ("add", "remove") if getattr(spec, key)),
            "add": tuple(add),
            "remove": tuple(remove),
        }

    # -- scopes --------------------------------------------------------------------------------

    def _scopes(self) -> list[OverlayScope]:
        return [rule.scope for rule in self.overlay.rules if rule.scope is not None]

    def _check_items(self, scope: OverlayScope, addresses: Sequence[str]) -> None:
        from reconciler.permissions.checks import item_matcher

        variables = dict(self.reader.project.variables)
        try:
            inside = [item_matcher(substitute(pattern, variables)) for pattern in scope.uris or ()]
        except ManifestError as error:
            self.scope.findings += [Finding(("uri",), problem) for problem in error.problems]
            return
        beyond = [
            at
            for at in addresses
            if (scope.sources is not None and at.split("/", 2)[1] not in scope.sources)
            or (scope.uris is not None and not any(matches(at) for matches in inside))
        ]
        if beyond:
            more = f" and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
            self.scope.found(("uri",), _beyond(f'item "{beyond[0].split("/", 2)[2]}"{more}', self.overlay.path))


def _unknown_section(name: str) -> Problem:
    return Problem(
        "unknown-section",
        f'an overlay has no section "{name}"',
        why="it patches what manifests declare, and declares nothing itself.",
        fix=did_you_mean(name, SECTIONS) or f"an overlay has {', '.join(SECTIONS)}; put the rest into a manifest.",
    )


def _unknown_group(group: str, known: Iterable[str]) -> Problem:
    _, _, name = group.split("/", 2)
    return Problem(
        "unknown-group",
        f'the patch names group "{name}", which no manifest declares',
        why="a name that the provider does not know resolves to nobody.",
        fix=did_you_mean(name, (address.split("/", 2)[2] for address in known))
        or "declare it in a manifest, under `groups`.",
    )


def _beyond(what: str, file: str) -> Problem:
    return Problem(
        "overlay-beyond-scope",
        f"the patch reaches {what}, beyond the scope of this overlay",
        why=f'reconciler.yaml gives "{file}" a `scope`, and whoever writes the file changes nothing outside of it.',
        fix="narrow the pattern, or have the scope widened in reconciler.yaml.",
    )


def _shared(source: str) -> Problem:
    return Problem(
        "overlay-shared-source",
        f'the patch is of permissions, and everybody sees the items of source "{source}"',
        why="permissions have no say in a source whose visibility is shared: nobody would be kept out.",
        fix="name another `source`, exclude the items, or make the source secured in reconciler.yaml.",
    )


def _may_not_widen(file: str) -> Problem:
    return Problem(
        "overlay-may-not-widen",
        "patches of this overlay may not widen access, for no reason",
        why=f'reconciler.yaml says `mayWiden: false` of "{file}".',
        fix="take `widens` out; what widens belongs into an overlay that may, or into the manifests.",
    )


def _expires() -> Problem:
    return Problem(
        "overlay-expires",
        "a grant in an overlay cannot end by itself",
        why="plans list what ends, and when; they look for it in manifests alone.",
        fix="grant it in a manifest with `expires`, and take it away here for other environments.",
    )


def _twice(name: str = "") -> Problem:
    return Problem(
        "overlay-conflict",
        f'the patch adds and removes "{name}"' if name else "the patch sets and unsets one field, or does it twice",
        why="it can have one of the two only.",
        fix="keep one of them.",
    )
