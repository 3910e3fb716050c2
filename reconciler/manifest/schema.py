"""The manifest language, as pydantic models: what a person may write, and the source of `schemas/`.

Nothing here is resolved: names stay names, `${...}` stays text. `shapes.py` mirrors the kinds of
entry that come by the hundred thousand for speed; whatever it does not accept is judged here, so
that messages have one origin.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LocalName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=64)]
Text = Annotated[str, Field(min_length=1)]
HostName = Annotated[
    str, Field(pattern=r"^([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=253)
]
IdentityText = Annotated[
    str,
    Field(
        pattern=r"^(?i:user|group|virtual[-_]?group|unknown):[\s\S]+$",
        description="An identity in short: `user:alice@example.com`, `group:AlphaTeam`, `virtualGroup:Everyone`.",
        examples=["user:alice@example.com", "group:AlphaTeam"],
    ),
]
Scalar = str | int | float | bool
MetadataValue = Scalar | list[Scalar]
# Only its type stands here: in an item set it may be a placeholder, so its form is looked at where it is read.
Expires = Annotated[
    str,
    Field(
        description="When this ends: a date, whose 00:00 UTC it is, or a date and time with its zone.",
        examples=["2027-01-31", "2027-01-31T18:00:00+01:00"],
    ),
]
# Not of the type: what is written must be one, since an end that was left empty would be a grant for good.
NO_END: Any = None


class Spec(BaseModel):
    """Base of all that people write: unknown keys are errors, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True, populate_by_name=True)


class IdentitySpec(Spec):
    """An identity in full: exactly one of the four types, where it lives, and what tells it from its namesakes."""

    user: Text | None = None
    group: Text | None = None
    virtual_group: Text | None = Field(default=None, alias="virtualGroup")
    unknown: Text | None = None
    provider: Text | None = Field(default=None, description="A provider of this project, or the id of another one.")
    additional_info: dict[str, str] | None = Field(default=None, alias="additionalInfo")
    expires: Expires = Field(default=NO_END, description="Only where it is a group's member, or allowed.")

    @model_validator(mode="after")
    def _one_type(self) -> IdentitySpec:
        if sum(value is not None for value in (self.user, self.group, self.virtual_group, self.unknown)) != 1:
            raise ValueError("give exactly one of user, group, virtualGroup, unknown")
        return self


IdentityRef = IdentityText | IdentitySpec


class PermissionSetSpec(Spec):
    """Who one set allows and denies; deny beats allow, and all sets of a level must agree."""

    name: str | None = None
    anonymous: bool = Field(default=False, description="Everyone passes this set, also those not signed in.")
    allowed: list[IdentityRef] = []
    denied: list[IdentityRef] = []


class LevelSpec(Spec):
    """A named level: its sets must all agree."""

    name: str | None = None
    sets: list[PermissionSetSpec] = Field(min_length=1)


# A level without sets would be passed by everybody.
LevelSets = Annotated[list[PermissionSetSpec], Field(min_length=1)]


class PermissionSpec(Spec):
    """A permission model: one set in short, or `sets`, or ordered `levels` of which the first that decides wins."""

    anonymous: bool | None = None
    allowed: list[IdentityRef] | None = None
    denied: list[IdentityRef] | None = None
    sets: list[PermissionSetSpec] | None = Field(default=None, min_length=1)
    levels: list[LevelSets | LevelSpec] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_form(self) -> PermissionSpec:
        simple = any(value is not None for value in (self.anonymous, self.allowed, self.denied))
        if sum((simple, self.sets is not None, self.levels is not None)) != 1:
            raise ValueError("give allowed and denied, or sets, or levels")
        return self


class BodySpec(Spec):
    """The content of an item: exactly one of text, file or base64."""

    text: str | None = None
    file: Text | None = Field(default=None, description="A path relative to the project's folder.")
    base64: str | None = None

    @model_validator(mode="after")
    def _one_content(self) -> BodySpec:
        if sum(value is not None for value in (self.text, self.file, self.base64)) != 1:
            raise ValueError("give exactly one of text, file, base64")
        return self


