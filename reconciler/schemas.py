"""The published JSON Schemas (draft 2020-12) of what is written by hand, saved and reported, each made from models.

`schemas/` holds their texts for editors and for other tools; a test keeps them equal to what is made
here. Only for publishing: importing this module imports pydantic and every model. A schema is never
stricter about what was written correctly than the reader is, with two exceptions that help whoever
types: a key is left out rather than null, and entries in the Push API's own shape are not described.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from reconciler.manifest.examples import examples_of
from reconciler.manifest.overlayspec import OverlayFile
from reconciler.manifest.schema import IdentityText, ManifestFile, ProjectFile
from reconciler.policies.schema import policy_input_schema
from reconciler.rendering.envdiff_schema import diff_schema
from reconciler.rendering.plan_schema import plan_schema
from reconciler.rendering.report_schema import Report, report_schema
from reconciler.state.snapshot import FORMAT_VERSION

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_Node = dict[str, Any]

# Keys of which an entry gives exactly one; each alternative is one key, or any of several.
EXACTLY_ONE: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "IdentitySpec": ("user", "group", "virtualGroup", "unknown"),
    "PermissionSpec": (("anonymous", "allowed", "denied"), "sets", "levels"),
    "BodySpec": ("text", "file", "base64"),
    "SetOriginSpec": ("files", "csv", "jsonl", "parquet"),
    "AliasSpec": ("of", "ofEach"),
    "ApiKeySpec": ("env", "file", "command"),
}

# What the models leave to their names, said for whoever hovers over a key. `*` is any model.
_HELP = {
    "*.additionalInfo": "What tells the identity from others of the same name.",
    "*.allowed": "Identities that the set lets in.",
    "*.anonymous": "Everyone passes, also those not signed in.",
    "*.body": "The content: exactly one of text, file or base64.",
    "*.clickableUri": "What a result links to; default: the uri.",
    "*.denied": "Identities that the set keeps out; this beats `allowed`.",
    "*.fileExtension": "With its dot; it decides how the content is read.",
    "*.guardrails": "What a plan may do before it must be allowed by name.",
    "*.lints": "What `validate` makes of a lint's findings, by its code; default: warning.",
    "*.metadata": "Keys are matched to fields of the organization.",
    "*.parent": "The uri of the item that this one is an attachment of.",
    "*.permanentId": "Default: the one that the official clients derive from the uri.",
    "*.permissions": "The name of a permission model, or the model itself.",
    "*.protect": "Refuse every plan that would delete this.",
    "*.provider": "A provider of this project; default: defaults.provider.",
    "*.providers": "Security identity providers, by the name that manifests use.",
    "*.quotas": "How many calls and items the licence allows; default: as published.",
    "*.source": "A source of this project; default: defaults.source.",
    "*.sources": "Push sources, by the name that manifests use.",
    "*.title": "What results show as the title.",
    "*.vars": "Variables, for `${name}` in manifests.",
    "*.wellKnowns": "Groups that the identity belongs to by its own word.",
    "AccessTestSpec.canView": "Items that all of `who` must see.",
    "AccessTestSpec.cannotView": "Items that none of `who` may see.",
    "AccessTestSpec.items": "Items that `onlyVisibleTo` speaks of.",
    "AccessTestSpec.onlyVisibleTo": "Nobody else may see the items.",
    "AccessTestSpec.where": "Only items with these metadata.",
    "AccessTestSpec.who": "Whom the test is about.",
    "AliasSpec.is": "What the identity is called elsewhere.",
    "AliasSpec.of": "The identity that has aliases.",
    "AliasSpec.ofEach": "Every identity of a type that the named groups list as a member.",
    "AliasTargetSpec.identity": "The identity there; `{name}` stands for the name here.",
    "AliasTargetSpec.provider": "A provider of this project, or the id of another one.",
    "ApiKeySpec.command": "A command and its arguments; it prints the key.",
    "ApiKeySpec.env": "An environment variable that holds the key.",
    "ApiKeySpec.file": "A file that holds the key.",
    "BodySpec.base64": "Bytes, for content that is no text.",
    "BodySpec.text": "The text itself.",
    "DefaultsSpec.provider": "The provider of identities and groups that name none.",
    "DefaultsSpec.source": "The source of items that name none.",
    "EnvironmentSpec.apiKey": "Where the API key is found; default: the environment variable COVEO_API_KEY.",
    "EnvironmentSpec.organization": "The organization's id.",
    "EnvironmentSpec.providers": "What is different about providers here.",
    "EnvironmentSpec.sources": "What is different about sources here.",
    "EnvironmentSpec.state": "Where the state is: a file below the project's folder, by default "
    ".reconciler/NAME.state.db, or the URL of a store that a team shares: postgresql://, s3://, gs:// or az://, "
    "without a password.",
    "GroupSpec.members": "Users, groups and virtual groups; an empty list is a group without members.",
    "GroupSpec.name": "What identities call it.",
    "GuardrailsSpec.maxChanges": "How many resources one plan may change.",
    "GuardrailsSpec.maxWidened": "How many people may gain sight of something, and of how many items, new ones too.",
    "GuardrailsSpec.updates": "The share of recorded resources that may be updated.",
    "GuardrailsSpec.widenedAccess": "What to do when somebody would see more than before.",
    "IdentitySpec.group": "The name of a group.",
    "IdentitySpec.unknown": "The name of an identity whose type is not known.",
    "IdentitySpec.user": "The name of a user.",
    "IdentitySpec.virtualGroup": "The name of a virtual group.",
    "ItemSetSpec.from": "Where the members come from.",
    "ItemSetSpec.item": "The item that each file or row makes.",
    "ItemTemplate.uri": "The item's documentId, with placeholders such as `{path}` or `{row.id}`.",
    "LevelSpec.sets": "All must agree.",
    "LintsSpec.allow-always-denied": "An allowed entry of which everybody is denied.",
    "LintsSpec.allowed-unresolved": "An allowed identity that nobody declared.",
    "LintsSpec.denied-nobody": "A denied group that nobody is in.",
    "LintsSpec.denied-unresolved": "A denied identity that nobody declared.",
    "LintsSpec.group-without-members": "A group that nobody belongs to.",
    "LintsSpec.member-without-alias": "A member of a group who has no alias into the email provider.",
    "LintsSpec.nested-cycle": "Groups that are members of one another.",
    "LintsSpec.permissions-missing": "An item of a secured source without permissions.",
    "LintsSpec.unused-identity": "An identity that is declared and that no permission needs.",
    "MovedSpec.from": "The uri that the item had.",
    "MovedSpec.to": "The uri that it has now.",
    "OfEachSpec.type": "Which members.",
    "PermissionSpec.levels": "Tried in order: the first level that decides wins. A level is a list of sets.",
    "PermissionSpec.sets": "All must agree.",
    "ProviderOverride.caseSensitive": "Whether names that differ only in case are different names here.",
    "ProviderOverride.exclusive": "Whether nobody else feeds this provider here.",
    "ProviderOverride.id": "The provider's id in this environment.",
    "ProviderOverride.refreshEvery": "How often this environment's organization refreshes the provider's cache.",
    "ProviderSpec.id": "What the organization calls it.",
    "QuotasSpec.burstSeconds": "The length of the window that `burstCalls` counts in.",
    "QuotasSpec.callsPerDay": "The most API calls a day.",
    "QuotasSpec.itemsPerDay": "The most items a day, changed and deleted ones.",
    "SetOriginSpec.csv": "A CSV file with a header; one item per row.",
    "SetOriginSpec.exclude": "Glob patterns of files to leave out.",
    "SetOriginSpec.jsonl": "A JSON Lines file; one item per line.",
    "SetOriginSpec.parquet": "A Parquet file; one item per row.",
    "SourceOverride.exclusive": "Whether nobody else feeds this source here.",
    "SourceOverride.id": "The source's id in this environment.",
    "SourceOverride.kind": "What kind of source it is here.",
    "SourceSpec.id": "What the organization calls it.",
    "UserSpec.name": "What identities call it.",
    "*.accessTests": "Who must and must not see what, checked by `reconciler test`.",
    "*.aliases": "What identities of one provider are called by another.",
    "*.cascadesTo": "Ids of the providers that its aliases may name.",
    "*.defaults": "What the entries of this file need not repeat.",
    "*.environments": "Where calls go, by the name that -e takes.",
    "*.groups": "Groups and their members.",
    "*.itemSets": "Many items from files or rows.",
    "*.items": "What is pushed to sources, one entry each.",
    "*.moved": "Items that are now called otherwise.",
    "*.removed": "What is no longer managed here and stays at the remote.",
    "*.name": "A name for messages.",
    "*.users": "Users that say something about themselves.",
    "*.virtualGroups": "Virtual groups and their members.",
    "*.visibility": "Who sees the items: those whom their permissions name, everyone, or one person.",
    "ManifestFile.permissions": "Permission models, by the name that items use.",
    "ProjectFile.permissions": "Permission models, by the name that items use.",
}

# -- the state snapshot: `state.snapshot` reads and writes it without pydantic -----------------------


class _StateModel(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


_Address = Annotated[str, Field(pattern=r"^(item|group|virtual-group|user|alias)/[^/]+/")]


class TargetState(_StateModel):
    """Which remote the state speaks of; names are the project's, values the remote's ids."""

    organization: str
    """The organization's id."""
    providers: dict[str, str]
    """The id of each security identity provider."""
    sources: dict[str, str]
    """The id of each source."""


