"""Short makers of resources and changes, and what calls cover in a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from reconciler.calls.call import Compiled, Verb
from reconciler.calls.context import SourceRef, WireContext
from reconciler.model.address import Address, Kind
from reconciler.model.canonical import canonical_json
from reconciler.model.states import Resource
from reconciler.planning.change import Action, Change

CONTEXT = WireContext("org", {"s": SourceRef("sid", "corp"), "t": SourceRef("tid")}, {"corp": "pid", "other": "qid"})
SHA = "ab" * 32


def made(kind: Kind, name: str, scope: str, own: dict[str, Any] | None = None, shared: bytes = b"") -> Resource:
    return Resource(Address.of(kind, scope, name), canonical_json(own or {}), shared)


def create(resource: Resource, *, moved_from: Address | None = None) -> Change:
    return Change(resource.address, Action.CREATE, "new", None, resource, moved_from=moved_from)


def delete(resource: Resource) -> Change:
    return Change(resource.address, Action.DELETE, "removed", resource, None)


def destroy(resource: Resource) -> Change:
    return Change(resource.address, Action.DELETE, "destroy", resource, None)


def update(before: Resource, after: Resource) -> Change:
    return Change(after.address, Action.UPDATE, "changed", before, after)


def item(uri: str, scope: str = "s", size: int | None = None, **own: Any) -> Resource:
    body = {} if size is None else {"body": {"encoding": "binary", "sha256": SHA, "size": size}}
    return made(Kind.ITEM, uri, scope, {"metadata": {}, **body, **own})


def group(name: str, *members: str, scope: str = "corp") -> Resource:
    return made(Kind.GROUP, name, scope, {"members": sorted(members)})


def virtual_group(name: str, *members: str) -> Resource:
    return made(Kind.VIRTUAL_GROUP, name, "corp", {"members": sorted(members)})


def alias(name: str, shared: bytes = b"") -> Resource:
    return made(Kind.ALIAS, f"user:{name}", "corp", {"mappings": [f"user/Email Security Provider/{name}"]}, shared)


def user(name: str, shared: bytes = b"") -> Resource:
    return made(Kind.USER, name, "corp", {}, shared)


MARKS = {
    Verb.PUT: "",
    Verb.PATCH: "*",
    Verb.DELETE: "-",
    Verb.DELETE_TREE: "--",
    Verb.SWEPT: "^",
    Verb.WITHDRAW: "~",
}


def shown(compiled: Compiled) -> list[tuple[str, str, list[str]]]:
    """Stage, kind and what each call covers, each with its verb's mark."""
    return [
        (stage.name, call.kind.value, [MARKS[each.verb] + each.address for each in call.covers])
        for stage in compiled.stages
        for call in stage.calls
    ]


def stays(*resources: Resource) -> Callable[[], Iterable[str]]:
    """What is recorded or desired and does not change."""
    return lambda: [str(resource.address) for resource in resources]