class ItemSpec(Spec):
    """One item of a source."""

    uri: Text = Field(description="The item's documentId: a URI with a scheme, unique in its source.")
    source: LocalName | None = Field(default=None, description="A source of this project; default: defaults.source.")
    title: str | None = None
    clickable_uri: str | None = Field(default=None, alias="clickableUri")
    body: BodySpec | None = None
    file_extension: Annotated[str, Field(pattern=r"^\.")] | None = Field(
        default=None, alias="fileExtension", examples=[".html"]
    )
    parent: Text | None = Field(default=None, description="The uri of the item that this one is an attachment of.")
    permissions: str | PermissionSpec | list[dict[str, Any]] | None = Field(
        default=None,
        description="The name of a permission model, the model itself, or a `permissions` array of the Push API.",
    )
    permanent_id: Text | None = Field(default=None, alias="permanentId")
    metadata: dict[str, MetadataValue] = Field(
        default={}, description="Keys are matched to fields of the organization."
    )
    protect: bool = Field(default=False, description="Refuse every plan that would delete this.")


class ItemTemplate(Spec):
    """An item with `{field}` placeholders for each file or row of an item set."""

    uri: Text
    source: str | None = None
    title: str | None = None
    clickable_uri: str | None = Field(default=None, alias="clickableUri")
    body: BodySpec | None = None
    file_extension: str | None = Field(default=None, alias="fileExtension")
    parent: str | None = None
    permissions: str | PermissionSpec | list[dict[str, Any]] | None = None
    permanent_id: str | None = Field(default=None, alias="permanentId")
    metadata: dict[str, MetadataValue] = {}
    protect: bool = False


class SetOriginSpec(Spec):
    """Where the members of an item set come from: exactly one of files, csv, jsonl, parquet."""

    files: Text | list[Text] | None = Field(
        default=None, description="Glob patterns, relative to the project's folder."
    )
    exclude: list[Text] | None = None
    csv: Text | None = None
    jsonl: Text | None = None
    parquet: Text | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> SetOriginSpec:
        if sum(value is not None for value in (self.files, self.csv, self.jsonl, self.parquet)) != 1:
            raise ValueError("give exactly one of files, csv, jsonl, parquet")
        return self


class ItemSetSpec(Spec):
    """Many items from files or rows."""

    from_: SetOriginSpec = Field(alias="from")
    item: ItemTemplate
    allow_empty: bool = Field(default=False, alias="allowEmpty", description="No match means no items, not an error.")


class GroupSpec(Spec):
    """A group or virtual group and its members, groups included."""

    name: Text
    provider: Text | None = None
    members: list[IdentityRef]
    well_knowns: list[IdentityRef] = Field(default=[], alias="wellKnowns")
    additional_info: dict[str, str] | None = Field(default=None, alias="additionalInfo")
    protect: bool = False


class UserSpec(Spec):
    """A user and the groups that it belongs to by its own word (well-knowns)."""

    name: Text
    provider: Text | None = None
    well_knowns: list[IdentityRef] = Field(default=[], alias="wellKnowns")
    additional_info: dict[str, str] | None = Field(default=None, alias="additionalInfo")
    protect: bool = False


class AliasTargetSpec(Spec):
    """The identity of another provider that an alias stands for."""

    provider: Text
    identity: IdentityText
    additional_info: dict[str, str] | None = Field(default=None, alias="additionalInfo")
    expires: Expires = NO_END


class OfEachSpec(Spec):
    """Every identity of a type that the named groups list as a member."""

    members_of: Text = Field(alias="membersOf", description="A pattern over group names, `*` for all.")
    type: Literal["user", "group", "virtualGroup", "unknown"] = "user"


class AliasSpec(Spec):
    """One identity, or each of many, and what it is called elsewhere."""

    of: IdentityRef | None = None
    of_each: OfEachSpec | None = Field(default=None, alias="ofEach")
    provider: Text | None = None
    is_: list[AliasTargetSpec] = Field(alias="is", min_length=1)
    protect: bool = False
    expires: Expires = NO_END

    @model_validator(mode="after")
    def _one_subject(self) -> AliasSpec:
        if (self.of is None) == (self.of_each is None):
            raise ValueError("give exactly one of of, ofEach")
        return self


class AccessTestSpec(Spec):
    """Who must and must not see what; patterns may use `*` and `**`."""

    who: IdentityRef | list[IdentityRef] | None = None
    can_view: list[Text] | None = Field(default=None, alias="canView")
    cannot_view: list[Text] | None = Field(default=None, alias="cannotView")
    items: list[Text] | None = None
    only_visible_to: list[IdentityRef] | None = Field(default=None, alias="onlyVisibleTo")
    where: dict[str, MetadataValue] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> AccessTestSpec:
        only, views = self.only_visible_to is not None, bool(self.can_view or self.cannot_view)
        narrowed = bool(self.items or (only and self.where))
        if not (only or views) or only != narrowed or views != bool(self.who):
            raise ValueError("give who with canView or cannotView, or items or where with onlyVisibleTo")
        return self


