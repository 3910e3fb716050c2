"""What a person may write in an overlay file, as pydantic models, and the source of its JSON Schema.

An overlay patches what manifests declare and declares nothing itself. Nothing here is resolved.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from reconciler.manifest.schema import IdentityRef, LocalName, MetadataValue, PermissionSpec, Spec, Text

Reason = Annotated[str, Field(min_length=1, pattern=r"\S")]
_WIDENS = "Why the patch may show somebody something that they do not see without it; every plan tells this."
_REASONS: list[Any] = ["the press page is public in production"]


class SetSpec(Spec):
    """Fields of items that get another value."""

    title: str | None = Field(default=None, description="What results show as the title.", examples=["Handbook"])
    clickable_uri: str | None = Field(
        default=None,
        alias="clickableUri",
        description="What a result links to.",
        examples=["https://handbook.example.com/hr"],
    )
    metadata: dict[str, MetadataValue] = Field(
        default={}, description="Keys that get this value; others stay.", examples=[{"status": "final"}]
    )


class ItemPatchSpec(Spec):
    """A patch of the items whose uri is this one, or matches this pattern."""

    uri: Text = Field(
        description="A uri, or a pattern: `*` is any text within a segment, `**` any text.",
        examples=["https://handbook.example.com/hr/**"],
    )
    source: LocalName | None = Field(
        default=None, description="Only items of this source; default: of any.", examples=["handbook"]
    )
    set_: SetSpec | None = Field(
        default=None, alias="set", description="Fields that get another value.", examples=[{"title": "Handbook"}]
    )
    unset: list[Annotated[str, Field(pattern=r"^(title|clickableUri|metadata\.[\s\S]+)$")]] = Field(
        default=[],
        description="Fields that go: `title`, `clickableUri`, `metadata.KEY`.",
        examples=[["metadata.draft"]],
    )
    permissions: str | PermissionSpec | None = Field(
        default=None,
        description="The name of a permission model or the model itself, in place of the items' own.",
        examples=["board-only", {"allowed": ["group:Board"]}],
    )
    deny: list[IdentityRef] = Field(
        default=[], description="Identities that the first level then keeps out.", examples=[["group:Contractors"]]
    )
    disallow: list[IdentityRef] = Field(
        default=[], description="Identities that no list of allowed names any more.", examples=[["group:Interns"]]
    )
    exclude: bool = Field(default=False, description="`true`: the items are not there in this environment.")
    widens: Reason | None = Field(default=None, description=_WIDENS, examples=_REASONS)

    @model_validator(mode="after")
    def _says_something(self) -> ItemPatchSpec:
        _not_null(self)
        does = (self.set_, self.unset, self.permissions, self.deny, self.disallow)
        if self.exclude == any(bool(value) for value in does):
            raise ValueError("give set, unset, permissions, deny or disallow, or exclude: true alone")
        return self


class GroupPatchSpec(Spec):
    """A patch of the members of a group or virtual group."""

    name: Text = Field(description="The group's name.", examples=["Staff"])
    provider: Text | None = Field(
        default=None, description="A provider of this project; default: the only one.", examples=["corp"]
    )
    add: list[IdentityRef] = Field(
        default=[], description="Identities that become members.", examples=[["user:alice@example.com"]]
    )
    remove: list[IdentityRef] = Field(
        default=[], description="Identities that are members no longer.", examples=[["user:eve@example.com"]]
    )
    widens: Reason | None = Field(default=None, description=_WIDENS, examples=_REASONS)

    @model_validator(mode="after")
    def _says_something(self) -> GroupPatchSpec:
        _not_null(self)
        if not (self.add or self.remove):
            raise ValueError("give add, remove, or both")
        return self


class OverlayFile(Spec):
    """An overlay: patches to what the manifests declare, for the environments that name it."""

    items: list[ItemPatchSpec] = Field(
        default=[],
        description="Patches of items.",
        examples=[[{"uri": "https://handbook.example.com/hr/**", "deny": ["group:Contractors"]}]],
    )
    groups: list[GroupPatchSpec] = Field(
        default=[], description="Patches of groups.", examples=[[{"name": "Staff", "remove": ["user:eve@example.com"]}]]
    )
    virtual_groups: list[GroupPatchSpec] = Field(
        default=[],
        alias="virtualGroups",
        description="Patches of virtual groups.",
        examples=[[{"name": "Everyone", "remove": ["group:Contractors"]}]],
    )


def _not_null(spec: Any) -> None:
    if any(getattr(spec, key) is None for key in spec.model_fields_set):
        raise ValueError("leave out a key that is to say nothing")