class UnsettledState(_StateModel):
    """A call whose outcome is unknown: the remote may have taken it, so the next run sends it again."""

    at: str
    """When it was about to be sent."""
    call: int
    """Its number in the plan."""
    covers: list[tuple[Literal["put", "delete", "withdraw"], list[_Address]]]
    """Pairs of a verb and the addresses that are in doubt."""
    detail: str
    """What is known of how it ended."""
    kind: str
    """What kind of call it is."""
    ordering_id: int
    """The number that says which of two updates is later."""
    outcome: Literal["unknown"] | None
    """Null when the run ended before it could write one down."""
    request_digest: str
    """The digest of the exact request."""
    run: str
    """The run that sent it."""
    settled_at: str
    """When the outcome was written down; empty if never."""


class ResourceState(_StateModel):
    """A resource as it was last accepted."""

    accepted_at: str
    """When the call was accepted (ISO 8601, UTC)."""
    address: _Address
    """`kind/scope/name`: scope is the project's name of the source (items) or provider (all others)."""
    doc: dict[str, Any]
    """Its own document. A body stands in it as encoding, size and SHA-256, never as text."""
    ordering_id: int = Field(ge=0)
    """The ordering id of the call that was accepted; 0 when no call was needed."""
    run: str
    """The run that made the call."""
    shared: dict[str, Any] | None
    """What it shares with others: the permission model of an item, the well-knowns of an identity."""
    verified: Literal["verified", "rejected"] | None
    """What `verify` found; null while nobody has looked: accepted is not indexed."""
    verified_detail: str
    """Why the remote rejected it."""