class MovedSpec(Spec):
    """An item that is now called otherwise, so that the plan shows a rename."""

    from_: Text = Field(alias="from")
    to: Text
    source: LocalName | None = None


class RemovedSpec(Spec):
    """Something that is no longer managed here and stays at the remote: the state forgets it, and no call is made."""

    address: Annotated[str, Field(pattern=r"^(item|group|virtual-group|user|alias)/[^/]+/[\s\S]+$")] = Field(
        description="Its address, as `state list` shows it.",
        examples=["item/handbook/file://folder/mytext.txt", "group/corp/AlphaTeam"],
    )


class DefaultsSpec(Spec):
    """What the entries of one file need not repeat."""

    source: LocalName | None = None
    provider: Text | None = None
    permissions: str | None = Field(
        default=None, description="The name of the permission model of items that give none."
    )


Compression = Literal["ZLIB", "GZIP", "DEFLATE", "LZMA", "UNCOMPRESSED"]


DigestField = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,254}$", examples=["reconcilerdigest"])]


class SourceSpec(Spec):
    """A Push or Catalog source of the organization."""

    id: Text
    kind: Literal["push", "catalog"] = Field(
        default="push",
        description="A catalog source is fed through the Stream API: loads, updates and partial updates.",
    )
    visibility: Literal["secured", "shared", "private"] = "secured"
    provider: LocalName | None = Field(default=None, description="The provider of the source's permissions.")
    exclusive: bool = Field(
        default=False,
        description="Nobody else feeds this source, so one call may delete by age, by uri prefix or by a full load.",
    )
    compression: Compression = Field(default="ZLIB", description="How content that is no text travels.")
    status: bool = Field(
        default=True, description="Tell the source's activity: REBUILD, REFRESH or INCREMENTAL, and IDLE at the end."
    )
    digest_field: DigestField | None = Field(
        default=None,
        alias="digestField",
        description="A metadata key of this name carries a digest of each item, so that `drift` and `verify` see every "
        "difference, also in bodies and in metadata that no field shows. It needs a field of type STRING.",
    )


Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}(m|h|d)$", examples=["24h", "30m", "7d"])]


class ProviderSpec(Spec):
    """A security identity provider of the organization."""

    id: Text
    cascades_to: list[Text] = Field(default=[], alias="cascadesTo")
    exclusive: bool = Field(
        default=False, description="Nobody else feeds this provider, so that one call may disable all that is old."
    )
    case_sensitive: bool = Field(
        default=False,
        alias="caseSensitive",
        description="Names that differ in case alone are several identities; as the provider itself is set up.",
    )
    refresh_every: Duration | None = Field(
        default=None,
        alias="refreshEvery",
        description="How often the organization refreshes the provider's security cache, as in its schedule: until "
        "then the access of before holds. It is told in plans and changes nothing.",
    )


class SourceOverride(Spec):
    """What is different about a source in one environment.

    Only what another organization may have otherwise; how things are sent is the same everywhere.
    """

    id: Text | None = None
    kind: Literal["push", "catalog"] | None = None
    visibility: Literal["secured", "shared", "private"] | None = None
    exclusive: bool | None = None


class ProviderOverride(Spec):
    """What is different about a provider in one environment."""

    id: Text | None = None
    cascades_to: list[Text] | None = Field(default=None, alias="cascadesTo")
    exclusive: bool | None = None
    case_sensitive: bool | None = Field(default=None, alias="caseSensitive")
    refresh_every: Duration | None = Field(default=None, alias="refreshEvery")


class ApiKeySpec(Spec):
    """Where the API key is found: exactly one place, never the key itself."""

    env: Text | None = None
    file: Text | None = None
    command: list[Text] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> ApiKeySpec:
        if sum(value is not None for value in (self.env, self.file, self.command)) != 1:
            raise ValueError("give exactly one of env, file, command")
        return self


Percent = Annotated[str, Field(pattern=r"^(100|[0-9]{1,2})(\.[0-9]+)?%$", examples=["10%"])]


WidenedMode = Literal["allow", "confirm", "deny"]


