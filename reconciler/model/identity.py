"""Users, groups and virtual groups, and how they are written in short and in canonical form.

The canonical form of a reference to an identity is one string, `type/provider/name`, for example
`user/corp/bob@example.com`: for groups, virtual groups and declared users it equals the address of
the resource. `provider` is the project's name of a declared provider, or the id of one that lives
outside the project, such as `Email Security Provider`. Additional info is part of an identity
(push-api.md 3.4) and is appended as `?info={"key":"value"}` with sorted keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

INFO_MARK = "?info="

IDENTITY_TYPES = ("user", "group", "virtual-group", "unknown")

_TYPE_SPELLINGS = {
    "user": "user",
    "group": "group",
    "virtualgroup": "virtual-group",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A reference to a security identity; `info` holds sorted pairs."""

    type: str
    provider: str
    name: str
    info: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        text = f"{self.type}/{self.provider}/{self.name}"
        if self.info:
            text += INFO_MARK + orjson.dumps(dict(self.info), option=orjson.OPT_SORT_KEYS).decode()
        return text

    @property
    def short(self) -> str:
        """`type:name`, as a person writes it."""
        return f"{self.type}:{self.name}"


def parse_identity(text: str) -> Identity:
    """Return the identity that a canonical string names. Raises ValueError for any other string."""
    kind, _, rest = text.partition("/")
    provider, slash, name = rest.partition("/")
    if kind not in IDENTITY_TYPES or not slash:
        raise ValueError(f"not an identity: {text!r}")
    name, mark, info = name.partition(INFO_MARK)
    pairs = tuple(sorted(orjson.loads(info).items())) if mark else ()
    return Identity(kind, provider, name, pairs)


def folded_name(name: str) -> str:
    """Return a name of an identity, with its info, as a provider has it that ignores case (push-api.md 2.4)."""
    plain, mark, info = name.partition(INFO_MARK)
    if not mark:
        return plain.casefold()
    pairs = {key: value.casefold() for key, value in orjson.loads(info).items()}
    return plain.casefold() + mark + orjson.dumps(pairs, option=orjson.OPT_SORT_KEYS).decode()


def alias_address(identity: str) -> str:
    """Return the address of the alias of an identity; both are canonical strings."""
    kind, provider, name = identity.split("/", 2)
    return f"alias/{provider}/{kind}:{name}"


def aliased_identity(address: str) -> str:
    """Return the identity that an alias's address is about; both are canonical strings."""
    _, provider, alias = address.split("/", 2)
    kind, _, name = alias.partition(":")
    return f"{kind}/{provider}/{name}"


def identity_type(word: str) -> str | None:
    """Return the canonical type for any spelling that the wire accepts, or None.

    The documents write `VirtualGroup`, `VIRTUAL_GROUP` and lower case (push-api.md 3.4).
    """
    return _TYPE_SPELLINGS.get(word.replace("_", "").replace("-", "").lower())
