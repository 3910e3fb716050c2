"""What lints look at, and what they find. Values only; `lints.run` puts them together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from reconciler.model.identity import parse_identity
from reconciler.model.place import Place, named_model
from reconciler.model.states import Resource
from reconciler.permissions.readings import Readings


@dataclass(frozen=True, slots=True)
class Model:
    """A permission model as its canonical document, and where it is written.

    `name` is set for a named one; else `item` is the address of the first item that has it. `items` counts
    those that have it.
    """

    doc: bytes
    name: str = ""
    item: str = ""
    items: int = 0

    @property
    def address(self) -> str:
        """Where a `Place` finds it."""
        return named_model(self.name) if self.name else self.item

    @property
    def told(self) -> str:
        """What a problem calls it."""
        if self.name:
            return f'permission model "{self.name}"'
        more = f" (and of {self.items - 1:,} more)" if self.items > 1 else ""
        return f'the permission model of item "{self.item.split("/", 2)[2]}"{more}'

    def levels(self) -> list[list[dict[str, Any]]]:
        """Return the sets of each level, in their canonical form."""
        return [level["sets"] for level in orjson.loads(self.doc)["levels"]]


@dataclass(frozen=True, slots=True)
class Subject:
    """The desired state as lints see it.

    `identities` are groups, virtual groups, users and aliases. `providers` are those that the manifests speak
    for, `aliased` those of them whose aliases may lead into the email provider (push-api.md 2.4).
    """

    readings: Readings
    identities: Sequence[Resource]
    models: Sequence[Model]
    providers: Collection[str]
    aliased: Collection[str]


@dataclass(frozen=True, slots=True)
class Found:
    """One finding. It stands at the first place, and speaks of the others as well."""

    code: str
    what: str
    why: str
    fix: str
    places: tuple[Place, ...]


def told(identity: str) -> str:
    """Return what a problem calls an identity, given in its canonical form."""
    who = parse_identity(identity)
    kind = {"virtual-group": "virtual group", "unknown": "identity"}.get(who.type, who.type)
    return f'{kind} "{who.name}" of provider "{who.provider}"'