class WidenedExceptSpec(Spec):
    """Who may gain sight of what without being asked; a list that is left out is everything, or everybody."""

    items: list[Text] | None = Field(
        default=None, description="Uris or addresses; `*` is any text within a segment, `**` any text."
    )
    to: list[Literal["everybody", "*"] | IdentityText] | None = Field(
        default=None,
        description="People, or whoever is in a group; `*` in a name is any text. `everybody`: anonymous ones too.",
    )
    provider: Text | None = Field(default=None, description="Of the identities in `to`; by default any.")

    @model_validator(mode="after")
    def _says_something(self) -> WidenedExceptSpec:
        if not self.items and not self.to:
            raise ValueError("give items, to, or both: an exception of nothing in particular is one of everything")
        if any(getattr(self, key) is None or not getattr(self, key) for key in self.model_fields_set & {"items", "to"}):
            raise ValueError("leave out a list that is to stand for everything; an empty one stands for nothing")
        return self


class WidenedAccessSpec(Spec):
    """What to do when somebody would see an item that exists and that they do not see now."""

    mode: WidenedMode = Field(
        default="confirm",
        description="`confirm` blocks until it is allowed by name, `deny` in any case, `allow` never.",
    )
    except_: list[WidenedExceptSpec] = Field(default=[], alias="except", description="What needs no word of anybody.")


class MaxWidenedSpec(Spec):
    """How many people may gain sight of something, and of how many items, new ones included."""

    people: Annotated[int, Field(ge=0)] | None = Field(default=None, description="How many people may gain sight.")
    items: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Of how many items.")


class GuardrailsSpec(Spec):
    """What a plan may do before it must be allowed by name."""

    deletes: Percent | None = Field(default=None, description="The share of recorded resources that may be deleted.")
    updates: Percent | None = None
    max_changes: Annotated[int, Field(ge=0)] | None = Field(default=None, alias="maxChanges")
    widened_access: WidenedMode | WidenedAccessSpec | None = Field(default=None, alias="widenedAccess")
    max_widened: MaxWidenedSpec | None = Field(default=None, alias="maxWidened")
    transient_exposure: Literal["allow", "confirm", "tighten"] | None = Field(
        default=None,
        alias="transientExposure",
        description="What happens when no order of the calls keeps every moment safe: nothing, a hazard, or calls "
        "that tighten first.",
    )


LintLevel = Literal["off", "warning", "error"]


class LintsSpec(Spec):
    """What `validate` makes of the findings of each lint; `warning` where nothing is said."""

    allow_always_denied: LintLevel | None = Field(default=None, alias="allow-always-denied")
    allowed_unresolved: LintLevel | None = Field(default=None, alias="allowed-unresolved")
    denied_nobody: LintLevel | None = Field(default=None, alias="denied-nobody")
    denied_unresolved: LintLevel | None = Field(default=None, alias="denied-unresolved")
    group_without_members: LintLevel | None = Field(default=None, alias="group-without-members")
    member_without_alias: LintLevel | None = Field(default=None, alias="member-without-alias")
    nested_cycle: LintLevel | None = Field(default=None, alias="nested-cycle")
    permissions_missing: LintLevel | None = Field(default=None, alias="permissions-missing")
    unused_identity: LintLevel | None = Field(default=None, alias="unused-identity")


class QuotasSpec(Spec):
    """How many calls and items the organization's licence allows; what is not given is as published."""

    calls_per_day: Annotated[int, Field(ge=1)] | None = Field(default=None, alias="callsPerDay")
    burst_calls: Annotated[int, Field(ge=1)] | None = Field(
        default=None, alias="burstCalls", description="The most calls within `burstSeconds`."
    )
    burst_seconds: Annotated[int, Field(ge=1)] | None = Field(default=None, alias="burstSeconds")
    items_per_day: Annotated[int, Field(ge=1)] | None = Field(default=None, alias="itemsPerDay")


class ScopeSpec(Spec):
    """What an overlay may patch; a list that is left out is everything of its kind, but without `groups` no group."""

    sources: list[LocalName] | None = Field(default=None, description="Items of these.", examples=[["handbook"]])
    uris: list[Text] | None = Field(
        default=None,
        description="Patterns over uris; `*` is any text within a segment, `**` any text.",
        examples=[["https://handbook.example.com/hr/**"]],
    )
    groups: list[Text] = Field(
        default=[], description="Patterns over the names of groups and virtual groups.", examples=[["HR*"]]
    )