class StateDocument(_StateModel):
    """The recorded state as `reconciler state pull` writes it: one resource a line, sorted by address."""

    format_version: Literal[1]
    """The version of this form."""
    lineage: str
    """Identity of the state's history; empty when there is no state yet."""
    serial: int = Field(ge=0)
    """The state's version number: it grows with each recorded outcome."""
    target: TargetState | None
    """Null before the first run."""
    unsettled: list[UnsettledState]
    """Calls in doubt, oldest first."""
    resources: list[ResourceState]
    """What is recorded, sorted by address."""


# -- making them -------------------------------------------------------------------------------------


def manifest_schema() -> _Node:
    """Return the schema of a manifest file."""
    return _published(_written_by_hand(ManifestFile), "manifest", "reconciler manifest")


def project_schema() -> _Node:
    """Return the schema of `reconciler.yaml`."""
    return _published(_written_by_hand(ProjectFile), "project", "reconciler project file")


def overlay_schema() -> _Node:
    """Return the schema of an overlay file."""
    return _published(_written_by_hand(OverlayFile), "overlay", "reconciler overlay")


def published_plan_schema() -> _Node:
    """Return the schema of a saved plan, which is also what `plan --format json` prints."""
    return _published(_documented(plan_schema()), "plan", "reconciler plan")


def state_schema() -> _Node:
    """Return the schema of the snapshot that `state pull` makes."""
    assert FORMAT_VERSION == 1, "describe the new version of the snapshot here"
    return _published(_documented(StateDocument.model_json_schema()), "state", "reconciler state")


def published_policy_input() -> _Node:
    """Return the schema of what policies are asked about."""
    return _published(_documented(policy_input_schema()), "policy-input", "reconciler policy input")


def published_diff() -> _Node:
    """Return the schema of how two environments differ."""
    return _published(_documented(diff_schema()), "diff", "reconciler diff report")


def _published_report(name: Report) -> _Node:
    return _published(_documented(report_schema(name)), name, f"reconciler {name} report")


SCHEMAS: dict[str, Callable[[], _Node]] = {
    "manifest": manifest_schema,
    "project": project_schema,
    "overlay": overlay_schema,
    "plan": published_plan_schema,
    "state": state_schema,
    "validate": partial(_published_report, "validate"),
    "apply": partial(_published_report, "apply"),
    "verify": partial(_published_report, "verify"),
    "drift": partial(_published_report, "drift"),
    "diff": published_diff,
    "history": partial(_published_report, "history"),
    "history-verify": partial(_published_report, "history-verify"),
    "policy-input": published_policy_input,
}