class OverlaySpec(Spec):
    """Overlay files, and what they may do."""

    files: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        description="Glob patterns of overlay files.", examples=["overlays/teams/hr.yaml"]
    )
    scope: ScopeSpec | None = Field(
        default=None,
        description="What their patches may touch; default: everything.",
        examples=[{"uris": ["https://handbook.example.com/hr/**"], "groups": ["HR*"]}],
    )
    may_widen: bool = Field(
        default=True, alias="mayWiden", description="`false`: they only narrow access, also with `widens`."
    )


class EnvironmentSpec(Spec):
    """Where an environment's calls go and what differs there."""

    target: Text | None = Field(default=None, description="`emulator`, a base URL, or nothing for the region's hosts.")
    organization: Text | None = None
    region: Literal["us", "eu", "au", "ca", "hipaa", "legacy"] = Field(
        default="us", description="Where the organization lives; `legacy` is the push.cloud.coveo.com of old."
    )
    proxy: Text | None = Field(
        default=None,
        description="An HTTP proxy's URL without credentials; by default the environment's HTTPS_PROXY and NO_PROXY.",
    )
    ca_file: Text | None = Field(
        default=None, alias="caFile", description="Certificates to trust in place of the usual ones (PEM)."
    )
    upload_hosts: Annotated[list[HostName], Field(min_length=1)] | None = Field(
        default=None,
        alias="uploadHosts",
        description="Hosts that large content may be uploaded to, those below them included; by default those of "
        "Amazon for the public regions.",
        examples=[["storage.example.com"]],
    )
    retry_for: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        default=None,
        alias="retryFor",
        description="Seconds for which a failing call is tried again; without it, 8 attempts.",
    )
    signed_plans: Literal["optional", "required"] = Field(
        default="optional",
        alias="signedPlans",
        description="`required`: nothing is applied but saved plans that were signed with the key in "
        "RECONCILER_PLAN_KEY.",
    )
    encrypt_state: bool = Field(
        default=False,
        alias="encryptState",
        description="Whether no state is written that is not encrypted with the key in RECONCILER_STATE_KEY.",
    )
    quotas: QuotasSpec | None = None
    api_key: ApiKeySpec | None = Field(default=None, alias="apiKey")
    state: Text | None = None
    sources: dict[LocalName, SourceOverride] = {}
    providers: dict[LocalName, ProviderOverride] = {}
    overlays: list[Text | OverlaySpec] = Field(
        default=[],
        description="Files of patches to the manifests here, which may only narrow who sees what unless they say so.",
        examples=[["overlays/prod/*.yaml"]],
    )
    vars: dict[str, Scalar] = {}
    guardrails: GuardrailsSpec | None = None
    policies: Text | None = Field(default=None, description="The folder of the policies that plans of it must satisfy.")


class ProjectSections(Spec):
    """The sections that only `reconciler.yaml` may hold."""

    manifests: list[Text] | None = Field(default=None, description="Glob patterns of the manifest files.")
    sources: dict[LocalName, SourceSpec] = {}
    providers: dict[LocalName, ProviderSpec] = {}
    environments: dict[LocalName, EnvironmentSpec] = {}
    vars: dict[str, Scalar] = {}
    guardrails: GuardrailsSpec | None = None
    quotas: QuotasSpec | None = None
    fields: Literal["check", "create", "ignore"] = Field(
        default="check",
        description="Metadata that no field takes: told of when the organization is asked, given a field, or left.",
    )
    lints: LintsSpec | None = None
    policies: Text | None = Field(
        default=None,
        description="The folder of the policies (`*.rego`) that every plan must satisfy, with their data beside them.",
        examples=["policies"],
    )


class ManifestSections(Spec):
    """The sections that any manifest file may hold."""

    defaults: DefaultsSpec | None = None
    permissions: dict[Text, PermissionSpec | list[dict[str, Any]]] = {}
    items: list[ItemSpec] = []
    item_sets: list[ItemSetSpec] = Field(default=[], alias="itemSets")
    groups: list[GroupSpec] = []
    virtual_groups: list[GroupSpec] = Field(default=[], alias="virtualGroups")
    users: list[UserSpec] = []
    aliases: list[AliasSpec] = []
    access_tests: list[AccessTestSpec] = Field(default=[], alias="accessTests")
    moved: list[MovedSpec] = []
    removed: list[RemovedSpec] = []


class ManifestFile(ManifestSections):
    """A manifest file."""


class ProjectFile(ProjectSections, ManifestSections):
    """`reconciler.yaml`: the project, and whatever else a manifest may hold."""