def schema_text(name: str) -> str:
    """Return the text of one schema, ending in a line break: what `schemas/<name>.json` holds."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


def _published(schema: _Node, name: str, title: str) -> _Node:
    head = {"$schema": DIALECT, "$id": f"{name}.json", "title": title}
    definitions = schema.pop("$defs")
    body = {key: value for key, value in schema.items() if key not in head}
    return {**head, **body, "$defs": definitions}


def _documented(schema: _Node) -> _Node:
    """Tidy a schema of what a program writes: null stays, for there it means something."""
    for node in _nodes(schema):
        _flow_description(node)
        node.pop("title", None)  # pydantic makes it from the key
    for name, definition in schema["$defs"].items():
        schema["$defs"][name] = {"title": _title(name), **definition}
    return schema


def _written_by_hand(model: type[BaseModel]) -> _Node:
    """Return the schema of what a person writes: help on every key, and nothing offered that nobody types."""
    schema = model.model_json_schema(by_alias=True)
    for name, definition in [(model.__name__, schema), *schema["$defs"].items()]:
        for key, entry in definition.get("properties", {}).items():
            definition["properties"][key] = _property(entry, name, key)
        if name in EXACTLY_ONE:
            definition["oneOf"] = [_any_required(keys) for keys in EXACTLY_ONE[name]]
    schema = _documented(schema)
    identity = TypeAdapter(IdentityText).json_schema()
    schema["$defs"]["IdentityText"] = {"title": "Identity in short", **identity}
    schema["$defs"] = dict(sorted(schema["$defs"].items()))
    for node in _nodes({**schema, "$defs": {**schema["$defs"], "IdentityText": {}}}):
        _simplify(node, identity)
    schema["$defs"]["IdentityText"]["pattern"] = _caseless(identity["pattern"])
    return schema


def _property(entry: _Node, model: str, key: str) -> _Node:
    """Return a key's schema without null, with a description first."""
    own = {word: value for word, value in entry.items() if word not in ("anyOf", "title", "description")}
    if own.get("default", ...) in (None, [], {}):
        del own["default"]  # an editor would type it, and it says nothing
    if "anyOf" in entry:
        left = [choice for choice in entry["anyOf"] if choice != {"type": "null"}]
        own = {**left[0], **own} if len(left) == 1 else {"anyOf": left, **own}
    own.setdefault("examples", examples_of(model, key) or _choices(own))
    if not own["examples"]:
        del own["examples"]
    own_word = own.pop("description", None)
    said = _HELP.get(f"{model}.{key}") or entry.get("description") or _HELP.get(f"*.{key}") or own_word
    return {"description": said, **own} if said else own


def _choices(entry: _Node) -> list[Any]:
    """Return every value of a key that has few."""
    return [True, False] if entry.get("type") == "boolean" else list(entry.get("enum", ()))


def _any_required(keys: str | tuple[str, ...]) -> _Node:
    if isinstance(keys, str):
        return {"required": [keys]}
    return {"anyOf": [{"required": [key]} for key in keys]}


def _simplify(node: _Node, identity: _Node) -> None:
    """Say in place what pydantic says at length, and what no editor's dialect of patterns knows."""
    if node.get("pattern") == identity["pattern"]:
        described = {"description": node["description"]} if node["description"] != identity["description"] else {}
        node.clear()
        node.update({**described, "$ref": "#/$defs/IdentityText"})
    types = [choice["type"] for choice in node.get("anyOf", ()) if choice.keys() == {"type"}]
    if len(types) > 1:
        scalar = {"type": [name for name in types if name != "integer" or "number" not in types]}
        others = [choice for choice in node.pop("anyOf") if choice.keys() != {"type"}]
        node.update({"anyOf": [scalar, *others]} if others else scalar)
    if "patternProperties" in node:
        node["additionalProperties"] = False


def _caseless(pattern: str) -> str:
    """Return a pattern whose `(?i:...)` is spelled out: JavaScript learned inline flags only in 2025."""

    def spelled(match: re.Match[str]) -> str:
        letters = re.sub(r"\[[^]]*]|[a-z]", lambda one: _either_case(one.group()), match.group(1))
        return f"({letters})"

    return re.sub(r"\(\?i:([^)]*)\)", spelled, pattern)


def _either_case(text: str) -> str:
    return text if text.startswith("[") else f"[{text.upper()}{text}]"


def _nodes(schema: _Node) -> Iterator[_Node]:
    """Yield every schema inside a schema, itself first; maps from names to schemas are no schemas."""
    yield schema
    for key, value in list(schema.items()):
        if key in ("properties", "$defs", "patternProperties"):
            inner = list(value.values())
        elif key in ("anyOf", "oneOf", "prefixItems"):
            inner = list(value)
        elif key in ("items", "additionalProperties", "propertyNames"):
            inner = [value]
        else:
            continue
        for entry in inner:
            if isinstance(entry, dict):
                yield from _nodes(entry)


def _flow_description(node: _Node) -> None:
    """Make one line of each paragraph: docstrings are wrapped, editors wrap for themselves."""
    if isinstance(node.get("description"), str):
        paragraphs = re.split(r"\n\s*\n", node["description"].strip())
        node["description"] = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _title(name: str) -> str:
    """Return `Permission set` for `PermissionSetSpec`."""
    words = re.findall("[A-Z][a-z0-9]*", re.sub("(Spec|Document|State)$", "", name))
    return " ".join(words).capitalize() if words else name
